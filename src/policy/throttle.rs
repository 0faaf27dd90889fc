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

    /// Changes the settings. The bucket remains as full as it is.
    pub(crate) fn adjust(&mut self, config: &ThrottleConfig) {
        let new = Self::new(config);
        let tokens = u128::from(self.tokens) * u128::from(new.max) / u128::from(self.max.max(1));
        let tokens = u64::try_from(tokens).unwrap_or(new.max);
        *self = Self { tokens, ..new };
    }

    /// An attempt failed, or the server asked for no further attempt.
    pub(crate) fn failure(&mut self) {
        self.tokens = self.tokens.saturating_sub(TOKEN);
    }

    pub(crate) fn credit(&mut self, successes: u64) {
        let gain = self.ratio.saturating_mul(successes);
        self.tokens = self.tokens.saturating_add(gain).min(self.max);
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.tokens >= self.max
    }

    /// Whether a retry may be sent, after its failure has been counted.
    pub(crate) const fn may_retry(&self) -> bool {
        self.tokens.saturating_mul(2) > self.max
    }
}

#[cfg(test)]
#[path = "throttle_tests.rs"]
mod tests;
