//! The response, as the policy and the caller see it.

use std::task::Context;

use super::RetryBudget;
use crate::vocabulary::sealed::Sealed;

/// Converts a response before the policy and the caller see it.
///
/// In some protocols the first frames of the body, or its end, contain the outcome. Retry knows no
/// protocol, so an adapter brings a `Receive`, which may change the type of the response.
/// [`Unchanged`] is the default and does nothing.
///
/// This trait is sealed: only mainstay implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot take a response of type `{Res}`",
    label = "this retry is for responses of another type",
    note = "`mainstay::grpc::retry()` is for services that answer with `http::Response`, such as a channel of tonic; over a client of reqwest use `mainstay::http::retry()`"
)]
pub trait Receive<Res>: Sealed {
    /// The response for policies and callers.
    type Response;

    /// Converts a response. It may poll the body, but must not wait for it.
    fn receive(&self, response: Res, cx: &mut Context<'_>) -> Self::Response;

    /// The outcome of a call with this answer, for the [throttling of gRPC](RetryBudget::throttle).
    fn ended(&self, _: &mut Self::Response, _: &RetryBudget) -> Ended {
        Ended::Success
    }
}

/// The outcome of a call, for a [`RetryBudget`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// Success.
    Success,
    /// A failure that a retry cannot change. It does not count.
    Neutral,
    /// Not known yet: the response [records](RetryBudget::record) it later.
    Later,
}

/// Leaves responses unchanged.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unchanged;

impl Sealed for Unchanged {}

impl<Res> Receive<Res> for Unchanged {
    type Response = Res;

    #[inline]
    fn receive(&self, response: Res, _: &mut Context<'_>) -> Res {
        response
    }
}
