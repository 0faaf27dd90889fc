//! The trip rules, for a window of calls and for a few probes.

use std::time::Duration;

use super::{Cause, Config};
use crate::policy::window::{Counts, rate};

/// The rules; each alone can trip.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    failure_rate: Option<f64>,
    slow_rate: Option<f64>,
    slow_after: Option<Duration>,
    min_calls: u64,
    consecutive_failures: Option<u64>,
}

impl Rules {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            failure_rate: config.failure_rate,
            slow_rate: config.slow_calls.map(|slow| slow.rate),
            slow_after: config.slow_after(),
            min_calls: u64::from(config.min_calls.max(1)),
            consecutive_failures: config.consecutive_failures.map(u64::from),
        }
    }

    pub(super) fn is_slow(&self, elapsed: Duration) -> bool {
        self.slow_after.is_some_and(|threshold| elapsed > threshold)
    }

    /// The rule that trips on these calls.
    pub(super) fn tripped(&self, counts: &Counts, consecutive_failures: u64) -> Option<Cause> {
        if reached(consecutive_failures, self.consecutive_failures) {
            return Some(Cause::ConsecutiveFailures);
        }
        if counts.calls < self.min_calls {
            return None;
        }
        self.rate_reached(counts)
    }

    /// Whether one or more successes that are not slow could trip a rule.
    ///
    /// A success lowers both rates, and yet can trip. It may raise the number of calls to the
    /// minimum, or be the first call counted after good ones left the window. Of the totals that
    /// successes can reach, the smallest one of at least the minimum has the highest rates. If that
    /// one does not trip, none does.
    pub(super) fn success_could_trip(&self, counts: &Counts, capacity: Option<u64>) -> bool {
        let next = counts.calls.saturating_add(1).max(self.min_calls);
        let worst = Counts {
            calls: capacity.map_or(next, |capacity| next.min(capacity)),
            ..*counts
        };
        self.rate_reached(&worst).is_some()
    }

    /// Evaluates the probes settled so far, of `permits` in all.
    ///
    /// They failed once a rule would trip even if all further probes succeeded. They succeeded once
    /// no rule would trip even if all further probes failed slowly. Failures alone never succeed:
    /// with a rule of five consecutive failures, three probes cannot trip it.
    pub(super) fn evaluate(
        &self,
        probes: &Counts,
        consecutive_failures: u64,
        permits: u64,
    ) -> Evaluation {
        let best = Counts {
            calls: permits,
            ..*probes
        };
        if probes.failures >= permits
            || reached(consecutive_failures, self.consecutive_failures)
            || self.rate_reached(&best).is_some()
        {
            return Evaluation::Failed;
        }
        let to_come = permits.saturating_sub(probes.calls);
        let worst = Counts {
            calls: permits,
            failures: probes.failures.saturating_add(to_come),
            slow: probes.slow.saturating_add(to_come),
        };
        let none_succeeded = probes.failures >= probes.calls;
        if none_succeeded
            || reached(
                consecutive_failures.saturating_add(to_come),
                self.consecutive_failures,
            )
            || self.rate_reached(&worst).is_some()
        {
            return Evaluation::Undecided;
        }
        Evaluation::Succeeded
    }

    fn rate_reached(&self, counts: &Counts) -> Option<Cause> {
        let at_least = |part, limit: Option<f64>| {
            limit.is_some_and(|limit| rate(part, counts.calls).is_some_and(|rate| rate >= limit))
        };
        if at_least(counts.failures, self.failure_rate) {
            Some(Cause::FailureRate)
        } else if at_least(counts.slow, self.slow_rate) {
            Some(Cause::SlowCallRate)
        } else {
            None
        }
    }
}

fn reached(value: u64, limit: Option<u64>) -> bool {
    limit.is_some_and(|limit| value >= limit)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evaluation {
    Undecided,
    Succeeded,
    Failed,
}
