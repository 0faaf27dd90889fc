use std::fmt;
use std::marker::PhantomData;

use super::handle::RateLimitHandle;
use super::limiter::Limiter;
use crate::call::track::AtResponse;
use crate::layers::admission::{
    Gate, Queued, Rejecting, admitted_future, call_through_gate, inner_of_gate, queued_future,
    wait_at_gate,
};

/// Limits the rate of calls to an inner service. Made by a
/// [`RateLimitLayer`](crate::RateLimitLayer).
#[derive(Clone)]
pub struct RateLimit<S, M = Rejecting, T = AtResponse> {
    pub(super) gate: Gate<S, Limiter, T>,
    pub(super) queueing: PhantomData<M>,
}

inner_of_gate!(RateLimit<S, M, T>);

impl<S, M, T> RateLimit<S, M, T> {
    /// A handle to inspect its instance.
    #[must_use]
    pub fn handle(&self) -> RateLimitHandle {
        RateLimitHandle::new(&self.gate.state)
    }
}

call_through_gate!(RateLimit<S, Rejecting, T>, ResponseFuture<S::Future, T>);
wait_at_gate!(RateLimit<S, Queued, T>, QueuedFuture<S, Req, T>);

admitted_future! {
    /// The future of a call through a rate limit without a queue.
    pub struct ResponseFuture<F> of Limiter
}

queued_future! {
    /// The future of a call through a rate limit with a queue.
    pub struct QueuedFuture<S, Req> of Limiter
}

impl<S: fmt::Debug, M, T> fmt::Debug for RateLimit<S, M, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit")
            .field("inner", &self.gate.inner)
            .field("rate", &format_args!("{}", self.gate.state.rate()))
            .field("mode", &self.gate.state.mode())
            .finish()
    }
}
