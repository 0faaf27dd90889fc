//! Counters and snapshot of a retry layer.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::budget::RetryBudget;
use crate::observe::emit::Emit as _;
use crate::observe::emitter::Emitter;
use crate::observe::event::EventKind;
#[cfg(feature = "serde")]
use crate::observe::snapshot::counts;
use crate::observe::snapshot::{Counts, Rejections, Words};
use crate::policy::retry::{RetryCause, RetryRefused};

/// The snapshot of a retry layer: see [`snapshot`](crate::snapshot).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// `retry`.
    pub layer: &'static str,
    /// The name of the instance.
    pub name: String,
    /// Attempts after the first, by cause.
    #[cfg_attr(feature = "serde", serde(serialize_with = "counts"))]
    pub retries: Vec<(RetryCause, u64)>,
    /// Retries that were refused, by reason.
    #[cfg_attr(feature = "serde", serde(serialize_with = "counts"))]
    pub refused: Vec<(RetryRefused, u64)>,
    /// The number of `retries` whose callers gave up during the back-off.
    ///
    /// The number of attempts is calls + `retries` - `given_up` - retries refused as `not_ready`.
    pub given_up: u64,
    /// Retries that the budget allows now, if there is one.
    pub balance: Option<u64>,
    /// Calls whose response was dropped for a retry for which the inner service was not ready.
    pub rejections: Rejections,
}

/// Counters and emitter of an instance.
pub(crate) struct Stats {
    pub(super) emitter: Emitter,
    causes: Counts<{ RetryCause::ALL.len() }>,
    refused: Counts<{ RetryRefused::ALL.len() }>,
    given_up: AtomicU64,
}

impl Stats {
    pub(super) const fn new(emitter: Emitter) -> Self {
        Self {
            emitter,
            causes: Counts::new(),
            refused: Counts::new(),
            given_up: AtomicU64::new(0),
        }
    }

    /// The caller of an announced retry gave up.
    #[cold]
    pub(super) fn gave_up(&self, waited: Duration) {
        self.given_up.fetch_add(1, Ordering::Relaxed);
        self.emitter.emit(|| EventKind::GivenUp { waited });
    }

    pub(super) fn retrying(&self, cause: RetryCause) {
        self.causes.add(&RetryCause::ALL, cause);
    }

    pub(super) fn refused(&self, why: RetryRefused) {
        self.refused.add(&RetryRefused::ALL, why);
    }
}

impl Snapshot {
    pub(super) fn of(stats: &Stats, budget: Option<&RetryBudget>) -> Self {
        Self {
            layer: stats.emitter.layer(),
            name: stats.emitter.name().to_owned(),
            retries: stats.causes.of(&RetryCause::ALL),
            refused: stats.refused.of(&RetryRefused::ALL),
            given_up: stats.given_up.load(Ordering::Relaxed),
            balance: budget.map(RetryBudget::balance),
            rejections: stats.emitter.rejections(),
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
        if self.given_up > 0 {
            write!(f, ", {} given up", self.given_up)?;
        }
        match self.balance {
            Some(balance) => write!(f, "; budget for {balance} more"),
            None => f.write_str("; no budget"),
        }
    }
}
