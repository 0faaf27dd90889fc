//! The settings of a bulkhead.

use std::time::Duration;

use super::layer::LAYER;
use super::permits::MAX_WAITERS;
use crate::layers::admission::check_max_wait;
use crate::observe::snapshot::MOST_CALLS;
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::mode::Mode;
use crate::vocabulary::settings::{Fields, settings};

/// Most connection pools are smaller, and a usual process has the memory.
const DEFAULT_LIMIT: u32 = 256;

settings! {
    /// The settings of a bulkhead: see [`mainstay::settings`](crate::settings).
    ///
    /// Where the mode and the queue are not needed, a configuration may give the limit alone:
    /// `bulkhead = 64`.
    pub struct Settings of "bulkhead", short limit {
        /// Whether the bulkhead rejects calls, only reports, or is off. Default `enforce`.
        ///
        /// In shadow mode no call waits. A call that exceeds the limit and the queue is reported.
        mode: Mode = Mode::Enforce;
        /// The limit of calls in flight, or no limit. Default 256, in a standard stack no limit;
        /// range 1 to 16 777 214.
        limit: Option<u32> = Some(DEFAULT_LIMIT);
        /// The queue for calls over the limit. Default none. The inner service must be `Clone`: see
        /// `BulkheadBuilder::queueable`.
        queue: Option<QueueSettings> = None;
    }
}

settings! {
    /// The queue of a bulkhead.
    pub struct QueueSettings of "bulkhead" {
        /// The limit of calls in the queue: 1 to 1 048 575.
        calls: u32 = 0;
        /// The longest wait of a call: more than zero, at most one hour.
        max_wait: Duration = Duration::ZERO;
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::initial()
    }
}

impl QueueSettings {
    /// A queue for up to `calls` calls, each for at most `max_wait`.
    #[must_use]
    pub const fn new(calls: u32, max_wait: Duration) -> Self {
        Self { calls, max_wait }
    }

    fn checked(&self) -> Result<(), ConfigError> {
        self.checked_as(["calls", "max_wait"])
    }

    fn checked_as(&self, [calls, max_wait]: [&'static str; 2]) -> Result<(), ConfigError> {
        if !(1..=MAX_WAITERS).contains(&self.calls) {
            let rule = "must be from 1 to 1048575; without a queue, leave the queue out";
            return Err(ConfigError::new(LAYER, calls, self.calls, rule));
        }
        check_max_wait(LAYER, max_wait, self.max_wait)
    }
}

impl Settings {
    fn checked(&self) -> Result<(), ConfigError> {
        if let Some(limit) = self.limit
            && !(1..MOST_CALLS).contains(&limit)
        {
            let rule = "must be from 1 to 16777215";
            return Err(ConfigError::new(LAYER, "limit", limit, rule));
        }
        let Some(queue) = &self.queue else {
            return Ok(());
        };
        if self.limit.is_none() {
            let rule = "must be set with a queue: without a limit no call waits";
            return Err(ConfigError::new(LAYER, "limit", "off", rule));
        }
        queue.checked_as(["queue.calls", "queue.max_wait"])
    }

    /// The limit as a number: the highest one for none.
    pub(super) fn most(&self) -> u32 {
        self.limit.unwrap_or(MOST_CALLS).min(MOST_CALLS)
    }
}
