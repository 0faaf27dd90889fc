use std::fmt;

use super::circuit::Circuit;
use super::handle::CircuitBreakerHandle;
use crate::call::track::AtResponse;
use crate::layers::admission::{Gate, admitted_future, call_through_gate, inner_of_gate};

/// Stops calls to an inner service that fails. Made by a
/// [`CircuitBreakerLayer`](crate::CircuitBreakerLayer).
#[derive(Clone)]
pub struct CircuitBreaker<S, T = AtResponse> {
    pub(super) gate: Gate<S, Circuit, T>,
}

inner_of_gate!(CircuitBreaker<S, T>);
call_through_gate!(CircuitBreaker<S, T>, ResponseFuture<S::Future, T>);

impl<S, T> CircuitBreaker<S, T> {
    /// A handle to inspect and control the circuit.
    #[must_use]
    pub fn handle(&self) -> CircuitBreakerHandle {
        CircuitBreakerHandle::new(&self.gate.state)
    }
}

admitted_future! {
    /// The future of a call through a circuit breaker.
    pub struct ResponseFuture<F> of Circuit
}

impl<S: fmt::Debug, T> fmt::Debug for CircuitBreaker<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("inner", &self.gate.inner)
            .field("circuit", self.gate.state.emitter.instance())
            .finish()
    }
}
