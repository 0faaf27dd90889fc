//! Retry throttling of gRPC proposal A6: a failure takes one token from a bucket, a success adds a
//! fraction of one, and no retry is sent while the bucket is at most half full.
//!
//! Unlike [the budget](super::budget), the bucket changes only with calls, not with time. As in the
//! proposal, a token has three decimals.

use super::check::Check;
use crate::vocabulary::config::ConfigError;

const CHECK: Check = Check("retry_throttle");
const MAX_TOKENS: u32 = 1_000;
/// Thousandths in a token.
const TOKEN: u64 = 1_000;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ThrottleConfig {
    /// The tokens of a full bucket, which is the initial one.
    pub(crate) max_tokens: u32,
    /// The share of a token that a success adds.
    pub(crate) token_ratio: f64,
}

/// The values of the proposal's example.
impl Default for ThrottleConfig {
    fn default() -> Self {
        Self {
            max_tokens: 10,
            token_ratio: 0.1,
        }
    }
}

impl ThrottleConfig {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        CHECK.count("max_tokens", self.max_tokens, 1, MAX_TOKENS)?;
        if !(0.001..=f64::from(MAX_TOKENS)).contains(&self.token_ratio) {
            let rule = format!("must be from 0.001 to {MAX_TOKENS}");
            return Err(CHECK.refuse("token_ratio", self.token_ratio, rule));
        }
        Ok(())
    }
}

/// In thousandths of a token.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Throttle {
    tokens: u64,
    max: u64,
    ratio: u64,
}

impl Throttle {
    pub(crate) fn new(config: &ThrottleConfig) -> Self {
        let max = u64::from(config.max_tokens).saturating_mul(TOKEN);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a cast from a float saturates"
        )]
        let ratio = (config.token_ratio * TOKEN as f64).round() as u64;
        Self {
            tokens: max,
            max,
            ratio,
        }
    }

    /// An attempt failed, or the server asked for no further attempt.
    pub(crate) fn failure(&mut self) {
        self.tokens = self.tokens.saturating_sub(TOKEN);
    }

    pub(crate) fn credit(&mut self, successes: u64) {
        let gain = self.ratio.saturating_mul(successes);
        self.tokens = self.tokens.saturating_add(gain).min(self.max);
    }

    /// Whether a retry may be sent, after its failure has been counted.
    pub(crate) const fn may_retry(&self) -> bool {
        self.tokens.saturating_mul(2) > self.max
    }
}

#[cfg(test)]
mod tests {
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
        let refused =
            |config: ThrottleConfig| config.check().expect_err("refused").field().to_owned();
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
}
