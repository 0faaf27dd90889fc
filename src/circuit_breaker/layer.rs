use std::fmt;
use std::sync::Arc;

use tower_layer::Layer;

use super::builder::CircuitBreakerBuilder;
use super::circuit::Circuit;
use super::handle::CircuitBreakerHandle;
use super::service::CircuitBreaker;
use crate::AtResponse;
use crate::guarded::Inner;
use crate::name::Origin;
use crate::observe::Listeners;
use crate::policy::breaker::{Config, State as CircuitState};
use crate::shared::Shared;

pub(crate) const LAYER: &str = "circuit_breaker";
pub(super) static UNNAMED: Origin = Origin::unnamed(LAYER);

/// What a circuit breaker shares between all its services.
pub(crate) struct State<T> {
    /// Apart, because a handle knows nothing of the type of the tracker.
    pub(crate) circuit: Arc<Circuit>,
    pub(crate) tracker: T,
}

/// Stops calls to what is broken: see the [module](crate::circuit_breaker).
///
/// Clones share the circuit, and so do all services that they make.
pub struct CircuitBreakerLayer<T = AtResponse> {
    shared: Shared<State<T>>,
}

impl CircuitBreakerLayer {
    /// With the default settings: it opens when half of at least 20 calls within 10 seconds failed, stays open for 5
    /// seconds (longer, up to a minute, if it is still broken then), and closes when 3 probes say so.
    #[must_use]
    pub fn new() -> Self {
        let circuit = Circuit::new(Config::default(), Listeners::new(&UNNAMED, None));
        Self::of(circuit, AtResponse::default())
    }

    /// A circuit breaker with settings of your own.
    pub fn builder() -> CircuitBreakerBuilder {
        CircuitBreakerBuilder::tracked_by(AtResponse::default())
    }
}

impl<T> CircuitBreakerLayer<T> {
    pub(super) fn of(circuit: Circuit, tracker: T) -> Self {
        Self {
            shared: Shared::new(State {
                circuit: Arc::new(circuit),
                tracker,
            }),
        }
    }

    /// A handle to look at the circuit and to steer it.
    #[must_use]
    pub fn handle(&self) -> CircuitBreakerHandle {
        CircuitBreakerHandle::new(Arc::clone(&self.shared.circuit))
    }

    /// The state of the circuit.
    #[must_use]
    pub fn state(&self) -> CircuitState {
        self.shared.circuit.state()
    }
}

impl Default for CircuitBreakerLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S, T> Layer<S> for CircuitBreakerLayer<T> {
    type Service = CircuitBreaker<S, T>;

    fn layer(&self, inner: S) -> Self::Service {
        CircuitBreaker {
            inner: Inner::new(inner),
            shared: self.shared.clone(),
        }
    }
}

impl<T> Clone for CircuitBreakerLayer<T> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<T> fmt::Debug for CircuitBreakerLayer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerLayer")
            .field("name", &self.shared.circuit.listeners.origin().name())
            .field("state", &self.state())
            .finish()
    }
}
