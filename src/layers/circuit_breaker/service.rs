use std::fmt;

use super::circuit::Circuit;
use super::handle::CircuitBreakerHandle;
use crate::call::track::AtResponse;
use crate::layers::admission::{Gate, admitted_future, call_through_gate, inner_of_gate};
use crate::layers::keyed::{Keying, KeyingOf, OneForAll};

/// Stops calls to an inner service that fails. Made by a
/// [`CircuitBreakerLayer`](crate::CircuitBreakerLayer).
#[derive(Clone)]
pub struct CircuitBreaker<S, T = AtResponse, K: Keying = OneForAll> {
    pub(super) gate: Gate<S, K::Instances<Circuit>, T>,
}

inner_of_gate!([S, T, K: Keying] CircuitBreaker<S, T, K>);
call_through_gate!(
    [K: KeyingOf<Req>] CircuitBreaker<S, T, K>,
    ResponseFuture<S::Future, T>,
    K => Circuit
);

impl<S, T, K: Keying> CircuitBreaker<S, T, K> {
    /// A handle to inspect and control the circuit.
    #[must_use]
    pub fn handle(&self) -> CircuitBreakerHandle {
        CircuitBreakerHandle::new(K::target(&self.gate.state))
    }
}

admitted_future! {
    /// The future of a call through a circuit breaker.
    pub struct ResponseFuture<F> of Circuit
}

impl<S: fmt::Debug, T, K: Keying> fmt::Debug for CircuitBreaker<S, T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("inner", &self.gate.inner)
            .field("circuit", K::target(&self.gate.state).emitter().instance())
            .finish()
    }
}
