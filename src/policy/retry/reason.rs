//! The decision on a result, the cause of a retry, and the reason why there is none.

use std::time::Duration;

/// What to do after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// Return the result to the caller. A response that is returned counts as a success.
    Return,
    /// Try again after the back-off.
    Retry,
    /// Try again after exactly this wait, the upstream's hint. If it is longer than the layer's
    /// [`max_retry_after`](crate::RetryBuilder::max_retry_after), or ends after the deadline, the
    /// result is returned to the caller at once.
    RetryAfter(Duration),
    /// Try again after the back-off, at no cost to the budget: the request never left this process,
    /// because its connection was closed.
    RetryUnsent,
    /// Send the request again after a short wait, because the server refused it without processing
    /// it. gRPC calls this a transparent retry. It costs the budget nothing, does not count as one
    /// of the [`attempts`](crate::RetryBuilder::attempts), and keeps the attempt number. After 30
    /// transparent retries in one call, it is the same as [`Retry`](Self::Retry).
    RetryTransparently,
    /// Return the result to the caller: a failure that must not be retried. The
    /// [gRPC throttling](crate::RetryBudget::throttle) counts it as a failure.
    Fail,
}

/// The cause of a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RetryCause {
    /// A response that permits a retry: a 503, `UNAVAILABLE`, ...
    Response,
    /// An error instead of a response.
    Error,
    /// The attempt took too long.
    TimedOut,
    /// The attempt was not sent: a service was not ready, or the connection was closed before. The
    /// retry costs the budget nothing.
    NotSent,
    /// The server refused the attempt without processing it. The retry costs the budget nothing and
    /// keeps the attempt number.
    Refused,
}

impl RetryCause {
    pub(crate) const ALL: [Self; 5] = [
        Self::Response,
        Self::Error,
        Self::TimedOut,
        Self::NotSent,
        Self::Refused,
    ];

    /// The cause as one word for labels and logs: `response`, `error`, `timed_out`, `not_sent`,
    /// `refused`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Response => "response",
            Self::Error => "error",
            Self::TimedOut => "timed_out",
            Self::NotSent => "not_sent",
            Self::Refused => "refused",
        }
    }
}

/// The reason why a due retry was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RetryRefused {
    /// There are no attempts left.
    Attempts,
    /// The budget is spent.
    Budget,
    /// The wait would have ended after the deadline.
    Deadline,
    /// The upstream's hint is longer than
    /// [`max_retry_after`](crate::RetryBuilder::max_retry_after).
    HintTooLong,
    /// The request body is larger than the replay buffer.
    TooLarge,
    /// The inner service was not ready in time. The [`Retrying`](crate::EventKind::Retrying) event
    /// had already been emitted.
    NotReady,
    /// The request body cannot be sent again: its source failed, or an earlier attempt still reads
    /// it.
    Body,
    /// The layer is in [shadow mode](crate::Mode::Shadow). Nothing else forbade the retry.
    Shadow,
}

impl RetryRefused {
    pub(crate) const ALL: [Self; 8] = [
        Self::Attempts,
        Self::Budget,
        Self::Deadline,
        Self::HintTooLong,
        Self::TooLarge,
        Self::NotReady,
        Self::Body,
        Self::Shadow,
    ];

    /// The reason as one word for labels and logs: `attempts`, `budget`, ...
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attempts => "attempts",
            Self::Budget => "budget",
            Self::Deadline => "deadline",
            Self::HintTooLong => "hint_too_long",
            Self::TooLarge => "too_large",
            Self::NotReady => "not_ready",
            Self::Body => "body",
            Self::Shadow => "shadow",
        }
    }
}
