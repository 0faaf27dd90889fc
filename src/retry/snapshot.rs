//! What a retry layer looks like at one moment.

use std::fmt;

use super::layer::Core;
#[cfg(feature = "serde")]
use crate::snapshot::counts;
use crate::snapshot::{Counts, Rejections, Words};
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

/// How often there were retries.
pub(super) struct Retried {
    causes: Counts<{ RetryCause::ALL.len() }>,
    refused: Counts<{ RetryRefused::ALL.len() }>,
}

impl Retried {
    pub(super) const fn new() -> Self {
        Self {
            causes: Counts::new(),
            refused: Counts::new(),
        }
    }

    pub(super) fn retrying(&self, cause: RetryCause) {
        self.causes.add(&RetryCause::ALL, cause);
    }

    pub(super) fn refused(&self, why: RetryRefused) {
        self.refused.add(&RetryRefused::ALL, why);
    }
}

impl Snapshot {
    pub(super) fn of<P, R>(core: &Core<P, R>) -> Self {
        Self {
            layer: core.origin.layer(),
            name: core.origin.name(),
            retries: core.retried.causes.of(&RetryCause::ALL),
            refused: core.retried.refused.of(&RetryRefused::ALL),
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
