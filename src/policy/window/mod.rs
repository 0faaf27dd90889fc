//! A rate is only as good as the calls it is taken over: a window that never slides hides an outage
//! behind last week's successes, and one that is scanned on every call costs more the busier it gets.
//! Both windows here slide, and neither costs more for being larger or for holding more calls.

mod count;
mod time;

use std::fmt;
use std::time::Duration;

use self::{count::CountSamples, time::TimeSamples};
use super::{LONGEST, SHORTEST};
use crate::vocabulary::config::ConfigError;

const MAX_CALLS: u32 = 1_000_000;
const MAX_BUCKETS: u32 = 120;
const DEFAULT_BUCKETS: u32 = 10;

/// The recent calls that a rate is taken over.
///
/// [`Window::time`] is the default, over 10 seconds: it forgets an incident after the same time
/// whatever the traffic is. [`Window::count`] always judges the same number of calls, which on a
/// quiet service may be hours old.
///
/// ```
/// use mainstay::Window;
/// use std::time::Duration;
///
/// let last_hundred_calls = Window::count(100);
/// let last_minute = Window::time(Duration::from_secs(60)).buckets(30);
/// # let _ = (last_hundred_calls, last_minute);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub(super) extent: Extent,
    /// `None`: not chosen.
    pub(super) buckets: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    Count(u32),
    Time(Duration),
}

impl Window {
    /// The last `calls` calls, exactly; 1 to 1 000 000.
    ///
    /// A success takes no memory, a failed or slow call 4 to 8 bytes while it is in the window.
    #[must_use]
    pub const fn count(calls: u32) -> Self {
        Self {
            extent: Extent::Count(calls),
            buckets: None,
        }
    }

    /// The calls of the last `span`, kept as the sums of 10 equal buckets; at most 24 hours.
    ///
    /// The window moves on by one bucket at a time, so with 10 buckets it covers between 90 % and 100 %
    /// of `span`. Calls older than that count for nothing, however long the silence after them was.
    #[must_use]
    pub const fn time(span: Duration) -> Self {
        Self {
            extent: Extent::Time(span),
            buckets: None,
        }
    }

    /// How many buckets a time window has: 1 to 120, of at least 1 ms each. 10 if not set.
    ///
    /// More buckets make the window's trailing edge smoother. A count window has none, and is refused
    /// when it is built with some.
    #[must_use]
    pub const fn buckets(mut self, buckets: u32) -> Self {
        self.buckets = Some(buckets);
        self
    }

    /// How long a bucket lasts; for ever where there is none.
    pub(crate) fn bucket(&self) -> Duration {
        match self.extent {
            Extent::Count(_) => Duration::MAX,
            Extent::Time(span) => {
                let buckets = self.buckets.unwrap_or(DEFAULT_BUCKETS).max(1);
                Duration::from_nanos((super::nanos(span) / u64::from(buckets)).max(1))
            }
        }
    }

    /// The most calls that the window can hold at once, if there is such a number.
    pub(crate) const fn capacity(&self) -> Option<u32> {
        match self.extent {
            Extent::Count(calls) => Some(calls),
            Extent::Time(_) => None,
        }
    }

    pub(crate) fn check(&self, component: &'static str) -> Result<(), ConfigError> {
        match self.extent {
            Extent::Count(calls) => {
                if !(1..=MAX_CALLS).contains(&calls) {
                    let rule = format!("a count window holds 1 to {MAX_CALLS} calls");
                    return Err(ConfigError::new(component, "window", calls, rule));
                }
                if let Some(buckets) = self.buckets {
                    let rule = "only a time window has buckets";
                    return Err(ConfigError::new(component, "buckets", buckets, rule));
                }
            }
            Extent::Time(span) => {
                let buckets = self.buckets.unwrap_or(DEFAULT_BUCKETS);
                if !(1..=MAX_BUCKETS).contains(&buckets) {
                    let rule = format!("a time window has 1 to {MAX_BUCKETS} buckets");
                    return Err(ConfigError::new(component, "buckets", buckets, rule));
                }
                let shortest = SHORTEST.saturating_mul(buckets);
                if !(shortest..=LONGEST).contains(&span) {
                    let value = format!("{span:?}");
                    let rule = format!(
                        "a time window of {buckets} buckets spans {shortest:?} (1 ms each) to 24 h"
                    );
                    return Err(ConfigError::new(component, "window", value, rule));
                }
            }
        }
        Ok(())
    }
}

