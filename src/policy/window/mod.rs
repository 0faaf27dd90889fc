//! Sliding windows of outcomes. A window that does not slide hides an outage behind old successes,
//! and one that is scanned on every call gets slower under load. Both windows here slide, and their
//! cost per call depends neither on their size nor on the number of calls in them.

mod count;
mod time;

use std::fmt;
use std::time::Duration;

use self::{count::CountSamples, time::TimeSamples};
use super::{LONGEST, SHORTEST, buckets::width, check::Check};
use crate::vocabulary::config::ConfigError;
#[cfg(feature = "serde")]
use crate::vocabulary::settings::parse_duration;
use crate::vocabulary::settings::text;

const MAX_CALLS: u32 = 1_000_000;
const MAX_BUCKETS: u32 = 120;
const DEFAULT_BUCKETS: u32 = 10;

/// The recent calls from which a rate is computed.
///
/// The default is [`Window::time`] over 10 seconds: it forgets an incident after the same time at
/// any rate of calls. [`Window::count`] always covers the same number of calls, which may be hours
/// old on a quiet service.
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
    /// `None`: not set.
    pub(super) buckets: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    Count(u32),
    Time(Duration),
}

impl Window {
    /// Exactly the last `calls` calls; range 1 to 1 000 000.
    ///
    /// A success takes no memory; a failed or slow call takes 4 to 8 bytes while in the window.
    #[must_use]
    pub const fn count(calls: u32) -> Self {
        Self {
            extent: Extent::Count(calls),
            buckets: None,
        }
    }

    /// The calls of the last `span`, at most 24 hours, as sums of equal buckets. Default 10
    /// [`buckets`](Self::buckets).
    ///
    /// The window moves by one bucket at a time, so with 10 buckets it covers 90 % to 100 % of
    /// `span`. Older calls never count, even if no call follows them.
    #[must_use]
    pub const fn time(span: Duration) -> Self {
        Self {
            extent: Extent::Time(span),
            buckets: None,
        }
    }

    /// The number of buckets of a time window. Default 10; range 1 to 120, of at least 1 ms each.
    ///
    /// With more buckets, the window moves in smaller steps. Buckets in a count window are an error
    /// when the layer is built.
    #[must_use]
    pub const fn buckets(mut self, buckets: u32) -> Self {
        self.buckets = Some(buckets);
        self
    }

    /// The duration of a bucket; [`Duration::MAX`] for a count window.
    pub(crate) fn bucket(&self) -> Duration {
        match self.extent {
            Extent::Count(_) => Duration::MAX,
            Extent::Time(span) => {
                let buckets = self.buckets.unwrap_or(DEFAULT_BUCKETS);
                Duration::from_nanos(width(span, buckets))
            }
        }
    }

    /// The most calls in the window; `None` if unbounded.
    pub(crate) const fn capacity(&self) -> Option<u32> {
        match self.extent {
            Extent::Count(calls) => Some(calls),
            Extent::Time(_) => None,
        }
    }

    pub(crate) fn check(&self, component: &'static str) -> Result<(), ConfigError> {
        let check = Check(component);
        match self.extent {
            Extent::Count(calls) => {
                check.count("window", calls, 1, MAX_CALLS)?;
                if let Some(buckets) = self.buckets {
                    let rule = "only a time window has buckets";
                    return Err(check.refuse("buckets", buckets, rule));
                }
            }
            Extent::Time(span) => {
                let buckets = self.buckets.unwrap_or(DEFAULT_BUCKETS);
                check.count("buckets", buckets, 1, MAX_BUCKETS)?;
                let shortest = SHORTEST.saturating_mul(buckets);
                if !(shortest..=LONGEST).contains(&span) {
                    let rule = format!(
                        "must be from {shortest:?} (1ms for each of {buckets} buckets) to 24h"
                    );
                    return Err(check.refuse_duration("window", span, rule));
                }
            }
        }
        Ok(())
    }
}

text! {
    Window,
    expects "a time or a number of calls, such as `10s`, `60s in 30 buckets` or `100 calls`",
    pattern r"^\d.*$",
    parse_window,
    |window| window.check("window")
}

#[cfg(feature = "serde")]
fn parse_window(text: &str) -> Option<Window> {
    if let Some(calls) = text.strip_suffix(" calls") {
        return calls.parse().ok().map(Window::count);
    }
    match text.split_once(" in ") {
        Some((span, buckets)) => {
            let buckets = buckets.strip_suffix(" buckets")?.parse().ok()?;
            Some(Window::time(parse_duration(span)?).buckets(buckets))
        }
        None => parse_duration(text).map(Window::time),
    }
}

/// `10s`, `60s in 30 buckets` or `100 calls`
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.extent {
            Extent::Count(calls) => write!(f, "{calls} calls"),
            Extent::Time(span) => {
                write!(f, "{span:?}")?;
                match self.buckets {
                    Some(buckets) => write!(f, " in {buckets} buckets"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl Default for Window {
    fn default() -> Self {
        Self::time(Duration::from_secs(10))
    }
}

/// The totals of a window.
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

/// A quotient to compare with a threshold: 7 / 100 equals `0.07` exactly, while 0.07 * 100 is more
/// than 7.
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

    /// The same outcomes in another window. An outcome in a time window has no position among the
    /// last n calls, nor the other way round, so a window of another kind begins empty.
    pub(crate) fn resized(&mut self, window: &Window, now: Duration) -> Self {
        self.roll(now);
        let mut new = Self::new(window, now);
        match (&mut *self, &mut new) {
            (Self::Count(from), Self::Count(to)) => to.take_newest(from),
            (Self::Time(from), Self::Time(to)) => to.take_all(from, now),
            _ => {}
        }
        new
    }

    pub(crate) fn record(&mut self, now: Duration, failed: bool, slow: bool) {
        match self {
            Self::Count(samples) => samples.record(failed, slow),
            Self::Time(samples) => samples.record(now, failed, slow),
        }
    }

    /// Adds successes that are not slow to the current bucket.
    pub(crate) fn credit(&mut self, successes: u64) {
        match self {
            Self::Count(samples) => samples.credit(successes),
            Self::Time(samples) => samples.credit(successes),
        }
    }

    /// Drops expired outcomes.
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

    /// The end of the current bucket, until which successes may be credited to it.
    pub(crate) fn ends(&self) -> Duration {
        match self {
            Self::Count(_) => Duration::MAX,
            Self::Time(samples) => samples.ends(),
        }
    }
}

#[cfg(test)]
mod tests;
