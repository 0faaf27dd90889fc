//! The settings of a retry layer.

use std::fmt;
use std::time::Duration;

use super::layer::LAYER;
use crate::policy::backoff::Backoff;
use crate::policy::budget::BudgetConfig;
use crate::policy::throttle::ThrottleConfig;
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::mode::Mode;
use crate::vocabulary::settings::{Fields, settings};

/// The highest number of attempts.
pub(crate) const MOST_ATTEMPTS: u32 = 100;
const LONGEST: Duration = Duration::from_secs(3600);
const MOST_KEPT: usize = 64 * 1024 * 1024;

settings! {
    /// The settings of a retry layer: see [`mainstay::settings`](crate::settings).
    ///
    /// A configuration may give the attempts alone: `retry = 4`.
    pub struct Settings of "retry", short attempts {
        /// Whether the layer retries, only reports, or is off. Default `enforce`.
        ///
        /// In shadow mode a retry is decided and paid as usual, and then refused for the reason
        /// `shadow`.
        mode: Mode = Mode::Enforce;
        /// The number of attempts in all. Default 3; range 1 to 100.
        attempts: u32 = 3;
        /// The back-off, such as `exponential from 50ms to 2s, full jitter`, which is the default; in
        /// a stack with a short time limit, a shorter one.
        backoff: Option<Backoff> as Auto = None;
        /// The budget for retries, or none.
        budget: Option<BudgetSettings> = Some(BudgetSettings::initial());
        /// The longest wait for a server's hint. Default 30 seconds; at most one hour.
        max_retry_after: Duration = Duration::from_secs(30);
        /// The longest wait for the inner service to be ready for a retry. Default 1 second; at most
        /// one hour.
        max_ready_wait: Duration = Duration::from_secs(1);
        /// The bytes of a streamed request body that are kept, to send it again. Default 64 KiB; at
        /// most 64 MiB.
        replay_limit: usize = 64 * 1024;
    }
}

settings! {
    /// The budget of a retry layer: see [`RetryBudget`](crate::RetryBudget).
    #[derive(Copy)]
    pub struct BudgetSettings of "retry_budget" {
        /// Retries per request. Default 0.2; 0, or 0.000 001 to 1000.
        ratio: f64 = 0.2;
        /// Retries per second that are always allowed. Default 10; at most 1 000 000.
        min_per_second: u32 = 10;
        /// The time for which requests and retries count. Default 10 seconds; 100 ms to 24 hours.
        ttl: Duration = Duration::from_secs(10);
        /// The throttling of gRPC instead of the above. Default none.
        throttle: Option<ThrottleSettings> = None;
    }
}

settings! {
    /// The retry throttling of gRPC: see [`RetryBudget::throttle`](crate::RetryBudget::throttle).
    #[derive(Copy)]
    pub struct ThrottleSettings of "retry_throttle" {
        /// The tokens of a full bucket. Default 10; range 1 to 1000.
        max_tokens: u32 = 10;
        /// The share of a token that a success adds. Default 0.1; range 0.001 to 1000.
        token_ratio: f64 = 0.1;
    }
}

/// The initial values.
macro_rules! defaults {
    ($($settings:ty),*) => {$(
        impl Default for $settings {
            fn default() -> Self {
                Self::initial()
            }
        }
    )*};
}

defaults!(Settings, BudgetSettings, ThrottleSettings);

impl ThrottleSettings {
    pub(super) fn config(&self) -> ThrottleConfig {
        ThrottleConfig {
            max_tokens: self.max_tokens,
            token_ratio: self.token_ratio,
        }
    }

    fn checked(&self) -> Result<(), ConfigError> {
        self.config().check()
    }
}

impl BudgetSettings {
    pub(super) fn config(&self) -> BudgetConfig {
        BudgetConfig {
            ratio: self.ratio,
            min_per_second: self.min_per_second,
            ttl: self.ttl,
        }
    }

    fn checked(&self) -> Result<(), ConfigError> {
        if let Some(throttle) = &self.throttle {
            throttle.checked()?;
        }
        self.config().check()
    }
}

/// `0.2 of the requests, at least 10 a second, over 10s`
impl fmt::Display for BudgetSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.throttle {
            Some(throttle) => {
                let (tokens, ratio) = (throttle.max_tokens, throttle.token_ratio);
                write!(f, "throttle of {tokens} tokens, {ratio} a success")
            }
            None => write!(
                f,
                "{} of the requests, at least {} a second, over {:?}",
                self.ratio, self.min_per_second, self.ttl
            ),
        }
    }
}

impl Settings {
    pub(crate) fn backoff(&self) -> Backoff {
        self.backoff.unwrap_or_default()
    }

    /// The attempts that a call has now.
    pub(super) fn attempts_now(&self) -> u32 {
        match self.mode {
            Mode::Off => 1,
            Mode::Enforce | Mode::Shadow => self.attempts,
        }
    }

    fn checked(&self) -> Result<(), ConfigError> {
        if !(1..=MOST_ATTEMPTS).contains(&self.attempts) {
            let rule = "must be from 1 (no retry) to 100";
            return Err(ConfigError::new(LAYER, "attempts", self.attempts, rule));
        }
        self.backoff().check()?;
        if let Some(budget) = &self.budget {
            budget.checked()?;
        }
        for (field, value) in [
            ("max_retry_after", self.max_retry_after),
            ("max_ready_wait", self.max_ready_wait),
        ] {
            if value > LONGEST {
                let (shown, rule) = (format_args!("{value:?}"), "must be at most one hour");
                return Err(ConfigError::new(LAYER, field, shown, rule));
            }
        }
        if self.replay_limit > MOST_KEPT {
            let rule = "must be at most 64 MiB";
            return Err(ConfigError::new(
                LAYER,
                "replay_limit",
                self.replay_limit,
                rule,
            ));
        }
        Ok(())
    }
}