/// `10s` or `100 calls`
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.extent {
            Extent::Count(calls) => write!(f, "{calls} calls"),
            Extent::Time(span) => write!(f, "{span:?}"),
        }
    }
}

impl Default for Window {
    fn default() -> Self {
        Self::time(Duration::from_secs(10))
    }
}

/// What is in a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) calls: u64,
    pub(crate) failures: u64,
    /// Failed or not.
    pub(crate) slow: u64,
}

impl Counts {
    pub(crate) const fn of(failed: bool, slow: bool) -> Self {
        Self {
            calls: 1,
            failures: failed as u64,
            slow: slow as u64,
        }
    }

    pub(crate) const fn successes(calls: u64) -> Self {
        Self {
            calls,
            failures: 0,
            slow: 0,
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.failures = self.failures.saturating_add(other.failures);
        self.slow = self.slow.saturating_add(other.slow);
    }

    pub(crate) fn subtract(&mut self, other: Self) {
        self.calls = self.calls.saturating_sub(other.calls);
        self.failures = self.failures.saturating_sub(other.failures);
        self.slow = self.slow.saturating_sub(other.slow);
    }

    pub(crate) fn failure_rate(&self) -> Option<f64> {
        rate(self.failures, self.calls)
    }

    pub(crate) fn slow_rate(&self) -> Option<f64> {
        rate(self.slow, self.calls)
    }
}

/// Divided, not multiplied by the other side: 7 / 100 is the very number that `0.07` is, while
/// 0.07 x 100 is more than 7.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 calls")]
pub(crate) fn rate(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// The outcomes in a [`Window`].
#[derive(Debug, Clone)]
pub(crate) enum Samples {
    Count(CountSamples),
    Time(TimeSamples),
}

impl Samples {
    pub(crate) fn new(window: &Window, now: Duration) -> Self {
        match window.extent {
            Extent::Count(calls) => Self::Count(CountSamples::new(calls)),
            Extent::Time(span) => {
                let buckets = window.buckets.unwrap_or(DEFAULT_BUCKETS);
                Self::Time(TimeSamples::new(span, buckets, now))
            }
        }
    }

    pub(crate) fn record(&mut self, now: Duration, failed: bool, slow: bool) {
        match self {
            Self::Count(samples) => samples.record(failed, slow),
            Self::Time(samples) => samples.record(now, failed, slow),
        }
    }

    /// Adds plain successes that happened before this moment, in the bucket that is current now.
    pub(crate) fn credit(&mut self, successes: u64) {
        match self {
            Self::Count(samples) => samples.credit(successes),
            Self::Time(samples) => samples.credit(successes),
        }
    }

    /// Drops what is too old by now.
    pub(crate) fn roll(&mut self, now: Duration) {
        match self {
            Self::Count(_) => {}
            Self::Time(samples) => samples.roll(now),
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        match self {
            Self::Count(samples) => samples.counts(),
            Self::Time(samples) => samples.counts(),
        }
    }

    pub(crate) fn clear(&mut self, now: Duration) {
        match self {
            Self::Count(samples) => samples.clear(),
            Self::Time(samples) => samples.clear(now),
        }
    }

    /// Until when a plain success may be credited to the current bucket.
    pub(crate) fn ends(&self) -> Duration {
        match self {
            Self::Count(_) => Duration::MAX,
            Self::Time(samples) => samples.ends(),
        }
    }
}

#[cfg(test)]
mod tests;
