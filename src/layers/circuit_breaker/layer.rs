use std::fmt;

use tower_layer::Layer;

use super::builder::CircuitBreakerBuilder;
use super::circuit::Circuit;
use super::handle::CircuitBreakerHandle;
use super::service::CircuitBreaker;
use crate::call::inner::Inner;
use crate::call::track::AtResponse;
use crate::layers::admission::Gate;
use crate::layers::keyed::{Keying, OneForAll};
use crate::observe::emitter::Emitter;
use crate::policy::breaker::Config;
use crate::runtime::shared::Shared;
use crate::vocabulary::kind::{Id, Kind, Series};
use crate::vocabulary::reason::Reason;

pub(crate) static KIND: Kind = Kind::new(
    Id::CircuitBreaker,
    &[Reason::CircuitOpen, Reason::NotReady],
    &[Series::Calls, Series::Duration, Series::Circuit],
);

/// Stops calls to a failing upstream: see the [module](crate::circuit_breaker).
///
/// Clones of the layer, and all services that they make, share the circuit.
#[derive(Clone)]
pub struct CircuitBreakerLayer<T = AtResponse, K: Keying = OneForAll> {
    pub(super) circuits: K::Instances<Circuit>,
    pub(super) tracker: T,
}

impl CircuitBreakerLayer {
    /// A circuit breaker with the default settings.
    ///
    /// It opens when half of at least 20 calls within 10 seconds failed. It stays open for 5
    /// seconds, and for twice as long after each failed recovery, up to one minute. Three probes
    /// decide whether it closes.
    #[must_use]
    pub fn new() -> Self {
        let emitter = Emitter::of_default(&KIND);
        Self {
            circuits: Shared::new(Circuit::new(Config::default(), emitter, None)),
            tracker: AtResponse::default(),
        }
    }

    /// Starts a builder with the default settings.
    pub fn builder() -> CircuitBreakerBuilder {
        CircuitBreakerBuilder::tracked_by(AtResponse::default())
    }
}

impl<T, K: Keying> CircuitBreakerLayer<T, K> {
    /// A handle to inspect and control the circuit.
    #[must_use]
    pub fn handle(&self) -> CircuitBreakerHandle {
        CircuitBreakerHandle::new(K::target(&self.circuits))
    }
}

impl Default for CircuitBreakerLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S, T: Clone, K: Keying> Layer<S> for CircuitBreakerLayer<T, K> {
    type Service = CircuitBreaker<S, T, K>;

    fn layer(&self, inner: S) -> Self::Service {
        CircuitBreaker {
            gate: Gate {
                inner: Inner::new(inner),
                state: self.circuits.clone(),
                tracker: self.tracker.clone(),
            },
        }
    }
}

impl<T, K: Keying> fmt::Debug for CircuitBreakerLayer<T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerLayer")
            .field("name", &self.handle().name())
            .field("state", &self.handle().state())
            .finish()
    }
}
