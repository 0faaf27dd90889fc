//! The state that the circuits of all keys share, and how each counts in it.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::circuit::Circuit;
use crate::layers::keyed::{Instance, dropped};
use crate::observe::emit::set_newest;
use crate::observe::emitter::Emitter;
use crate::observe::meter::Handles;
use crate::observe::snapshot::{Latencies, Totals};
use crate::policy::breaker::{Breaker, Config, State};
use crate::runtime::isolate::isolate;
use crate::vocabulary::mode::Mode;

/// From the least to the most severe.
const STATES: [State; 6] = [
    State::Closed,
    State::ForcedClosed,
    State::Recovering,
    State::HalfOpen,
    State::Open,
    State::ForcedOpen,
];

/// The number of a state, never 0.
fn number(state: State) -> u8 {
    let place = STATES.iter().position(|of| *of == state);
    // There are six.
    place.map_or(1, |place| place as u8 + 1)
}

fn numbered(number: u8) -> Option<State> {
    let place = usize::from(number).checked_sub(1)?;
    STATES.get(place).copied()
}

/// The state that the circuits of all keys share.
#[derive(Default)]
pub(crate) struct Common {
    latencies: Latencies,
    /// The number of keys in each of [`STATES`].
    states: [AtomicUsize; STATES.len()],
    /// The number of the state that new circuits begin in, if it was forced.
    forced: AtomicU8,
    /// The newest settings of any key.
    config: Mutex<Option<Arc<Config>>>,
    /// Made for the first watcher of the most severe state.
    worst: Mutex<Option<watch::Sender<State>>>,
}

/// The settings, shared with other keys that have the same.
pub(super) fn share(common: Option<&Common>, config: &Config) -> Arc<Config> {
    let Some(common) = common else {
        return Arc::new(*config);
    };
    let mut shared = common.config.lock().unwrap_or_else(PoisonError::into_inner);
    match &*shared {
        Some(shared) if **shared == *config => Arc::clone(shared),
        _ => Arc::clone(shared.insert(Arc::new(*config))),
    }
}

impl Common {
    /// New circuits begin in this state, or closed.
    pub(super) fn force_new(&self, state: Option<State>) {
        self.forced
            .store(state.map_or(0, number), Ordering::Relaxed);
    }

    /// Applies the forced state to a new breaker.
    pub(super) fn force(&self, breaker: &mut Breaker, now: Duration) {
        let _ = match numbered(self.forced.load(Ordering::Relaxed)) {
            Some(State::ForcedOpen) => breaker.force_open(now),
            Some(State::ForcedClosed) => breaker.force_closed(now),
            _ => None,
        };
    }

    /// The first state of new circuits.
    fn new_state(&self) -> State {
        let forced = numbered(self.forced.load(Ordering::Relaxed));
        forced.unwrap_or(State::Closed)
    }

    /// The latencies of all keys.
    pub(super) const fn latencies(&self) -> &Latencies {
        &self.latencies
    }

    /// The number of keys in each state, the least severe first, without the states of none.
    pub(super) fn states(&self) -> Vec<(State, u64)> {
        let counts = self
            .states
            .iter()
            .map(|count| count.load(Ordering::Relaxed) as u64);
        let states = STATES.into_iter().zip(counts);
        states.filter(|(_, count)| *count > 0).collect()
    }

    /// The most severe state of any key; closed without keys.
    pub(super) fn worst(&self) -> State {
        let any = |place: &usize| {
            let count = self.states.get(*place);
            count.is_some_and(|count| count.load(Ordering::Relaxed) > 0)
        };
        let worst = (0..STATES.len()).rev().find(any);
        let forced = numbered(self.forced.load(Ordering::Relaxed));
        worst.map_or(forced.unwrap_or(State::Closed), |place| STATES[place])
    }

    pub(super) fn watch(&self) -> watch::Receiver<State> {
        let mut sender = self.worst.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = sender.get_or_insert_with(|| watch::Sender::new(self.worst()));
        sender.subscribe()
    }

    /// Moves a circuit from the count of one state to the count of another.
    fn move_count(&self, from: u8, to: u8) {
        let count = |number: u8| {
            usize::from(number)
                .checked_sub(1)
                .and_then(|at| self.states.get(at))
        };
        if let Some(to) = count(to) {
            to.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(from) = count(from) {
            from.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Wakes the watchers if the most severe state has changed.
    pub(super) fn notify(&self) {
        // A waker of a watcher is foreign code, so the lock is released before.
        let sender = {
            let sender = self.worst.lock().unwrap_or_else(PoisonError::into_inner);
            sender.clone()
        };
        if let Some(sender) = sender {
            sender.send_if_modified(|state| {
                let worst = self.worst();
                std::mem::replace(state, worst) != worst
            });
        }
    }
}

/// The state in which something counts a circuit; 0 for not at all. Each change of a count is made
/// once: by the thread that replaces the number.
pub(super) type Counted = AtomicU8;

/// Counts a new circuit in its group. Returns the group that counts it, if any.
pub(super) fn count(
    emitter: &Emitter,
    common: Option<&Arc<Common>>,
    state: State,
) -> (Option<Arc<Common>>, Counted) {
    let group = common.filter(|_| !emitter.is_temporary());
    let counted = if let Some(group) = group {
        // Under a lock, so this wakes nobody. It does not make the most severe state more severe.
        group.move_count(0, number(state));
        number(state)
    } else {
        0
    };
    (group.cloned(), Counted::new(counted))
}

impl Circuit {
    /// Moves the circuit to its current state in its group.
    pub(super) fn count_in_group(&self) {
        if let Some(group) = &self.group {
            set_newest(
                || self.state(),
                |state| {
                    let to = number(state);
                    let from = self.counted.swap(to, Ordering::AcqRel);
                    if from != to {
                        group.move_count(from, to);
                    }
                },
            );
            group.notify();
        }
    }

    /// Moves the circuit to its current state in the gauges.
    pub(super) fn count_in_gauges(&self, handles: &Handles) {
        set_newest(
            || self.state(),
            |state| {
                let from = self.gauged.swap(number(state), Ordering::AcqRel);
                handles.state(numbered(from), Some(state));
            },
        );
    }
}

impl Instance for Circuit {
    type Settings = Config;
    type Fixed = ();
    type Common = Common;

    fn new(config: &Config, (): &(), emitter: Emitter, common: Option<&Arc<Common>>) -> Self {
        Self::new(*config, emitter, common)
    }

    fn is_measured(config: &Config) -> bool {
        config.mode != Mode::Off
    }

    fn is_plain(&self) -> bool {
        // A new circuit would begin in this state.
        let new = self
            .group
            .as_ref()
            .map_or(State::Closed, |group| group.new_state());
        self.state() == new || self.is_abandoned()
    }

    fn totals(&self) -> Totals {
        Totals {
            outcomes: self.outcomes(),
            rejections: self.emitter.rejections(),
            would_reject: self.emitter.would_reject(),
            opened: self.inspect().0.opened,
            ..Totals::default()
        }
    }
}

impl Drop for Circuit {
    fn drop(&mut self) {
        let gauged = numbered(self.gauged.load(Ordering::Acquire));
        if let (Some(state), Some(handles)) = (gauged, self.emitter.known_handles()) {
            // A recorder is user code.
            isolate(|| handles.state(Some(state), None));
        }
        if let Some(group) = &self.group {
            group.move_count(self.counted.load(Ordering::Acquire), 0);
            group.notify();
        }
        dropped(self);
    }
}
