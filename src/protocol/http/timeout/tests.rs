use super::*;

#[test]
fn a_call_ends_shortly_before_its_callers_limit() {
    for (limit, ended) in [
        (Duration::ZERO, Duration::ZERO),
        (Duration::from_nanos(1), Duration::from_nanos(1)),
        (Duration::from_millis(1), Duration::from_micros(500)),
        (Duration::from_millis(2), Duration::from_millis(1)),
        (Duration::from_millis(10), Duration::from_millis(9)),
        (Duration::from_millis(30), Duration::from_millis(27)),
        (Duration::from_millis(200), Duration::from_millis(195)),
        (Duration::from_secs(60), Duration::from_millis(59_995)),
    ] {
        assert_eq!(without_margin(limit), ended);
    }
}
