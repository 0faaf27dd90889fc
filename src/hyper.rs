//! hyper and hyper-util: their errors can carry a rejection, and a retry knows which of them are final.
//!
//! hyper-util's legacy client is a tower service as it is, and `hyper_util::service::TowerToHyperService` serves any stack that ends in
//! [`RespondLayer`](crate::RespondLayer).

use std::any::Any;

use crate::chain::find;
use crate::{Error, Plain};

impl Plain for hyper::Error {}
impl Plain for hyper_util::client::legacy::Error {}

/// Whether the request's own body or the caller is at fault, so that another attempt would go the same way.
pub(crate) fn is_final(error: &dyn Any) -> bool {
    if let Some(Error::Inner(error)) = error.downcast_ref::<Error<hyper::Error>>() {
        return error.is_user();
    }
    if let Some(Error::Inner(error)) =
        error.downcast_ref::<Error<hyper_util::client::legacy::Error>>()
    {
        return find::<hyper::Error>(error).is_some_and(hyper::Error::is_user);
    }
    false
}
