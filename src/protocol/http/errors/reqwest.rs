//! Errors of reqwest.

use std::any::Any;

use crate::vocabulary::chain::find;
use crate::vocabulary::error::{BoxError, Error, Plain};

impl Plain for reqwest::Error {}

/// Logs a refusal of HTTP/2, because reqwest may have retried the request.
#[cfg(all(feature = "http2", feature = "tracing"))]
pub(crate) fn log_refusal(error: &dyn Any) {
    let refused = downcast(error)
        .and_then(|error| find::<h2::Error>(error))
        .is_some_and(|error| {
            let reason = error.reason();
            error.is_remote()
                && (reason == Some(h2::Reason::REFUSED_STREAM)
                    || error.is_go_away() && reason == Some(h2::Reason::NO_ERROR))
        });
    if refused {
        tracing::debug!(
            target: "mainstay::retry",
            "HTTP/2 refused a request of reqwest. Unless the client is built with `retry(reqwest::retry::never())`, reqwest has sent it up to three times"
        );
    }
}

/// Whether the request, a redirect or the decoding of the response caused the error, so that
/// another attempt fails, too.
pub(crate) fn is_final(error: &dyn Any) -> bool {
    downcast(error)
        .is_some_and(|error| is_request_error(error) || error.is_redirect() || error.is_decode())
}

/// Whether the caller is at fault: its request could not be built, or its body failed.
pub(crate) fn is_callers_fault(error: &dyn Any) -> bool {
    downcast(error).is_some_and(is_request_error)
}

fn is_request_error(error: &reqwest::Error) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if error
            .downcast_ref::<reqwest::Error>()
            .is_some_and(|error| error.is_builder() || error.is_body())
        {
            return true;
        }
        next = error.source();
    }
    false
}

fn downcast(error: &dyn Any) -> Option<&reqwest::Error> {
    if let Some(Error::Inner(error)) = error.downcast_ref::<Error<reqwest::Error>>() {
        Some(error)
    } else if let Some(boxed) = error.downcast_ref::<BoxError>() {
        find::<reqwest::Error>(&**boxed)
    } else {
        None
    }
}
