//! The latest state changes of a circuit.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use crate::observe::snapshot::InWords;
#[cfg(feature = "serde")]
use crate::observe::snapshot::{as_str, seconds};
use crate::policy::breaker::{Cause, State, Transition};

/// The number of state changes kept.
const CHANGES: usize = 8;

/// A past state change.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Change {
    /// The time since the change.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "ago_seconds", serialize_with = "seconds")
    )]
    pub ago: Duration,
    /// The old state.
    #[cfg_attr(feature = "serde", serde(serialize_with = "as_str"))]
    pub from: State,
    /// The new state.
    #[cfg_attr(feature = "serde", serde(serialize_with = "as_str"))]
    pub to: State,
    /// The cause.
    #[cfg_attr(feature = "serde", serde(serialize_with = "as_str"))]
    pub cause: Cause,
    /// Calls in the window of the old state.
    pub calls: u64,
    /// Failed calls among them.
    pub failures: u64,
    /// Slow calls among them, failed or not.
    pub slow_calls: u64,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            ago,
            from,
            to,
            cause,
            ..
        } = self;
        write!(f, "{from} -> {to} ({cause}) {} ago", InWords(*ago))
    }
}

pub(super) struct History {
    /// The time of the last change, or of the start.
    since: Duration,
    /// Made at the first change: most circuits never change.
    #[expect(clippy::box_collection, reason = "to keep a circuit small")]
    newest: Option<Box<VecDeque<(Duration, Transition)>>>,
}

impl History {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            since: now,
            newest: None,
        }
    }

    pub(super) fn add(&mut self, now: Duration, transition: &Transition) {
        self.since = now;
        let newest = self.newest.get_or_insert_default();
        newest.truncate(CHANGES - 1);
        newest.push_front((now, transition.clone()));
    }

    /// The time since the last change, or since the start, and the latest changes.
    pub(super) fn changes(&self, now: Duration) -> (Duration, Vec<Change>) {
        let newest = self.newest.iter().flat_map(|newest| newest.iter());
        let changes = newest.map(|(at, transition)| Change {
            ago: now.saturating_sub(*at),
            from: transition.from,
            to: transition.to,
            cause: transition.cause,
            calls: transition.calls,
            failures: transition.failures,
            slow_calls: transition.slow_calls,
        });
        (now.saturating_sub(self.since), changes.collect())
    }
}
