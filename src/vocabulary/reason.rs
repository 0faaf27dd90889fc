//! Why a call was rejected: one table, read by everything that must know.

use std::fmt;
#[cfg(feature = "tonic")]
use std::sync::LazyLock;

/// Why a call was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The circuit is open: what is behind it has been failing.
    CircuitOpen,
    /// A bulkhead has all its calls in flight (and its queue, if it has one, is full).
    Full,
    /// The call waited for a permit of a bulkhead for as long as it may.
    QueueTimeout,
    /// A load shedder has reached its limit of calls in flight.
    Shed,
    /// The inner service was not ready to take the call.
    NotReady,
    /// The call was started and took longer than it may.
    TimedOut,
    /// The deadline had passed before the call was started.
    DeadlinePassed,
    /// More calls came in a time than a rate limit or a quota allows.
    RateLimited,
    /// A policy of the program's own refused the call: see
    /// [`Admission`](crate::admission::Admission).
    Refused,
}

/// What follows from a reason.
struct Row {
    reason: Reason,
    /// In labels and logs.
    word: &'static str,
    /// In a message that may be shown to a caller.
    sentence: &'static str,
    /// Whether the inner service was not called.
    not_sent: bool,
    /// The status of HTTP.
    #[cfg_attr(
        not(feature = "http"),
        allow(dead_code, reason = "only HTTP asks for it")
    )]
    status: u16,
    /// The code of gRPC.
    #[cfg_attr(
        not(feature = "http"),
        allow(dead_code, reason = "only gRPC asks for it")
    )]
    code: u8,
}

const UNAVAILABLE: u8 = 14;
const DEADLINE_EXCEEDED: u8 = 4;
/// The code of quotas and over-large messages. A full bulkhead and shed load do not have it: a
/// client could not tell overload from what one of its own callers asked for too much.
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

    /// The reason in words that may be shown to a caller.
    pub(crate) const fn describe(self) -> &'static str {
        self.row().sentence
    }

    /// Whether the inner service was not called.
    pub(crate) const fn not_sent(self) -> bool {
        self.row().not_sent
    }

    /// The status of the answer in HTTP.
    #[cfg(feature = "http")]
    pub(crate) const fn status(self) -> u16 {
        self.row().status
    }

    /// The number of the code in gRPC.
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
    /// A status of the reason's code, for a rejection's chain of sources.
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
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_row_of_its_own() {
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at);
            assert_eq!(reason.row().reason, reason);
            assert_eq!(
                Reason::ALL
                    .iter()
                    .filter(|of| of.as_str() == reason.as_str())
                    .count(),
                1
            );
        }
    }
}
