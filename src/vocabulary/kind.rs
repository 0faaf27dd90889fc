//! What there is to know of a kind of layer: one table a kind, read by metrics, log lines and
//! rejections.

use crate::vocabulary::reason::Reason;

/// A kind of layer.
#[derive(Debug)]
pub(crate) struct Kind {
    #[cfg_attr(
        not(feature = "tracing"),
        allow(dead_code, reason = "only log lines ask for it")
    )]
    pub(crate) id: Id,
    /// Its name in labels, events and rejections.
    pub(crate) layer: &'static str,
    /// Why it rejects or ends calls.
    pub(crate) reasons: &'static [Reason],
    /// What it records.
    pub(crate) series: &'static [Series],
}

/// Which kind, for what must be known when the crate is compiled: the target of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "tracing"),
    allow(dead_code, reason = "only log lines ask for it")
)]
pub(crate) enum Id {
    AttemptTimeout,
    Bulkhead,
    CircuitBreaker,
    Deadline,
    LoadShed,
    RateLimit,
    Retry,
    Timeout,
    Other,
}

/// A group of metrics that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "metrics"),
    allow(dead_code, reason = "only metrics ask for it")
)]
pub(crate) enum Series {
    /// Calls by outcome, and those in flight.
    Calls,
    /// How long calls take.
    Duration,
    /// State, changes of state, slow calls, and what shadow mode would reject.
    Circuit,
    /// Calls and retries that their callers gave up while they waited.
    GivenUp,
    /// Depth of a queue and time in it.
    Queue,
    /// Retries, by cause, and those that were refused.
    Retries,
    /// What requests have left of their deadline.
    Deadline,
}

#[cfg_attr(
    not(feature = "metrics"),
    allow(dead_code, reason = "only metrics ask for it")
)]
impl Kind {
    pub(crate) fn rejects(&self, reason: Reason) -> bool {
        self.reasons.contains(&reason)
    }

    pub(crate) fn records(&self, series: Series) -> bool {
        self.series.contains(&series)
    }
}

/// Rejections made by user code, for layers that this crate does not know.
pub(crate) static UNKNOWN: Kind = Kind {
    id: Id::Other,
    layer: "unknown",
    reasons: &[],
    series: &[],
};

pub(crate) static DEADLINE: Kind = Kind {
    id: Id::Deadline,
    layer: "deadline",
    reasons: &[Reason::DeadlinePassed],
    series: &[],
};

/// All that have a name of their own.
pub(crate) static ALL: &[&Kind] = &[
    &crate::layers::timeout::ATTEMPT_KIND,
    &crate::layers::bulkhead::KIND,
    &crate::layers::circuit_breaker::KIND,
    &crate::layers::correlation::KIND,
    &DEADLINE,
    &crate::layers::load_shed::KIND,
    &crate::layers::rate_limit::KIND,
    &crate::layers::retry::KIND,
    &crate::layers::timeout::KIND,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_told_from_all_others() {
        for (at, kind) in ALL.iter().enumerate() {
            for other in &ALL[at + 1..] {
                assert_ne!(kind.layer, other.layer);
                assert!(
                    kind.id != other.id || kind.id == Id::Other,
                    "{}",
                    kind.layer
                );
            }
        }
    }

    #[test]
    fn every_reason_is_that_of_a_kind_or_of_a_users_policy() {
        for reason in Reason::ALL {
            let known = ALL.iter().any(|kind| kind.rejects(reason));
            let users = reason == Reason::Refused;
            assert!(known || users, "{reason}");
        }
    }
}
