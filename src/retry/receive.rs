//! What becomes of a response when it arrives.

use std::task::Context;

/// Takes a response as it arrives, before a policy sees it, and makes of it what the caller gets.
///
/// A protocol may say only in the first frames of a body how a call went, or only at its end. The core knows no protocol, so an adapter
/// brings a `Receive`, and it may change the type of the response. [`AsItComes`] is the default and does nothing.
pub trait Receive<Res> {
    /// What policies and callers see.
    type Response;

    /// Takes a response. May poll, but not wait: what is not there yet must not hold the response up.
    fn receive(&self, response: Res, cx: &mut Context<'_>) -> Self::Response;
}

/// Leaves responses alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct AsItComes;

impl<Res> Receive<Res> for AsItComes {
    type Response = Res;

    #[inline]
    fn receive(&self, response: Res, _: &mut Context<'_>) -> Res {
        response
    }
}
