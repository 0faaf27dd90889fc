use proptest::prelude::*;

use super::*;

proptest! {
    /// The model sums up the thousandths over the whole history.
    #[test]
    fn agrees_with_a_model_that_keeps_everything(
        max_tokens in 1..=MAX_TOKENS,
        thousandths in 1..3_000_u64,
        calls in prop::collection::vec(prop_oneof![Just(None), (0..5_u64).prop_map(Some)], 0..300),
    ) {
        let token_ratio = thousandths as f64 / 1_000.0;
        let config = ThrottleConfig { max_tokens, token_ratio };
        prop_assert_eq!(config.check(), Ok(()));
        let mut throttle = Throttle::new(&config);
        for (n, call) in calls.iter().enumerate() {
            match call {
                None => throttle.failure(),
                Some(successes) => throttle.credit(*successes),
            }
            let max = i64::from(max_tokens) * 1_000;
            let history = calls.iter().take(n + 1);
            let tokens = history.fold(max, |tokens, call| match call {
                None => (tokens - 1_000).max(0),
                Some(successes) => {
                    (0..*successes).fold(tokens, |t, _| (t + thousandths as i64).min(max))
                }
            });
            prop_assert_eq!(throttle.may_retry(), tokens > max / 2);
        }
    }
}

#[test]
fn retries_stop_at_half_and_come_back_after_ten_successes_each() {
    let mut throttle = Throttle::new(&ThrottleConfig::default());
    for _ in 0..4 {
        throttle.failure();
        assert!(throttle.may_retry());
    }
    throttle.failure();
    assert!(!throttle.may_retry(), "exactly half is not more than half");
    throttle.credit(1);
    assert!(throttle.may_retry());
    throttle.credit(u64::MAX);
    throttle.credit(u64::MAX);
    assert!(throttle.may_retry());
}

#[test]
fn invalid_settings_are_refused() {
    let config = ThrottleConfig::default();
    let refused = |config: ThrottleConfig| config.check().expect_err("refused").field().to_owned();
    for max_tokens in [0, 1_001, u32::MAX] {
        assert_eq!(
            refused(ThrottleConfig {
                max_tokens,
                ..config
            }),
            "max_tokens"
        );
    }
    for token_ratio in [0.0, -1.0, 0.000_9, f64::NAN, f64::INFINITY] {
        assert_eq!(
            refused(ThrottleConfig {
                token_ratio,
                ..config
            }),
            "token_ratio"
        );
    }
}
