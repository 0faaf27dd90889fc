//! The counts of one instance.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Outcomes, Rejections};
use crate::vocabulary::{outcome::Outcome, reason::Reason};

/// How the calls of an instance went. Of plain successes each layer has a count of its own, that costs nothing.
pub(crate) struct Tally {
    /// What else there was, in the order of [`Outcomes`].
    counts: [AtomicU64; 4],
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            counts: Default::default(),
        }
    }

    pub(crate) fn record(&self, outcome: Outcome) {
        let [success, failure, ignored, cancelled] = &self.counts;
        let count = match outcome {
            Outcome::Success => success,
            Outcome::Failure => failure,
            Outcome::Ignored => ignored,
            Outcome::Cancelled => cancelled,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// All there was, with so many plain successes.
    pub(crate) fn with_plain(&self, plain: u64) -> Outcomes {
        let [success, failure, ignored, cancelled] = self
            .counts
            .each_ref()
            .map(|count| count.load(Ordering::Relaxed));
        Outcomes {
            success: success.wrapping_add(plain),
            failure,
            ignored,
            cancelled,
        }
    }

    /// All there was, if so many calls are over.
    pub(crate) fn of_all(&self, over: u64) -> Outcomes {
        let others = self.with_plain(0);
        // What ends while this is read may be in one of the numbers only.
        self.with_plain(over.saturating_sub(others.total()))
    }
}

/// How often there was each of a few kinds of something.
#[derive(Debug)]
pub(crate) struct Counts<const N: usize>([AtomicU64; N]);

impl<const N: usize> Counts<N> {
    pub(crate) const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; N])
    }

    pub(crate) fn add<T: PartialEq>(&self, all: &[T; N], kind: T) {
        let at = all.iter().position(|of| *of == kind);
        if let Some(count) = at.and_then(|at| self.0.get(at)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often there was this kind.
    pub(crate) fn one<T: PartialEq>(&self, all: &[T; N], kind: T) -> u64 {
        let at = all.iter().position(|of| *of == kind);
        at.and_then(|at| self.0.get(at))
            .map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Those that there were.
    pub(crate) fn of<T: Copy>(&self, all: &[T; N]) -> Vec<(T, u64)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        let counts = all.iter().copied().zip(counts);
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

/// How many calls an instance rejected, for each reason.
#[derive(Debug)]
pub(crate) struct Rejected(Counts<{ Reason::ALL.len() }>);

impl Rejected {
    pub(crate) const fn new() -> Self {
        Self(Counts::new())
    }

    pub(crate) fn add(&self, reason: Reason) {
        self.0.add(&Reason::ALL, reason);
    }

    /// How many for this reason.
    pub(crate) fn of(&self, reason: Reason) -> u64 {
        self.0.one(&Reason::ALL, reason)
    }

    pub(crate) fn counts(&self) -> Rejections {
        Rejections(self.0.of(&Reason::ALL))
    }
}
