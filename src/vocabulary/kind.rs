//! The kinds of layers: one table for each, which metrics, log lines and rejections read.

use crate::vocabulary::reason::Reason;

/// A kind of layer.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) id: Id,
    /// The name in labels, events and rejections.
    pub(crate) layer: &'static str,
    /// The reasons for which it rejects or ends calls.
    pub(crate) reasons: &'static [Reason],
    /// The metrics that it records.
    #[cfg_attr(
        not(feature = "metrics"),
        allow(dead_code, reason = "only metrics ask for it")
    )]
    pub(crate) series: &'static [Series],
}

/// The number of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
    /// A layer of a user.
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

    /// The name.
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

/// A group of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "metrics"),
    allow(dead_code, reason = "only metrics ask for it")
)]
pub(crate) enum Series {
    /// Calls by outcome, and calls in flight.
    Calls,
    /// Latencies.
    Duration,
    /// State, transitions, slow calls, and rejections that shadow mode only records.
    Circuit,
    /// Calls and retries whose callers gave up during the wait.
    GivenUp,
    /// Depth of the queue and time in it.
    Queue,
    /// Retries by cause, and refused retries.
    Retries,
    /// Time left until the deadline.
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
mod tests;
