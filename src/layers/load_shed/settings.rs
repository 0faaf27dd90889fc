//! The settings of a load shedder.

use super::layer::LAYER;
use crate::policy::breaker::OnCancel;
use crate::policy::limit::Limit;
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::mode::Mode;
use crate::vocabulary::settings::{Fields, settings};

settings! {
    /// The settings of a load shedder with a limit: see [`mainstay::settings`](crate::settings).
    ///
    /// A configuration may give the limit alone: `load_shed = 200`.
    pub struct Settings of "load_shed", short limit {
        /// Whether the load shedder rejects calls, only reports, or is off. Default `enforce`.
        ///
        /// In shadow mode a call waits until the inner service is ready.
        mode: Mode = Mode::Enforce;
        /// The limit of calls in flight: `scheduler_lag` (the default), a number, or `aimd` or
        /// `gradient2` with their settings, such as `aimd max=100 timeout=2s`.
        limit: Limit = Limit::scheduler_lag();
        /// How a cancelled call counts: `failure_if_slow` (the default), `ignore`, or a duration from
        /// which on it is a failure.
        on_cancel: OnCancel = OnCancel::FailureIfSlow;
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::initial()
    }
}

impl Settings {
    fn checked(&self) -> Result<(), ConfigError> {
        self.limit.check()?;
        self.on_cancel.check(LAYER)
    }

    /// Whether the limit can reject anything.
    pub(super) fn is_on(&self) -> bool {
        self.mode != Mode::Off
    }
}
