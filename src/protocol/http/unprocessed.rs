//! Requests that the server never processed, according to the transport. Any such request may be
//! sent again.

use std::any::Any;
use std::error::Error as StdError;

use super::erased_error::ErasedError;
use crate::vocabulary::error::BoxError;

/// Why a request was never processed (RFC 9113, 8.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(all(feature = "hyper", feature = "http2")),
    allow(dead_code, reason = "the errors of other crates decide")
)]
pub(crate) enum Unprocessed {
    /// No connection could be made.
    NotConnected,
    /// The connection was closed before the request was sent: by a server that restarts, or by a
    /// proxy without an upstream.
    NotSent,
    /// HTTP/2: the server refused the stream by `REFUSED_STREAM` or `GOAWAY`. A healthy server does
    /// so when it restarts or reaches its limit of streams.
    Refused,
}

impl Unprocessed {
    pub(crate) fn of<E: 'static>(error: &E) -> Option<Self> {
        Self::of_chain(known(error)?)
    }

    pub(crate) fn of_chain(error: &(dyn StdError + 'static)) -> Option<Self> {
        // reqwest follows redirects and does not say which request failed to connect: the server
        // may have processed an earlier one.
        #[cfg(feature = "reqwest")]
        if crate::vocabulary::chain::find::<reqwest::Error>(error).is_some() {
            return None;
        }
        #[cfg(feature = "hyper")]
        if super::errors::hyper::is_not_connected(error) {
            return Some(Self::NotConnected);
        }
        #[cfg(any(feature = "hyper", feature = "tonic"))]
        if crate::vocabulary::chain::find::<hyper::Error>(error)
            .is_some_and(hyper::Error::is_canceled)
        {
            return Some(Self::NotSent);
        }
        #[cfg(feature = "http2")]
        if let Some(error) = crate::vocabulary::chain::find::<h2::Error>(error) {
            // h2 reports a GOAWAY only to streams above the last one that the server processed.
            let refused = error.is_remote()
                && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM));
            return refused.then_some(Self::Refused);
        }
        #[cfg(feature = "tonic")]
        if crate::vocabulary::chain::find::<tonic::ConnectError>(error).is_some() {
            return Some(Self::NotConnected);
        }
        let _ = error;
        None
    }
}

/// Whether the server refused the request unprocessed and a retry may follow: such a refusal is no
/// evidence against the server.
pub(crate) fn is_harmless_refusal<E: 'static>(error: &E) -> bool {
    if let Some(erased) = ErasedError::find(error) {
        return erased.is_harmless_refusal();
    }
    Unprocessed::of(error) == Some(Unprocessed::Refused)
        && !crate::vocabulary::context::refusals_count()
}

/// The error inside of the known error types, with its chain of sources.
fn known(error: &dyn Any) -> Option<&(dyn StdError + 'static)> {
    #[cfg(feature = "hyper")]
    if let Some(crate::vocabulary::error::Error::Inner(error)) =
        error.downcast_ref::<crate::vocabulary::error::Error<hyper::Error>>()
    {
        return Some(error);
    }
    #[cfg(feature = "hyper")]
    if let Some(crate::vocabulary::error::Error::Inner(error)) =
        error.downcast_ref::<crate::vocabulary::error::Error<hyper_util::client::legacy::Error>>()
    {
        return Some(error);
    }
    #[cfg(feature = "tonic")]
    if let Some(status) = error.downcast_ref::<tonic::Status>() {
        return Some(status);
    }
    error.downcast_ref::<BoxError>().map(|boxed| &**boxed as _)
}
