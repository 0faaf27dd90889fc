//! reqwest's errors: they can carry a rejection, and a retry knows which of them are final.

use std::any::Any;

use crate::vocabulary::chain::find;
use crate::vocabulary::error::{BoxError, Error, Plain};

impl Plain for reqwest::Error {}

/// Logs that a request was refused unseen, of which nobody can tell how often reqwest has sent it.
#[cfg(all(feature = "http2", feature = "tracing"))]
pub(crate) fn log_refusal(error: &dyn Any) {
    let refused = the_error(error)
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
            "reqwest got a refusal of HTTP/2. Unless the client is built with `retry(reqwest::retry::never())`, it has sent the request up to three times"
        );
    }
}

/// Whether the request or the reading of the response is at fault, so that another attempt would go the same way.
pub(crate) fn is_final(error: &dyn Any) -> bool {
    the_error(error)
        .is_some_and(|error| is_callers(error) || error.is_redirect() || error.is_decode())
}

/// Whether the caller made it: of a URL, or of a body of which the source broke off.
pub(crate) fn is_callers_fault(error: &dyn Any) -> bool {
    the_error(error).is_some_and(is_callers)
}

fn is_callers(error: &reqwest::Error) -> bool {
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

fn the_error(error: &dyn Any) -> Option<&reqwest::Error> {
    if let Some(Error::Inner(error)) = error.downcast_ref::<Error<reqwest::Error>>() {
        Some(error)
    } else if let Some(boxed) = error.downcast_ref::<BoxError>() {
        find::<reqwest::Error>(&**boxed)
    } else {
        None
    }
}
