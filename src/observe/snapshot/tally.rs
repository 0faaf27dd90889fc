//! The counts of one instance.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Outcomes, Rejections};
use crate::policy::retry::{RetryCause, RetryRefused};
use crate::runtime::sync::{Mutex, MutexGuard};
use crate::vocabulary::{outcome::Outcome, reason::Reason};

/// Outcomes of an instance's calls. Each layer counts plain successes elsewhere, at no cost.
pub(crate) struct Tally {
    /// In the order of [`Outcomes`].
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

    /// All outcomes, with `plain` more successes.
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
}

/// Outcomes of the calls of an instance that also counts its calls in flight: both numbers change in
/// one step.
pub(crate) struct LockedTally {
    tally: Tally,
    /// Held while a call without success ends, and while a snapshot is taken.
    ends: Mutex<()>,
}

impl LockedTally {
    pub(crate) fn new() -> Self {
        Self {
            tally: Tally::new(),
            ends: Mutex::new(()),
        }
    }

    /// Counts the outcome and ends the call in one step, as [`of_all`](Self::of_all) sees it. A
    /// plain success needs no lock: its end alone counts it.
    pub(crate) fn record_end<R>(&self, outcome: Outcome, end: impl FnOnce() -> R) -> R {
        let _ends = self.lock();
        self.tally.record(outcome);
        end()
    }

    /// All outcomes at one moment. `read` returns the number of calls that are over at that moment,
    /// and what else is read then.
    pub(crate) fn of_all<R>(&self, read: impl FnOnce() -> (u64, R)) -> (Outcomes, R) {
        let _ends = self.lock();
        let (over, more) = read();
        let others = self.tally.with_plain(0);
        let plain = over.saturating_sub(others.total());
        let success = others.success.wrapping_add(plain);
        (Outcomes { success, ..others }, more)
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The counts of an instance that only rise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) outcomes: Outcomes,
    pub(crate) rejections: Rejections,
    pub(crate) would_reject: Rejections,
    pub(crate) given_up: u64,
    /// How often a circuit opened.
    pub(crate) opened: u64,
    pub(crate) retries: Vec<(RetryCause, u64)>,
    pub(crate) retries_refused: Vec<(RetryRefused, u64)>,
}

impl Totals {
    pub(crate) fn add(&mut self, other: &Self) {
        self.outcomes.success += other.outcomes.success;
        self.outcomes.failure += other.outcomes.failure;
        self.outcomes.ignored += other.outcomes.ignored;
        self.outcomes.cancelled += other.outcomes.cancelled;
        self.rejections.add(&other.rejections);
        self.would_reject.add(&other.would_reject);
        self.given_up += other.given_up;
        self.opened += other.opened;
        add_counts(&mut self.retries, &other.retries, |cause| cause as u8);
        let (sum, refused) = (&mut self.retries_refused, &other.retries_refused);
        add_counts(sum, refused, |why| why as u8);
    }
}

/// Adds counts, in the order of `place`.
pub(super) fn add_counts<T: Copy + PartialEq>(
    sum: &mut Vec<(T, u64)>,
    counts: &[(T, u64)],
    place: impl Fn(T) -> u8,
) {
    for (of, count) in counts {
        match sum.iter_mut().find(|(other, _)| other == of) {
            Some((_, sum)) => *sum += count,
            None => sum.push((*of, *count)),
        }
    }
    sum.sort_unstable_by_key(|(of, _)| place(*of));
}

/// A counter for each of `N` values.
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

    /// The count of this value.
    pub(crate) fn one<T: PartialEq>(&self, all: &[T; N], kind: T) -> u64 {
        let at = all.iter().position(|of| *of == kind);
        at.and_then(|at| self.0.get(at))
            .map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// The values with a count above 0.
    pub(crate) fn of<T: Copy>(&self, all: &[T; N]) -> Vec<(T, u64)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        let counts = all.iter().copied().zip(counts);
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

/// Number of rejected calls for each reason.
#[derive(Debug)]
pub(crate) struct Rejected(Counts<{ Reason::ALL.len() }>);

impl Rejected {
    pub(crate) const fn new() -> Self {
        Self(Counts::new())
    }

    pub(crate) fn add(&self, reason: Reason) {
        self.0.add(&Reason::ALL, reason);
    }

    /// The number for this reason.
    pub(crate) fn of(&self, reason: Reason) -> u64 {
        self.0.one(&Reason::ALL, reason)
    }

    pub(crate) fn counts(&self) -> Rejections {
        Rejections(self.0.of(&Reason::ALL))
    }
}
