use tokio::sync::watch;

use super::circuit::Circuit;
use crate::layers::handle::keyed_handle;
use crate::layers::keyed::Target;
use crate::policy::breaker::{Settings, State};

keyed_handle! {
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
    ///
    /// With a circuit for each [key](crate::keyed), the handle of the layer is about all of them,
    /// and [`key`](Self::key) returns the handle of one.
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
    ///
    /// With keys: the most severe state of any key. The order is closed, forced closed, recovering,
    /// half-open, open, forced open.
    #[must_use]
    pub fn state(&self) -> State {
        match &self.target {
            Target::One(circuit) => circuit.state(),
            Target::Group(group) => group.common().worst(),
        }
    }

    /// Rejects every call until [`reset`](Self::reset) or [`force_closed`](Self::force_closed). A
    /// circuit in shadow mode or switched off still rejects nothing.
    ///
    /// With keys: the calls of all keys, also of new ones.
    pub fn force_open(&self) {
        self.force(Some(State::ForcedOpen), Circuit::force_open);
    }

    /// Admits every call until [`reset`](Self::reset) or [`force_open`](Self::force_open). Outcomes
    /// are counted, but no rule trips.
    ///
    /// With keys: the calls of all keys, also of new ones.
    pub fn force_closed(&self) {
        self.force(Some(State::ForcedClosed), Circuit::force_closed);
    }

    /// Closes the circuit and clears its counts. Calls in flight do not count.
    ///
    /// With keys: the circuits of all keys.
    pub fn reset(&self) {
        self.force(None, Circuit::reset);
    }

    fn force(&self, new: Option<State>, act: fn(&Circuit)) {
        if let Target::Group(group) = &self.target {
            // First, so that a new key is either forced or found.
            group.common().force_new(new);
        }
        self.target.each(|circuit| act(circuit));
        if let Target::Group(group) = &self.target {
            // Without keys, no circuit does it.
            group.common().notify();
        }
    }

    /// Watches the state of the circuit. With keys: the most severe state of any key.
    #[must_use]
    pub fn watch(&self) -> StateWatch {
        let mut receiver = match &self.target {
            Target::One(circuit) => circuit.watch(),
            Target::Group(group) => group.common().watch(),
        };
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
