//! The codes of a gRPC client's errors.

use super::code::Code;
use super::pushback::Pushback;
use crate::protocol::http::ErasedError;
use crate::vocabulary::error::WithRejection;

/// The cause of an error.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cause {
    /// The server, a rejection or tonic gave this code.
    Code(Code),
    /// A time limit of tonic's passed.
    #[cfg_attr(
        not(feature = "tonic"),
        allow(dead_code, reason = "only a status of tonic has it")
    )]
    TimedOut,
    /// The server reset the stream after it had begun the call, as when its handler is dropped.
    #[cfg_attr(
        not(feature = "tonic"),
        allow(dead_code, reason = "only a status of tonic has it")
    )]
    Cancelled,
    /// There is no code: the transport failed.
    Transport,
}

pub(crate) fn cause<E: WithRejection + 'static>(error: &E) -> Cause {
    if let Some(erased) = ErasedError::find(error) {
        return erased.cause();
    }
    if let Some(rejection) = error.rejection() {
        return Cause::Code(Code::of_reason(rejection.reason()));
    }
    #[cfg(feature = "tonic")]
    return super::status::cause(error);
    #[cfg(not(feature = "tonic"))]
    Cause::Transport
}

/// The hint for a retry in an error's status.
pub(super) fn pushback<E: 'static>(error: &E) -> Option<Pushback> {
    #[cfg(feature = "tonic")]
    return super::status::pushback(error);
    #[cfg(not(feature = "tonic"))]
    {
        let _ = error;
        None
    }
}

/// Converts a readiness error for a stub: `UNAVAILABLE`, unless it has a code of its own.
///
/// A stub searches the chain of sources for a status. An error that cannot hold one is replaced by
/// `rejected`.
pub(super) fn unready<E: 'static>(error: E, rejected: E) -> E {
    #[cfg(feature = "tonic")]
    return super::status::unready(error, rejected);
    #[cfg(not(feature = "tonic"))]
    {
        let _ = rejected;
        error
    }
}
