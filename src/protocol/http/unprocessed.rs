//! Calls of which the transport says that the server never began them. They can be sent again, whatever they ask for.

use std::any::Any;
use std::error::Error as StdError;

use super::erased::ErasedError;
use crate::vocabulary::error::BoxError;

/// Why a request was never processed (RFC 9113, 8.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(all(feature = "hyper", feature = "http2")),
    allow(dead_code, reason = "who says so is another crate")
)]
pub(crate) enum Unprocessed {
    /// There was no connection to send it on, and none could be made.
    NotConnected,
    /// The connection was closed before it was sent. A server that restarts does so, but also a proxy whose upstream is gone.
    NotSent,
    /// The server refused it unseen: over HTTP/2, by `REFUSED_STREAM` or by a `GOAWAY` that tells which streams it has seen. A healthy
    /// server does so when it restarts, and when it has no room for another stream.
    Refused,
}

impl Unprocessed {
    pub(crate) fn of<E: 'static>(error: &E) -> Option<Self> {
        Self::of_chain(known(error)?)
    }

    /// The same of an error that is known to have a chain of sources.
    pub(crate) fn of_chain(error: &(dyn StdError + 'static)) -> Option<Self> {
        // It follows redirects by itself and does not tell which of the requests found no connection: the one before may have been processed.
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
            // h2 tells only the streams above the last one that the server saw of a GOAWAY.
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

/// Whether the server refused a request that it has not seen, and a retry may make up for that: it is no evidence against the server.
pub(crate) fn is_harmless_refusal<E: 'static>(error: &E) -> bool {
    if let Some(erased) = ErasedError::find(error) {
        return erased.is_harmless_refusal();
    }
    Unprocessed::of(error) == Some(Unprocessed::Refused)
        && !crate::vocabulary::context::refusals_count()
}

/// The error where its type is one that has a chain of sources.
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
