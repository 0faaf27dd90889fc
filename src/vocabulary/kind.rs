//! What there is to know of a kind of layer: one table a kind, read by metrics, log lines and
//! rejections.

use crate::vocabulary::reason::Reason;

/// A kind of layer.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) id: Id,
    /// Its name in labels, events and rejections.
    pub(crate) layer: &'static str,
    /// Why it rejects or ends calls.
    pub(crate) reasons: &'static [Reason],
    /// What it records.
    #[cfg_attr(
        not(feature = "metrics"),
        allow(dead_code, reason = "only metrics ask for it")
    )]
    pub(crate) series: &'static [Series],
}

/// Which kind, for what must be known when the crate is compiled, and for what has room for a
/// number only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Id {
    Admission,
    AttemptTimeout,
    Bulkhead,
    CircuitBreaker,
    Correlation,
    Deadline,
    LoadShed,
    RateLimit,
    Retry,
    Timeout,
    /// A layer that this crate does not know.
    Unknown,
}

impl Id {
    pub(crate) const ALL: [Self; 11] = [
        Self::Admission,
        Self::AttemptTimeout,
        Self::Bulkhead,
        Self::CircuitBreaker,
        Self::Correlation,
        Self::Deadline,
        Self::LoadShed,
        Self::RateLimit,
        Self::Retry,
        Self::Timeout,
        Self::Unknown,
    ];

    /// The name of the layer.
    pub(crate) const fn layer(self) -> &'static str {
        match self {
            Self::Admission => "admission",
            Self::AttemptTimeout => "attempt_timeout",
            Self::Bulkhead => "bulkhead",
            Self::CircuitBreaker => "circuit_breaker",
            Self::Correlation => "correlation",
            Self::Deadline => "deadline",
            Self::LoadShed => "load_shed",
            Self::RateLimit => "rate_limit",
            Self::Retry => "retry",
            Self::Timeout => "timeout",
            Self::Unknown => "unknown",
        }
    }
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

impl Kind {
    pub(crate) const fn new(id: Id, reasons: &'static [Reason], series: &'static [Series]) -> Self {
        Self {
            id,
            layer: id.layer(),
            reasons,
            series,
        }
    }

    #[cfg_attr(
        not(feature = "metrics"),
        allow(dead_code, reason = "only metrics ask for it")
    )]
    pub(crate) fn rejects(&self, reason: Reason) -> bool {
        self.reasons.contains(&reason)
    }

    #[cfg_attr(
        not(feature = "metrics"),
        allow(dead_code, reason = "only metrics ask for it")
    )]
    pub(crate) fn records(&self, series: Series) -> bool {
        self.series.contains(&series)
    }
}

pub(crate) static DEADLINE: Kind = Kind::new(Id::Deadline, &[Reason::DeadlinePassed], &[]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_number_and_its_name() {
        for (number, id) in Id::ALL.into_iter().enumerate() {
            assert_eq!(id as usize, number);
            let named = Id::ALL.iter().filter(|other| other.layer() == id.layer());
            assert_eq!(named.count(), 1, "{id:?}");
        }
    }
}
