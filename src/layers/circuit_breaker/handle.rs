use tokio::sync::watch;

use super::circuit::Circuit;
use crate::layers::handle::handle;
use crate::policy::breaker::{Settings, State};

handle! {
    /// Inspects and controls a circuit, for example from an admin endpoint, a health check or a
    /// test.
    ///
    /// A handle keeps the circuit's state alive, but not its services. Clones share the circuit.
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
    pub struct CircuitBreakerHandle of Circuit;
    /// The state, the counts and rates of the window, the outcomes, latencies and state changes.
    snapshot
    ///
    /// The state stays, and an open circuit stays open for its time. The counts stay, too, unless
    /// a window of time becomes a window of calls or the other way round. New rules apply from the
    /// next outcome on.
    ///
    /// ```
    /// use mainstay::{CircuitBreakerLayer, Mode};
    ///
    /// let circuit = CircuitBreakerLayer::new().handle();
    /// let changes = circuit.change(|settings| {
    ///     settings.mode = Mode::Shadow;
    ///     settings.failure_rate = Some(0.3);
    /// })?;
    /// assert_eq!(changes.to_string(), "mode: enforce -> shadow, failure_rate: 0.5 -> 0.3");
    /// # Ok::<_, mainstay::ConfigError>(())
    /// ```
    update Settings
}

impl CircuitBreakerHandle {
    /// The current state. An open circuit stays open until the first call after its open time.
    #[must_use]
    pub fn state(&self) -> State {
        self.state.state()
    }

    /// Rejects every call until [`reset`](Self::reset) or [`force_closed`](Self::force_closed). A
    /// circuit in shadow mode or switched off still rejects nothing.
    pub fn force_open(&self) {
        self.state.force_open();
    }

    /// Admits every call until [`reset`](Self::reset) or [`force_open`](Self::force_open). Outcomes
    /// are counted, but no rule trips.
    pub fn force_closed(&self) {
        self.state.force_closed();
    }

    /// Closes the circuit and clears its counts. Calls in flight do not count.
    pub fn reset(&self) {
        self.state.reset();
    }

    /// Watches the state of the circuit.
    #[must_use]
    pub fn watch(&self) -> StateWatch {
        let mut receiver = self.state.watch();
        let seen = *receiver.borrow_and_update();
        StateWatch { receiver, seen }
    }
}

/// Watches the state of a circuit. It sees the newest state, and may skip intermediate states.
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

    /// Waits until the state differs from the last one that this method returned, or at first from
    /// the state at the start of the watch. `None` if the circuit no longer exists.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, no change is lost.
    pub async fn changed(&mut self) -> Option<State> {
        let seen = self.seen;
        let state = self.receiver.wait_for(|state| *state != seen).await.ok()?;
        self.seen = *state;
        Some(self.seen)
    }
}
