use std::fmt;
use std::task::{Context, Poll};

use tower_service::Service;

use super::layer::{Rejecting, Waiting};
use super::limiter::Limiter;
use crate::call::entry::Entry;
use crate::call::track::AtResponse;
use crate::call::track::Track;
use crate::layers::admission::{self, Admitted, Gate};
use crate::vocabulary::error::{Grown, WithRejection};

/// A service behind a [`RateLimitLayer`](crate::RateLimitLayer).
#[derive(Clone)]
pub struct RateLimit<S, M = Rejecting, T = AtResponse> {
    pub(super) gate: Gate<S, Limiter, T>,
    pub(super) mode: M,
}

impl<S, M, T> RateLimit<S, M, T> {
    /// The inner service.
    pub fn get_ref(&self) -> &S {
        self.gate.inner.get_ref()
    }

    /// The inner service, without the rate limit.
    pub fn into_inner(self) -> S {
        self.gate.inner.into_inner()
    }
}

impl<S, Req, T> Service<Req> for RateLimit<S, Rejecting, T>
where
    S: Service<Req>,
    S::Error: WithRejection,
    T: Track<S::Response, Grown<S::Error>> + Clone,
{
    type Response = T::Response;
    type Error = Grown<S::Error>;
    type Future = ResponseFuture<S::Future, T>;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.gate.poll_ready(cx).map(Ok)
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn call(&mut self, request: Req) -> Self::Future {
        let entry = Entry::of(self);
        self.gate.call(request, entry)
    }
}

impl<S, Req, T> Service<Req> for RateLimit<S, Waiting, T>
where
    S: Service<Req> + Clone,
    S::Error: WithRejection,
    T: Track<S::Response, Grown<S::Error>> + Clone,
{
    type Response = T::Response;
    type Error = Grown<S::Error>;
    type Future = WaitingFuture<S, Req, T>;

    /// While there is no permit, it is ready to let a call wait without asking the inner service.
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.gate.poll_ready_or_wait(cx).map(Ok)
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn call(&mut self, request: Req) -> Self::Future {
        let entry = Entry::of(self);
        self.gate.call_or_wait(request, entry, self.mode.max_wait)
    }
}

/// The future of a call through a rate limit that rejects.
pub type ResponseFuture<F, T = AtResponse> = Admitted<F, Limiter, T>;

/// The future of a call through a rate limit in which calls may wait.
pub type WaitingFuture<S, Req, T = AtResponse> = admission::WaitingFuture<S, Req, Limiter, T>;

impl<S: fmt::Debug, M: fmt::Debug, T> fmt::Debug for RateLimit<S, M, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit")
            .field("inner", &self.gate.inner)
            .field("rate", &format_args!("{}", self.gate.state.rate))
            .field("mode", &self.mode)
            .finish()
    }
}
