use std::fmt;
use std::marker::PhantomData;

use super::handle::RateLimitHandle;
use super::limiter::Limiter;
use crate::call::track::AtResponse;
use crate::layers::admission::{
    Gate, Queued, Rejecting, admitted_future, call_through_gate, inner_of_gate, queued_future,
    wait_at_gate,
};
use crate::layers::keyed::{Keying, KeyingOf, OneForAll};

/// Limits the rate of calls to an inner service. Made by a
/// [`RateLimitLayer`](crate::RateLimitLayer).
#[derive(Clone)]
pub struct RateLimit<S, M = Rejecting, T = AtResponse, K: Keying = OneForAll> {
    pub(super) gate: Gate<S, K::Instances<Limiter>, T>,
    pub(super) queueing: PhantomData<M>,
}

inner_of_gate!([S, M, T, K: Keying] RateLimit<S, M, T, K>);

impl<S, M, T, K: Keying> RateLimit<S, M, T, K> {
    /// A handle to inspect its instance.
    #[must_use]
    pub fn handle(&self) -> RateLimitHandle {
        RateLimitHandle::new(K::target(&self.gate.state))
    }
}

call_through_gate!(
    [K: KeyingOf<Req>] RateLimit<S, Rejecting, T, K>,
    ResponseFuture<S::Future, T>,
    K => Limiter
);
wait_at_gate!(
    [K: KeyingOf<Req>] RateLimit<S, Queued, T, K>,
    QueuedFuture<S, Req, T>,
    K => Limiter
);

admitted_future! {
    /// The future of a call through a rate limit without a queue.
    pub struct ResponseFuture<F> of Limiter
}

queued_future! {
    /// The future of a call through a rate limit with a queue.
    pub struct QueuedFuture<S, Req> of Limiter
}

impl<S: fmt::Debug, M, T, K: Keying> fmt::Debug for RateLimit<S, M, T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = self.handle().settings();
        f.debug_struct("RateLimit")
            .field("inner", &self.gate.inner)
            .field("rate", &format_args!("{}", settings.rate()))
            .field("mode", &settings.mode)
            .finish()
    }
}
