//! Errors of hyper and hyper-util.
//!
//! hyper-util's legacy client is a tower service, and `hyper_util::service::TowerToHyperService`
//! serves any stack with a [`RespondLayer`](crate::RespondLayer) outermost.

use std::any::Any;
use std::error::Error as StdError;

use crate::vocabulary::chain::find;
use crate::vocabulary::error::{BoxError, Error, Plain};

impl Plain for hyper::Error {}
impl Plain for hyper_util::client::legacy::Error {}

/// Whether the caller is at fault. Only the client's errors about a request (no absolute URI, an
/// unsupported version or method) have no source.
fn is_callers_fault(error: &hyper_util::client::legacy::Error) -> bool {
    match find::<hyper::Error>(error) {
        Some(error) => error.is_user(),
        None => !error.is_connect() && error.source().is_none(),
    }
}

/// Whether the caller or the request's body caused the error, so that another attempt fails, too.
pub(crate) fn is_final(error: &dyn Any) -> bool {
    if let Some(Error::Inner(error)) = error.downcast_ref::<Error<hyper::Error>>() {
        return error.is_user();
    }
    if let Some(Error::Inner(error)) =
        error.downcast_ref::<Error<hyper_util::client::legacy::Error>>()
    {
        return is_callers_fault(error);
    }
    if let Some(boxed) = error.downcast_ref::<BoxError>() {
        return match find::<hyper_util::client::legacy::Error>(&**boxed) {
            Some(error) => is_callers_fault(error),
            None => find::<hyper::Error>(&**boxed).is_some_and(hyper::Error::is_user),
        };
    }
    false
}

/// Whether no connection could be made.
pub(crate) fn is_not_connected(error: &(dyn StdError + 'static)) -> bool {
    find::<hyper_util::client::legacy::Error>(error).is_some_and(|error| error.is_connect())
}
