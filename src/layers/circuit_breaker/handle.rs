use std::fmt;

use tokio::sync::watch;

use super::circuit::Circuit;
use super::snapshot::Snapshot;
use crate::observe::event::Events;
use crate::policy::breaker::State;
use crate::runtime::shared::Shared;

/// Looks at a circuit and steers it, from anywhere: an admin endpoint, a health check, a test.
///
/// It keeps the circuit's state alive, not its services. Clones are the same handle.
///
/// ```
/// use mainstay::{CircuitBreakerLayer, State};
///
/// let layer = CircuitBreakerLayer::new();
/// let circuit = layer.handle();
///
/// circuit.force_open(); // maintenance: reject until further notice
/// assert_eq!(circuit.state(), State::ForcedOpen);
/// circuit.reset(); // closed, with nothing counted
/// assert_eq!(circuit.state(), State::Closed);
/// ```
#[derive(Clone)]
pub struct CircuitBreakerHandle {
    circuit: Shared<Circuit>,
}

impl CircuitBreakerHandle {
    pub(super) fn new(circuit: Shared<Circuit>) -> Self {
        Self { circuit }
    }

    /// The name of the instance.
    #[must_use]
    pub fn name(&self) -> &str {
        self.circuit.emitter.name()
    }

    /// The state now. An open circuit stays open until a call comes after its time.
    #[must_use]
    pub fn state(&self) -> State {
        self.circuit.state()
    }

    /// The state, the counts in the window and what follows from them, and what there was: outcomes, latencies, changes.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(&self.circuit)
    }

    /// Rejects every call until further notice. In shadow mode and when it is off, the circuit still rejects nothing.
    pub fn force_open(&self) {
        self.circuit.force_open();
    }

    /// Lets every call through until further notice. Outcomes are counted, and no rule trips.
    pub fn force_closed(&self) {
        self.circuit.force_closed();
    }

    /// Makes the circuit as new: closed, with nothing counted. Calls that are under way do not count either.
    pub fn reset(&self) {
        self.circuit.reset();
    }

    /// Watches the state change.
    #[must_use]
    pub fn watch(&self) -> StateWatch {
        let mut receiver = self.circuit.watch();
        let seen = *receiver.borrow_and_update();
        StateWatch { receiver, seen }
    }

    /// Subscribes to everything that the circuit breaker decides.
    #[must_use]
    pub fn events(&self) -> Events {
        self.circuit.emitter.subscribe()
    }
}

impl fmt::Debug for CircuitBreakerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerHandle")
            .field("name", &self.name())
            .field("state", &self.state())
            .finish()
    }
}

/// Watches a circuit's state: always the newest one; those in between may be skipped.
#[derive(Debug, Clone)]
pub struct StateWatch {
    receiver: watch::Receiver<State>,
    seen: State,
}

impl StateWatch {
    /// The newest state.
    #[must_use]
    pub fn state(&self) -> State {
        *self.receiver.borrow()
    }

    /// Waits until the state is another one than `changed` last returned (than it was when the watch began, at first); `None` when
    /// the circuit is gone.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future misses no change.
    pub async fn changed(&mut self) -> Option<State> {
        let seen = self.seen;
        let state = self.receiver.wait_for(|state| *state != seen).await.ok()?;
        self.seen = *state;
        Some(self.seen)
    }
}
