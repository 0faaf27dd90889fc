//! Calls of which the transport says that the server never began them. They can be sent again, whatever they ask for.

use std::any::Any;
use std::error::Error as StdError;

use crate::BoxError;

/// Whether the request was never processed: there was no connection to send it on, the one there was closed before it was sent, or the server
/// refused it unseen (over HTTP/2, by `REFUSED_STREAM` or by a `GOAWAY` that tells which streams it has seen: RFC 9113, 8.7).
pub(crate) fn is_unprocessed<E: 'static>(error: &E) -> bool {
    known(error).is_some_and(was_unprocessed)
}

/// The error where its type is one that has a chain of sources.
fn known(error: &dyn Any) -> Option<&(dyn StdError + 'static)> {
    #[cfg(feature = "hyper")]
    if let Some(crate::Error::Inner(error)) = error.downcast_ref::<crate::Error<hyper::Error>>() {
        return Some(error);
    }
    #[cfg(feature = "hyper")]
    if let Some(crate::Error::Inner(error)) =
        error.downcast_ref::<crate::Error<hyper_util::client::legacy::Error>>()
    {
        return Some(error);
    }
    #[cfg(feature = "tonic")]
    if let Some(status) = error.downcast_ref::<tonic::Status>() {
        return Some(status);
    }
    error.downcast_ref::<BoxError>().map(|boxed| &**boxed as _)
}

/// The same of an error that is known to have a chain of sources.
pub(crate) fn was_unprocessed(error: &(dyn StdError + 'static)) -> bool {
    // It follows redirects by itself and does not tell which of the requests found no connection: the one before may have been processed.
    #[cfg(feature = "reqwest")]
    if crate::chain::find::<reqwest::Error>(error).is_some() {
        return false;
    }
    #[cfg(feature = "hyper")]
    if crate::hyper::is_unprocessed(error) {
        return true;
    }
    // It was closed before the request was sent.
    #[cfg(any(feature = "hyper", feature = "tonic"))]
    if crate::chain::find::<hyper::Error>(error).is_some_and(hyper::Error::is_canceled) {
        return true;
    }
    #[cfg(feature = "http2")]
    if let Some(error) = crate::chain::find::<h2::Error>(error) {
        // h2 tells only the streams above the last one that the server saw of a GOAWAY.
        return error.is_remote()
            && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM));
    }
    #[cfg(feature = "tonic")]
    if crate::chain::find::<tonic::ConnectError>(error).is_some() {
        return true;
    }
    let _ = error;
    false
}
