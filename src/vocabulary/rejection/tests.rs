use super::*;

#[test]
fn it_is_two_words_and_keeps_everything() {
    assert_eq!(size_of::<Option<Rejection>>(), 16);
    assert_eq!(
        size_of::<Result<u64, crate::vocabulary::error::Error<std::io::Error>>>(),
        24
    );
    for reason in [
        Reason::CircuitOpen,
        Reason::Full,
        Reason::QueueTimeout,
        Reason::Shed,
        Reason::NotReady,
        Reason::TimedOut,
        Reason::DeadlinePassed,
        Reason::RateLimited,
    ] {
        let rejection = Rejection::new("my_layer", reason.as_str(), reason);
        assert_eq!(rejection.reason(), reason);
        assert_eq!(rejection.layer(), "my_layer");
        assert_eq!(rejection.name(), reason.as_str());
        assert_eq!(rejection.retry_after(), None);
        assert_eq!(rejection.not_sent(), reason != Reason::TimedOut);
        for (after, rounded) in [
            (Duration::ZERO, Duration::ZERO),
            (Duration::from_nanos(1), UNIT),
            (Duration::from_millis(1_500), Duration::from_millis(1_500)),
            (Duration::MAX, UNIT * (NO_HINT - 1)),
        ] {
            let rejection = rejection.clone().with_retry_after(after);
            assert_eq!(rejection.retry_after(), Some(rounded));
            assert_eq!(rejection.reason(), reason);
            assert_eq!(rejection.name(), reason.as_str());
        }
    }
}

#[test]
fn it_keeps_the_limit_that_ended_the_call() {
    let instance = InstanceName::lossy("timeout", "users");
    let second = Duration::from_secs(1);
    for (limit, shown) in [
        (
            TimeLimit::Layer(second),
            "the call took longer than the timeout of 1s",
        ),
        (
            TimeLimit::Outer(second),
            "the timeout of an outer layer ended the call after 1s",
        ),
        (
            TimeLimit::Deadline(second),
            "the deadline of the request passed after 1s",
        ),
        (TimeLimit::Idle(second), "the body made no progress for 1s"),
    ] {
        let rejection = Rejection::timed_out(&instance, limit);
        assert_eq!(rejection.reason(), Reason::TimedOut);
        assert_eq!(rejection.name(), "users");
        assert_eq!(rejection.time_limit(), Some(limit));
        assert_eq!(rejection.retry_after(), None);
        assert_eq!(rejection.to_string(), format!("timeout `users`: {shown}"));
        let hinted = rejection.with_retry_after(second);
        assert_eq!(hinted.time_limit(), None);
        assert_eq!(hinted.retry_after(), Some(second));
    }
    let short = TimeLimit::Layer(Duration::from_nanos(1));
    let rejection = Rejection::timed_out(&instance, short);
    assert_eq!(rejection.time_limit(), Some(TimeLimit::Layer(UNIT)));
    let none = Rejection::by(&instance, Reason::TimedOut);
    assert_eq!(none.time_limit(), None);
}
