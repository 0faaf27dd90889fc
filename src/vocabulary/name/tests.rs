use super::*;
use crate::vocabulary::kind::DEADLINE;

#[test]
fn an_instance_without_a_name_owns_nothing() {
    let unnamed = InstanceName::new(&DEADLINE, None).unwrap();
    assert_eq!(unnamed.named, Named(None));
    assert_eq!((unnamed.layer(), unnamed.name()), ("deadline", "default"));
    assert_eq!(
        InstanceName::new(&DEADLINE, Some("default")).unwrap(),
        unnamed
    );
    let named = InstanceName::new(&DEADLINE, Some("payments")).unwrap();
    assert_eq!((named.layer(), named.name()), ("deadline", "payments"));
    assert_ne!(named, unnamed);
}

#[test]
fn a_bad_name_is_refused_and_not_echoed_raw() {
    for (name, rule) in [
        ("", "empty"),
        ("a\nb", "ASCII"),
        ("a\"b", "ASCII"),
        (&"x".repeat(10_000), "64 bytes"),
    ] {
        let error = InstanceName::new(&DEADLINE, Some(name)).unwrap_err();
        assert_eq!(error.field(), "name");
        assert!(error.rule().contains(rule), "{error}");
        assert!(error.to_string().len() < 200 && !error.to_string().contains('\n'));
    }
}

#[test]
fn a_lossy_name_is_always_plain() {
    let instance = InstanceName::lossy("my layer", &"\u{1b}\n".repeat(500));
    assert_eq!(instance.layer(), "unknown");
    assert_eq!(instance.name(), "_".repeat(64));
    assert_eq!(InstanceName::lossy("x", "").to_string(), "x `default`");
}
