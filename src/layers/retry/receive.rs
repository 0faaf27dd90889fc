//! What becomes of a response when it arrives.

use std::task::Context;

use super::RetryBudget;
use crate::vocabulary::sealed::Sealed;

/// Takes a response as it arrives, before a policy sees it, and makes of it what the caller gets.
///
/// A protocol may say only in the first frames of a body how a call went, or only at its end. The core knows no protocol, so an adapter
/// brings a `Receive`, and it may change the type of the response. [`AsItComes`] is the default and does nothing.
///
/// This trait is sealed: only mainstay implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot take a response of type `{Res}`",
    label = "this retry is for responses of another type",
    note = "`mainstay::grpc::retry()` is for services that answer with `http::Response`, such as a channel of tonic; over a client of reqwest use `mainstay::http::retry()`"
)]
pub trait Receive<Res>: Sealed {
    /// What policies and callers see.
    type Response;

    /// Takes a response. May poll, but not wait: what is not there yet must not hold the response up.
    fn receive(&self, response: Res, cx: &mut Context<'_>) -> Self::Response;

    /// Says how the call went, of a response that is the answer, to the [throttling of gRPC](RetryBudget::throttle): at once, or later, when the
    /// response itself says it.
    fn ended(&self, _: &mut Self::Response, _: &RetryBudget) -> Ended {
        Ended::Well
    }
}

/// How a call went, to a [`RetryBudget`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// It succeeded.
    Well,
    /// It failed in a way that a retry would not have changed: it counts neither way.
    Otherwise,
    /// Not known yet: the response [records](RetryBudget::record) it later.
    Later,
}

/// Leaves responses alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct AsItComes;

impl Sealed for AsItComes {}

impl<Res> Receive<Res> for AsItComes {
    type Response = Res;

    #[inline]
    fn receive(&self, response: Res, _: &mut Context<'_>) -> Res {
        response
    }
}
