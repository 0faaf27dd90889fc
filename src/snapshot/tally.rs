//! The counts of one instance.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{KEPT, Outcomes, Rejections};
use crate::striped::Striped;
use crate::{Outcome, Reason};

/// How the calls of an instance went. The instance may live in a place that is used again, so everything has a beginning.
pub(crate) struct Tally {
    /// Plain successes, of all instances that ever lived here.
    pub(crate) plain: Striped,
    before: AtomicU64,
    /// What else there was, in the order of [`Outcomes`].
    told: [AtomicU64; 4],
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            plain: Striped::new(),
            before: AtomicU64::new(0),
            told: Default::default(),
        }
    }

    /// Another instance moves in.
    pub(crate) fn reset(&self) {
        self.before.store(self.plain.sum(), Ordering::Relaxed);
        for told in &self.told {
            told.store(0, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn settled(&self, outcome: Outcome) {
        if !KEPT {
            return;
        }
        if outcome == Outcome::Success {
            self.plain.bump();
        } else {
            self.told(outcome);
        }
    }

    /// The same without the shortcut of plain successes.
    pub(crate) fn told(&self, outcome: Outcome) {
        let [success, failure, ignored, cancelled] = &self.told;
        let told = match outcome {
            Outcome::Success => success,
            Outcome::Failure => failure,
            Outcome::Ignored => ignored,
            Outcome::Cancelled => cancelled,
        };
        told.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn outcomes(&self) -> Outcomes {
        let plain = self.plain.sum();
        let plain = plain.wrapping_sub(self.before.load(Ordering::Relaxed));
        let [success, failure, ignored, cancelled] =
            [0, 1, 2, 3].map(|at: usize| self.told[at].load(Ordering::Relaxed));
        Outcomes {
            success: success.wrapping_add(plain),
            failure,
            ignored,
            cancelled,
        }
    }
}

const REASONS: [Reason; 7] = [
    Reason::CircuitOpen,
    Reason::Full,
    Reason::QueueTimeout,
    Reason::Shed,
    Reason::NotReady,
    Reason::TimedOut,
    Reason::DeadlinePassed,
];

/// How many calls an instance rejected, for each reason.
#[derive(Debug)]
pub(crate) struct Rejected([AtomicU64; REASONS.len()]);

impl Rejected {
    pub(crate) const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; REASONS.len()])
    }

    pub(crate) fn reset(&self) {
        for count in &self.0 {
            count.store(0, Ordering::Relaxed);
        }
    }

    pub(crate) fn add(&self, reason: Reason) {
        let at = REASONS.iter().position(|of| *of == reason);
        if let Some(count) = at.and_then(|at| self.0.get(at)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn counts(&self) -> Rejections {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        let counts = REASONS.into_iter().zip(counts);
        Rejections(counts.filter(|(_, count)| *count > 0).collect())
    }
}
