//! The settings of a rate limit.

use std::time::Duration;

use super::layer::KIND;
use crate::layers::admission::check_max_wait;
use crate::policy::rate_limit::Rate;
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::mode::Mode;
use crate::vocabulary::settings::{Fields, settings};

settings! {
    /// The settings of a rate limit: see [`mainstay::settings`](crate::settings).
    ///
    /// A configuration may give the permits per second alone: `rate_limit = 100`.
    pub struct Settings of "rate_limit", short permits {
        /// Whether the rate limit rejects calls, only reports, or is off. Default `enforce`.
        ///
        /// In shadow mode no call waits. A call that would have to wait for longer than the longest
        /// wait is reported.
        mode: Mode = Mode::Enforce;
        /// The permits per period. Default 100; at least 1, at most one per microsecond.
        permits: u32 = 100;
        /// The period. Default 1 second; range 1 ms to 24 hours.
        per: Duration = Duration::from_secs(1);
        /// The most calls at once after a pause. Default the permits of one period; at most the
        /// permits of a year.
        burst: Option<u32> as Auto = None;
        /// The longest wait of a call for its permit. Default none: such a call is rejected. At most
        /// one hour. The inner service must be `Clone`: see `RateLimitBuilder::queueable`.
        max_wait: Option<Duration> = None;
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::initial()
    }
}

impl Settings {
    pub(crate) fn rate(&self) -> Rate {
        Rate {
            burst: self.burst,
            ..Rate::new(self.permits, self.per)
        }
    }

    fn checked(&self) -> Result<(), ConfigError> {
        if let Some(max_wait) = self.max_wait {
            check_max_wait(KIND.layer, "max_wait", max_wait)?;
        }
        self.rate().check()
    }
}
