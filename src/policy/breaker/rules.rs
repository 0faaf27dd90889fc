//! The trip rules: when a window of calls, or a handful of probes, is bad enough.

use std::time::Duration;

use super::{Cause, Config};
use crate::policy::window::{Counts, rate};

/// Several rules at once; each is enough to trip.
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
            slow_rate: config.slow_calls.map(|(_, rate)| rate),
            slow_after: config.slow_calls.map(|(threshold, _)| threshold),
            min_calls: u64::from(config.min_calls.max(1)),
            consecutive_failures: config.consecutive_failures.map(u64::from),
        }
    }

    pub(super) fn is_slow(&self, elapsed: Duration) -> bool {
        self.slow_after.is_some_and(|threshold| elapsed > threshold)
    }

    /// Which rule trips on these calls, if one does.
    pub(super) fn tripped(&self, counts: &Counts, consecutive_failures: u64) -> Option<Cause> {
        if reached(consecutive_failures, self.consecutive_failures) {
            return Some(Cause::ConsecutiveFailures);
        }
        if counts.calls < self.min_calls {
            return None;
        }
        self.rate_reached(counts)
    }

    /// Whether a plain success, or any number of them, could be what trips.
    ///
    /// It lowers both rates, and yet can trip: it may lift the number of calls to the minimum, or be the
    /// first to be judged after good calls left the window. Of the totals that successes can bring
    /// about, the smallest one that is judged has the highest rates; if that one is well, all are.
    pub(super) fn success_could_trip(&self, counts: &Counts, capacity: Option<u64>) -> bool {
        let next = counts.calls.saturating_add(1).max(self.min_calls);
        let worst = Counts {
            calls: capacity.map_or(next, |capacity| next.min(capacity)),
            ..*counts
        };
        self.rate_reached(&worst).is_some()
    }

    /// What the probes say so far, `places` of which are let through in all.
    ///
    /// They fail as soon as a rule would trip although every probe still to come were well, and succeed
    /// as soon as none would trip although all of them failed, slowly. Nothing but failures is never a
    /// success, whatever the rules are: three probes cannot fail five times in a row.
    pub(super) fn judge(&self, probes: &Counts, consecutive_failures: u64, places: u64) -> Verdict {
        let in_all = |counts: Counts| Counts {
            calls: places,
            ..counts
        };
        if probes.failures >= places
            || reached(consecutive_failures, self.consecutive_failures)
            || self.rate_reached(&in_all(*probes)).is_some()
        {
            return Verdict::Failed;
        }
        let to_come = places.saturating_sub(probes.calls);
        let worst = Counts {
            calls: places,
            failures: probes.failures.saturating_add(to_come),
            slow: probes.slow.saturating_add(to_come),
        };
        let none_was_well = probes.failures >= probes.calls;
        if none_was_well
            || reached(
                consecutive_failures.saturating_add(to_come),
                self.consecutive_failures,
            )
            || self.rate_reached(&worst).is_some()
        {
            return Verdict::Unknown;
        }
        Verdict::Succeeded
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
pub(super) enum Verdict {
    Unknown,
    Succeeded,
    Failed,
}
