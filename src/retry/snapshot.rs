//! What a retry layer looks like at one moment.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::layer::Core;
#[cfg(feature = "serde")]
use crate::snapshot::counts;
use crate::snapshot::{Rejections, Words};
use crate::{RetryCause, RetryRefused};

/// A retry layer at one moment: see [`snapshot`](crate::snapshot).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// `retry`.
    pub layer: &'static str,
    /// The name of the instance.
    pub name: &'static str,
    /// Attempts after the first, for each cause that there was.
    #[cfg_attr(feature = "serde", serde(serialize_with = "counts"))]
    pub retries: Vec<(RetryCause, u64)>,
    /// Retries that were called for and not made, for each reason that there was.
    #[cfg_attr(feature = "serde", serde(serialize_with = "counts"))]
    pub refused: Vec<(RetryRefused, u64)>,
    /// How many retries the budget would pay for now, if there is one.
    pub balance: Option<u64>,
    /// Calls whose response was given up for a retry, for which the inner service was then not ready.
    pub rejections: Rejections,
}

const CAUSES: [RetryCause; 3] = [
    RetryCause::Response,
    RetryCause::Error,
    RetryCause::TimedOut,
];
const REFUSED: [RetryRefused; 6] = [
    RetryRefused::Attempts,
    RetryRefused::Budget,
    RetryRefused::Deadline,
    RetryRefused::HintTooLong,
    RetryRefused::TooLarge,
    RetryRefused::Body,
];

/// How often there were retries.
#[derive(Default)]
pub(super) struct Retried {
    causes: [AtomicU64; CAUSES.len()],
    refused: [AtomicU64; REFUSED.len()],
}

impl Retried {
    pub(super) fn retrying(&self, cause: RetryCause) {
        bump(&CAUSES, cause, &self.causes);
    }

    pub(super) fn refused(&self, why: RetryRefused) {
        bump(&REFUSED, why, &self.refused);
    }
}

fn bump<T: PartialEq>(kinds: &[T], kind: T, counts: &[AtomicU64]) {
    let at = kinds.iter().position(|of| *of == kind);
    if let Some(count) = at.and_then(|at| counts.get(at)) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

fn told<T: Copy>(kinds: &[T], counts: &[AtomicU64]) -> Vec<(T, u64)> {
    let counts = counts.iter().map(|count| count.load(Ordering::Relaxed));
    let told = kinds.iter().copied().zip(counts);
    told.filter(|(_, count)| *count > 0).collect()
}

impl Snapshot {
    pub(super) fn of<P, R>(core: &Core<P, R>) -> Self {
        Self {
            layer: core.origin.layer(),
            name: core.origin.name(),
            retries: told(&CAUSES, &core.retried.causes),
            refused: told(&REFUSED, &core.retried.refused),
            balance: core.settings.budget.as_ref().map(|budget| budget.balance()),
            rejections: core.listeners.rejected.counts(),
        }
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = |counts: &mut dyn Iterator<Item = u64>| counts.sum::<u64>();
        let retries = total(&mut self.retries.iter().map(|(_, count)| *count));
        let refused = total(&mut self.refused.iter().map(|(_, count)| *count));
        write!(f, "{} {}: {retries} retries", self.layer, self.name)?;
        if retries > 0 {
            let words = self.retries.iter().map(|(of, count)| (of.as_str(), *count));
            write!(f, " ({})", Words(words))?;
        }
        write!(f, ", {refused} refused")?;
        if refused > 0 {
            let words = self.refused.iter().map(|(of, count)| (of.as_str(), *count));
            write!(f, " ({})", Words(words))?;
        }
        match self.balance {
            Some(balance) => write!(f, "; budget for {balance} more"),
            None => f.write_str("; no budget"),
        }
    }
}
