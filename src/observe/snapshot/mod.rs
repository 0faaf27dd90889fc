//! What an instance looks like at one moment: counts, the latency of the last minute, and what its kind of layer has to tell.
//!
//! Each layer that counts anything has a `snapshot()`, a circuit breaker at its handle. The
//! correlation layer has none, nor has
//! [`LoadShedLayer::on_readiness`](crate::LoadShedLayer::on_readiness). The standard stacks have
//! one for all their layers at once. A snapshot prints itself on one line, and with the feature
//! `serde` it can be serialized: durations as seconds (a name that ends in `_seconds`), states and
//! reasons as the words that metrics use.
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
//! let snapshot = layer.snapshot();
//! assert_eq!((snapshot.outcomes.success, snapshot.in_flight), (1, 0));
//! assert_eq!(
//!     snapshot.to_string(),
//!     "bulkhead stock: 0 of 8 in flight, 0 waiting; 1 ok, 0 failed, 0 ignored, 0 cancelled; none rejected"
//! );
//! # Ok(())
//! # }
//! ```
//!
//! # What is counted, and since when
//!
//! Outcomes and rejections, since the layer was made, by all services of the layer: without any feature, and whether or not anybody looks. Successes are counted by what
//! admits calls anyway, so they cost nothing. A bulkhead and a load shedder count a call when it is over, at the end of its body. A time limit has no state; its counts are those of
//! all instances of its name.
//!
//! Every call through a bulkhead, a circuit breaker or a load shedder is in exactly one count: it is in flight or waits, it is over with an outcome, it was
//! rejected, or its caller gave it up while it waited for a permit (`given_up`).
//!
//! # Latency
//!
//! Circuit breakers and load shedders keep the latencies of the last minute (in four pieces of fifteen seconds, of which the
//! oldest is dropped as a whole) in a histogram from a microsecond to a minute, as
//! [HdrHistogram](https://hdrhistogram.github.io/HdrHistogram/) lays it out with one significant figure: a percentile is at most a
//! sixteenth too high. It takes 6 kB for each instance, from the first call that had to wait. Calls
//! whose response was there at once are not in it: no time is taken of them. To read the clock costs more than the rest, so a load shedder takes samples, as its limit does: of more than
//! 640 calls a second one in so many, which stands for the others. Latency is that of the head of a response, as everywhere; a call that was given up is in it with the time
//! after which it was.

use std::fmt;

mod latency;
mod tally;
mod write;

pub(crate) use latency::Latencies;
pub use latency::Latency;
pub(crate) use tally::{Counts, Rejected, Tally};
pub(crate) use write::{InWords, Words};
#[cfg(feature = "serde")]
pub(crate) use write::{as_str, counts, optional_seconds, seconds};

use crate::vocabulary::reason::Reason;

/// The benchmark compares with a build that has none.
pub(crate) const KEPT: bool = !cfg!(mainstay_without_snapshots);

/// How calls went that were let through and are over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Outcomes {
    /// Did what they should.
    pub success: u64,
    /// Failed in a way that says something about the health of what was called.
    pub failure: u64,
    /// Say nothing about health.
    pub ignored: u64,
    /// The caller went away before there was a result.
    pub cancelled: u64,
}

impl Outcomes {
    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.success + self.failure + self.ignored + self.cancelled
    }
}

/// The most calls in flight that a layer counts; as a limit, it is none.
pub(crate) const MOST_CALLS: u32 = (1 << 24) - 1;

/// A limit as it is shown.
pub(crate) fn limited(limit: u32) -> Option<u32> {
    (limit < MOST_CALLS).then_some(limit)
}

/// A limit of calls in flight: a number, or `none`.
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

/// How many calls were rejected, for each reason that there was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Rejections(
    #[cfg_attr(feature = "serde", serde(serialize_with = "counts"))] Vec<(Reason, u64)>,
);

impl Rejections {
    pub(crate) fn one(reason: Reason, count: u64) -> Self {
        let counts = [(reason, count)];
        Self(counts.into_iter().filter(|(_, count)| *count > 0).collect())
    }

    /// How many for this reason.
    #[must_use]
    pub fn of(&self, reason: Reason) -> u64 {
        self.iter()
            .find_map(|(of, count)| (of == reason).then_some(count))
            .unwrap_or(0)
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.iter().map(|(_, count)| count).sum()
    }

    /// Each reason that there was, and how often.
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
