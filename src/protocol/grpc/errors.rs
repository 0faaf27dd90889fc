//! The code behind an error of a gRPC client.

use super::code::Code;
use super::pushback::Pushback;
use crate::protocol::http::ErasedError;
use crate::vocabulary::error::WithRejection;

/// What an error comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cause {
    /// A code says it.
    Code(Code),
    /// A time limit that is not this crate's.
    #[cfg_attr(
        not(feature = "tonic"),
        allow(dead_code, reason = "only a status of tonic's says so")
    )]
    TimedOut,
    /// The server cancelled the stream, as it does when its handler is gone: a failure, but of a call that it had begun.
    #[cfg_attr(
        not(feature = "tonic"),
        allow(dead_code, reason = "only a status of tonic's says so")
    )]
    Cancelled,
    /// There is no code: the call did not come to an end.
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

/// What the status behind an error says of a retry.
pub(super) fn pushback<E: 'static>(error: &E) -> Option<Pushback> {
    #[cfg(feature = "tonic")]
    return super::status::pushback(error);
    #[cfg(not(feature = "tonic"))]
    {
        let _ = error;
        None
    }
}

/// An error of the inner service's readiness as a stub gets it: `UNAVAILABLE`, unless it has a code of its own.
///
/// A stub looks for a status in the chain of sources. An error that has no room for one is replaced by `rejected`.
pub(super) fn unready<E: 'static>(error: E, rejected: E) -> E {
    #[cfg(feature = "tonic")]
    return super::status::unready(error, rejected);
    #[cfg(not(feature = "tonic"))]
    {
        let _ = rejected;
        error
    }
}
