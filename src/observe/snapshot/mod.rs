//! Snapshots: the counters, the latencies and the state of an instance.
//!
//! `snapshot()` is a method of the handle of each layer with counters (`layer.handle()`, or
//! `handle()` of its service), and of the standard stacks (for all their layers at once). It needs
//! no feature. The correlation layer and
//! [`LoadShedLayer::on_readiness`](crate::LoadShedLayer::on_readiness) have none.
//!
//! A snapshot prints itself on one line. With the feature `serde` it can be serialized: durations
//! in seconds (fields end in `_seconds`), states and reasons as the words of the metrics.
//!
//! ```
//! use mainstay::BulkheadLayer;
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), mainstay::BoxError> {
//! let layer = BulkheadLayer::builder().name("stock").limit(8).build()?;
//! let service = layer.layer(service_fn(|order: u32| async move { Ok::<_, std::io::Error>(order) }));
//! service.oneshot(1).await?;
//!
//! let snapshot = layer.handle().snapshot();
//! assert_eq!((snapshot.outcomes.success, snapshot.in_flight), (1, 0));
//! assert_eq!(
//!     snapshot.to_string(),
//!     "bulkhead stock: 0 of 8 in flight, 0 waiting; 1 ok, 0 failed, 0 ignored, 0 cancelled; none rejected"
//! );
//! # Ok(())
//! # }
//! ```
//!
//! # Counters
//!
//! All services of a layer share its counters of outcomes and rejections, which count from the
//! layer's construction. Successes cost nothing extra. Bulkheads and load shedders count a call at
//! the end of its body.
//!
//! Each call through a bulkhead, a circuit breaker or a load shedder is in exactly one count: it is
//! in flight, waiting, over with an outcome, rejected, or given up by its caller during the wait
//! for a permit (`given_up`).
//!
//! # Latency
//!
//! Circuit breakers and load shedders store the latencies of the last minute, up to the head of the
//! response, in four slots of fifteen seconds. The histogram has the buckets of
//! [HdrHistogram](https://hdrhistogram.github.io/HdrHistogram/) with one significant figure, from a
//! microsecond to a minute: a percentile is at most a sixteenth too high. It takes 6 kB for each
//! instance, from the first pending call on.
//!
//! Calls that complete at their first poll are not measured. A clock reading costs more than the
//! rest, so a load shedder samples above 640 calls a second, as its limit does; each sample then
//! stands for several calls. A cancelled call counts with the time until its end.

use std::fmt;

mod latency;
mod tally;
mod write;

pub(crate) use latency::Latencies;
pub use latency::Latency;
pub(crate) use tally::{Counts, LockedTally, Rejected, Tally, Totals};
pub(crate) use write::{InWords, Words};
#[cfg(feature = "serde")]
pub(crate) use write::{as_str, counts, optional_seconds, seconds};

use crate::vocabulary::{mode::Mode, reason::Reason};

/// `false` in the build that a benchmark compares with.
pub(crate) const RECORDED: bool = !cfg!(mainstay_without_snapshots);

/// Outcomes of admitted calls that are over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Outcomes {
    /// Calls that succeeded.
    pub success: u64,
    /// Calls that failed in a way that says something about the service's health.
    pub failure: u64,
    /// Calls that say nothing about health.
    pub ignored: u64,
    /// Calls that ended before there was a response.
    pub cancelled: u64,
}

impl Outcomes {
    /// The sum.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.success + self.failure + self.ignored + self.cancelled
    }
}

/// The highest number of calls in flight; as a limit, it means none.
pub(crate) const MOST_CALLS: u32 = (1 << 24) - 1;

/// `None` for the highest limit.
pub(crate) fn limited(limit: u32) -> Option<u32> {
    (limit < MOST_CALLS).then_some(limit)
}

/// Prints a limit as a number, or `none`.
pub(crate) struct ShownLimit(pub(crate) Option<u32>);

impl fmt::Display for ShownLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(limit) => limit.fmt(f),
            None => f.write_str("none"),
        }
    }
}

/// Calls in flight and their limit: `3 of 256 in flight`, or `3 in flight`.
pub(crate) struct InFlight(pub(crate) u32, pub(crate) Option<u32>);

impl fmt::Display for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(in_flight, limit) = self;
        match limit {
            Some(limit) => write!(f, "{in_flight} of {limit} in flight"),
            None => write!(f, "{in_flight} in flight"),
        }
    }
}

/// Calls given up: `, 3 given up`, or nothing.
pub(crate) struct GivenUp(pub(crate) u64);

impl fmt::Display for GivenUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            calls => write!(f, ", {calls} given up"),
        }
    }
}

/// Calls that only shadow mode admitted: `, 3 would be rejected`, or nothing.
pub(crate) struct WouldReject<'a>(pub(crate) &'a Rejections);

impl fmt::Display for WouldReject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.total() {
            0 => Ok(()),
            calls => write!(f, ", {calls} would be rejected"),
        }
    }
}

/// The mode: ` (shadow)`, or nothing when it enforces.
pub(crate) struct InMode(pub(crate) Mode);

impl fmt::Display for InMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Mode::Enforce => Ok(()),
            mode => write!(f, " ({mode})"),
        }
    }
}

impl fmt::Display for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            success,
            failure,
            ignored,
            cancelled,
        } = self;
        write!(
            f,
            "{success} ok, {failure} failed, {ignored} ignored, {cancelled} cancelled"
        )
    }
}

/// Number of rejected calls for each reason that occurred.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Rejections(
    #[cfg_attr(feature = "serde", serde(serialize_with = "counts"))] Vec<(Reason, u64)>,
);

impl Rejections {
    /// Adds the numbers of other rejections.
    pub(crate) fn add(&mut self, other: &Self) {
        tally::add_counts(&mut self.0, &other.0, |reason| reason as u8);
    }

    /// The number for this reason.
    #[must_use]
    pub fn of(&self, reason: Reason) -> u64 {
        self.iter()
            .find_map(|(of, count)| (of == reason).then_some(count))
            .unwrap_or(0)
    }

    /// The sum.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.iter().map(|(_, count)| count).sum()
    }

    /// Each reason that occurred, with its number.
    pub fn iter(&self) -> impl Iterator<Item = (Reason, u64)> + Clone + '_ {
        self.0.iter().copied()
    }
}

impl fmt::Display for Rejections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none rejected");
        }
        write!(f, "{} rejected", self.total())?;
        let words = Words(self.iter().map(|(reason, count)| (reason.as_str(), count)));
        write!(f, " ({words})")
    }
}
