//! hyper and hyper-util: their errors can carry a rejection, and a retry knows which of them are final.
//!
//! hyper-util's legacy client is a tower service as it is, and `hyper_util::service::TowerToHyperService` serves any stack that ends in
//! [`RespondLayer`](crate::RespondLayer).

use std::any::Any;
use std::error::Error as StdError;

use crate::vocabulary::chain::find;
use crate::vocabulary::error::{BoxError, Error, Plain};

impl Plain for hyper::Error {}
impl Plain for hyper_util::client::legacy::Error {}

/// The client's own complaints of a request (no absolute URI, a version or method that it does not speak) come without a source, and
/// nothing else that it says of a call does.
fn is_callers(error: &hyper_util::client::legacy::Error) -> bool {
    match find::<hyper::Error>(error) {
        Some(error) => error.is_user(),
        None => !error.is_connect() && error.source().is_none(),
    }
}

/// Whether the request's own body or the caller is at fault, so that another attempt would go the same way.
pub(crate) fn is_final(error: &dyn Any) -> bool {
    if let Some(Error::Inner(error)) = error.downcast_ref::<Error<hyper::Error>>() {
        return error.is_user();
    }
    if let Some(Error::Inner(error)) =
        error.downcast_ref::<Error<hyper_util::client::legacy::Error>>()
    {
        return is_callers(error);
    }
    if let Some(boxed) = error.downcast_ref::<BoxError>() {
        return match find::<hyper_util::client::legacy::Error>(&**boxed) {
            Some(error) => is_callers(error),
            None => find::<hyper::Error>(&**boxed).is_some_and(hyper::Error::is_user),
        };
    }
    false
}

/// Whether there was no connection to send the request on.
pub(crate) fn is_not_connected(error: &(dyn StdError + 'static)) -> bool {
    find::<hyper_util::client::legacy::Error>(error).is_some_and(|error| error.is_connect())
}
