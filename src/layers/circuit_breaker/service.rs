use std::fmt;
use std::task::{Context, Poll};

use tower_service::Service;

use super::circuit::Circuit;
use super::handle::CircuitBreakerHandle;
use crate::call::entry::Entry;
use crate::call::track::AtResponse;
use crate::call::track::Track;
use crate::layers::admission::{Admitted, Gate};
use crate::vocabulary::error::{Grown, WithRejection};

/// A service behind a [`CircuitBreakerLayer`](crate::CircuitBreakerLayer).
#[derive(Clone)]
pub struct CircuitBreaker<S, T = AtResponse> {
    pub(super) gate: Gate<S, Circuit, T>,
}

impl<S, T> CircuitBreaker<S, T> {
    /// The inner service.
    pub fn get_ref(&self) -> &S {
        self.gate.inner.get_ref()
    }

    /// A handle to look at the circuit and to steer it.
    #[must_use]
    pub fn handle(&self) -> CircuitBreakerHandle {
        CircuitBreakerHandle::new(self.gate.state.clone())
    }

    /// The inner service, without the circuit breaker.
    pub fn into_inner(self) -> S {
        self.gate.inner.into_inner()
    }
}

impl<S, Req, T> Service<Req> for CircuitBreaker<S, T>
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

/// The future of a call through a circuit breaker.
pub type ResponseFuture<F, T = AtResponse> = Admitted<F, Circuit, T>;

impl<S: fmt::Debug, T> fmt::Debug for CircuitBreaker<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("inner", &self.gate.inner)
            .field("circuit", self.gate.state.emitter.instance())
            .finish()
    }
}
