//! Which instance it is: the kind of layer, and the name that it was built with.
//!
//! A name is owned by its instance, and by the rejections and events that mention it. An instance
//! without a name of its own owns nothing.

use std::fmt;
use std::sync::Arc;

use crate::vocabulary::config::ConfigError;
use crate::vocabulary::kind::{Id, Kind};

/// The longest name an instance may have, in bytes.
const LONGEST: usize = 64;

/// The name of an instance that was not given one.
pub(crate) const DEFAULT: &str = "default";

/// The kind of layer (`circuit_breaker`) and the name (`payments`) of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InstanceName {
    id: Id,
    named: Named,
}

/// What an instance with a name of its own, or of a user's own kind of layer, is called.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Named(Option<Arc<(&'static str, Box<str>)>>);

impl Named {
    /// The kind of layer, which is this one if there is no name.
    pub(crate) fn layer(&self, id: Id) -> &'static str {
        self.0.as_ref().map_or(id.layer(), |named| named.0)
    }

    /// The name.
    pub(crate) fn name(&self) -> &str {
        self.0.as_ref().map_or(DEFAULT, |named| &named.1)
    }
}

impl InstanceName {
    /// An instance of this kind without a name of its own.
    pub(crate) const fn default_of(kind: &Kind) -> Self {
        Self {
            id: kind.id,
            named: Named(None),
        }
    }

    /// An instance of this kind, with a name or without.
    pub(crate) fn new(kind: &Kind, name: Option<&str>) -> Result<Self, ConfigError> {
        let Some(name) = name else {
            return Ok(Self::default_of(kind));
        };
        check(kind.layer, name)?;
        Ok(Self::of(kind.id, kind.layer, name))
    }

    /// An instance of a user's own kind of layer.
    pub(crate) fn of_users(
        kind: &Kind,
        layer: &'static str,
        name: Option<&str>,
    ) -> Result<Self, ConfigError> {
        let rule = if !is_word(layer) {
            "must be 1 to 64 of a-z, 0-9 and _"
        } else if Id::ALL.iter().any(|id| id.layer() == layer) {
            "must not be the name of a layer of this crate"
        } else {
            let name = name.unwrap_or(DEFAULT);
            check(layer, name)?;
            return Ok(Self::of(kind.id, layer, name));
        };
        let shown = layer.chars().take(LONGEST).collect::<String>();
        Err(ConfigError::new(
            "admission",
            "layer",
            format_args!("{shown:?}"),
            rule,
        ))
    }

    /// The instance with a name that may be anything: what a name may not contain is replaced.
    pub(crate) fn lossy(layer: &'static str, name: &str) -> Self {
        let layer = if is_word(layer) {
            layer
        } else {
            Id::Unknown.layer()
        };
        let known = Id::ALL.into_iter().find(|id| id.layer() == layer);
        Self::of(known.unwrap_or(Id::Unknown), layer, &clean(name))
    }

    fn of(id: Id, layer: &'static str, name: &str) -> Self {
        let is_default = name == DEFAULT && layer == id.layer();
        let named = (!is_default).then(|| Arc::new((layer, name.into())));
        Self {
            id,
            named: Named(named),
        }
    }

    pub(crate) const fn id(&self) -> Id {
        self.id
    }

    /// The same without the kind, for what keeps that as a number.
    pub(crate) const fn named(&self) -> &Named {
        &self.named
    }

    pub(crate) fn layer(&self) -> &'static str {
        self.named.layer(self.id)
    }

    pub(crate) fn name(&self) -> &str {
        self.named.name()
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.layer(), self.name())
    }
}

fn is_word(layer: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    (1..=LONGEST).contains(&layer.len()) && layer.bytes().all(plain)
}

fn clean(name: &str) -> String {
    let name: String = name
        .chars()
        .map(|c| if allowed(c) { c } else { '_' })
        .take(LONGEST)
        .collect();
    if name.is_empty() {
        DEFAULT.to_owned()
    } else {
        name
    }
}

/// The rule that a name breaks, if it does.
fn broken_rule(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("must not be empty")
    } else if name.len() > LONGEST {
        Some("must be at most 64 bytes")
    } else if !name.chars().all(allowed) {
        Some("must be made of ASCII letters, digits and . _ : / -")
    } else {
        None
    }
}

pub(crate) fn is_valid(name: &str) -> bool {
    broken_rule(name).is_none()
}

/// Why a name is refused, if it is.
pub(crate) fn check(component: &'static str, name: &str) -> Result<(), ConfigError> {
    let Some(rule) = broken_rule(name) else {
        return Ok(());
    };
    // The value is shown shortened and escaped: it may be anything, and it may be long.
    let mut shown: String = name.chars().take(LONGEST).collect();
    if shown.len() < name.len() {
        shown.push_str("...");
    }
    Err(ConfigError::new(
        component,
        "name",
        format_args!("{shown:?}"),
        rule,
    ))
}

/// Names go into metric labels, headers and log lines: only what is plain in all of them.
fn allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '/' | '-')
}

#[cfg(test)]
mod tests {
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
}
