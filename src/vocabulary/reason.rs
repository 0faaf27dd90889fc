//! Why a call was rejected: one table for messages, metrics and status codes.

use std::fmt;
#[cfg(feature = "tonic")]
use std::sync::LazyLock;

/// Why a call was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The circuit is open: the upstream has been failing.
    CircuitOpen,
    /// All permits of a bulkhead are taken, and its queue (if any) is full.
    Full,
    /// The call waited for a permit for the maximum time.
    QueueTimeout,
    /// A load shedder has reached its limit.
    Shed,
    /// The inner service was not ready.
    NotReady,
    /// The call was sent and took longer than its time limit.
    TimedOut,
    /// The deadline had passed before the call was sent.
    DeadlinePassed,
    /// A rate limit or a quota is used up.
    RateLimited,
    /// A user's own policy rejected the call: see [`Admission`](crate::admission::Admission).
    Refused,
}

/// A row of the table.
struct Row {
    reason: Reason,
    /// For labels and logs.
    word: &'static str,
    /// For callers.
    sentence: &'static str,
    /// Whether the inner service was not called.
    not_sent: bool,
    /// HTTP status.
    #[cfg_attr(
        not(feature = "http"),
        allow(dead_code, reason = "only HTTP asks for it")
    )]
    status: u16,
    /// gRPC code.
    #[cfg_attr(
        not(feature = "http"),
        allow(dead_code, reason = "only gRPC asks for it")
    )]
    code: u8,
}

const UNAVAILABLE: u8 = 14;
const DEADLINE_EXCEEDED: u8 = 4;
/// For quotas only. With this code for overload, too, a client could not tell an overloaded server
/// from one of its own callers that exceeded a quota.
const RESOURCE_EXHAUSTED: u8 = 8;

macro_rules! table {
    ($($reason:ident: $word:literal, $sentence:literal, $sent:ident, $status:literal, $code:ident;)*) => {
        /// In the order of [`Reason`].
        const TABLE: &[Row] = &[$(Row {
            reason: Reason::$reason,
            word: $word,
            sentence: $sentence,
            not_sent: table!($sent),
            status: $status,
            code: $code,
        }),*];
    };
    (sent) => { false };
    (not_sent) => { true };
}

table! {
    CircuitOpen: "circuit_open", "the circuit is open", not_sent, 503, UNAVAILABLE;
    Full: "full", "the bulkhead is full", not_sent, 503, UNAVAILABLE;
    QueueTimeout: "queue_timeout", "the wait for a permit was too long", not_sent, 503, UNAVAILABLE;
    Shed: "shed", "load is being shed", not_sent, 503, UNAVAILABLE;
    NotReady: "not_ready", "the service is not ready", not_sent, 503, UNAVAILABLE;
    TimedOut: "timed_out", "the call timed out", sent, 504, DEADLINE_EXCEEDED;
    DeadlinePassed: "deadline_passed", "the deadline had already passed", not_sent, 504, DEADLINE_EXCEEDED;
    RateLimited: "rate_limited", "the rate limit is exceeded", not_sent, 429, RESOURCE_EXHAUSTED;
    Refused: "refused", "the call is refused", not_sent, 503, UNAVAILABLE;
}

impl Reason {
    pub(crate) const ALL: [Self; TABLE.len()] = {
        let mut all = [Self::Refused; TABLE.len()];
        let mut at = 0;
        while at < TABLE.len() {
            all[at] = TABLE[at].reason;
            at += 1;
        }
        all
    };

    const fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// The reason as one word for labels and logs: `circuit_open`, `full`, ...
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.row().word
    }

    /// A sentence for callers.
    pub(crate) const fn describe(self) -> &'static str {
        self.row().sentence
    }

    /// Whether the inner service was not called.
    pub(crate) const fn not_sent(self) -> bool {
        self.row().not_sent
    }

    /// The HTTP status.
    #[cfg(feature = "http")]
    pub(crate) const fn status(self) -> u16 {
        self.row().status
    }

    /// The gRPC code.
    #[cfg(feature = "http")]
    pub(crate) const fn code(self) -> u8 {
        self.row().code
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(feature = "tonic")]
impl Reason {
    /// The status for a rejection's chain of sources.
    pub(crate) fn grpc_status(self) -> &'static tonic::Status {
        static STATUSES: LazyLock<[tonic::Status; Reason::ALL.len()]> = LazyLock::new(|| {
            Reason::ALL.map(|reason| {
                let code = tonic::Code::from_i32(i32::from(reason.code()));
                tonic::Status::new(code, reason.describe())
            })
        });
        &STATUSES[self as usize]
    }
}

#[cfg(test)]
mod tests;
