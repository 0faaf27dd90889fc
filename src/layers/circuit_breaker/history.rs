//! When and why a circuit changed its state.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use crate::observe::snapshot::InWords;
#[cfg(feature = "serde")]
use crate::observe::snapshot::{as_str, seconds};
use crate::policy::breaker::{Cause, State, Transition};

/// So many changes of state are kept.
const CHANGES: usize = 8;

/// A change of state that is past.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Change {
    /// How long ago it was.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "ago_seconds", serialize_with = "seconds")
    )]
    pub ago: Duration,
    /// The state before.
    #[cfg_attr(feature = "serde", serde(serialize_with = "as_str"))]
    pub from: State,
    /// The state after.
    #[cfg_attr(feature = "serde", serde(serialize_with = "as_str"))]
    pub to: State,
    /// Why.
    #[cfg_attr(feature = "serde", serde(serialize_with = "as_str"))]
    pub cause: Cause,
    /// The calls that the state before had in its window.
    pub calls: u64,
    /// How many of them failed.
    pub failures: u64,
    /// How many of them were slow, failed or not.
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

/// When the circuit changed.
pub(super) struct History {
    /// When it began, or last changed.
    since: Duration,
    newest: VecDeque<(Duration, Transition)>,
}

impl History {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            since: now,
            newest: VecDeque::new(),
        }
    }

    pub(super) fn add(&mut self, now: Duration, transition: &Transition) {
        self.since = now;
        self.newest.truncate(CHANGES - 1);
        self.newest.push_front((now, transition.clone()));
    }

    /// How long ago the last change was, or the beginning, and what changed.
    pub(super) fn tell(&self, now: Duration) -> (Duration, Vec<Change>) {
        let changes = self.newest.iter().map(|(at, transition)| Change {
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
