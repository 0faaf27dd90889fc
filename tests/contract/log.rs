//! What the service of a probe saw, and what it is told: shared by all its clones, and by the test that drives it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use mainstay::Context;

use crate::exchange::Message;
use crate::probe::{Plan, Readiness};

/// What the probe saw, and what it is told to do.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<State>>);

type Gauge = Arc<dyn Fn() -> u32 + Send + Sync>;

#[derive(Default)]
pub(crate) struct State {
    pub(crate) readiness: Option<Readiness>,
    pub(crate) plans: VecDeque<Plan>,
    pub(crate) events: u32,
    pub(crate) numbers: u64,
    pub(crate) waiting: BTreeMap<u64, Waker>,
    pub(crate) seen: Seen,
    pub(crate) contexts: Vec<(u32, &'static str, Context)>,
    pub(crate) gauge: Option<Gauge>,
}

/// The numbers in the log.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Futures that are alive, those that ended included.
    pub(crate) futures: u32,
    /// Requests that are alive, copies for a retry included.
    pub(crate) requests: i64,
    /// What the layer held when a future was dropped that had not ended.
    pub(crate) held_at_drop: Vec<u32>,
    /// What it held when a request was dropped that had not been sent.
    pub(crate) held_at_unsent: Vec<u32>,
}

impl Log {
    /// A request, which is counted here.
    pub(crate) fn message(&self, id: u32) -> Message {
        Message::new(self, id)
    }

    /// A number that nobody else has.
    pub(crate) fn number(&self) -> u64 {
        let mut state = self.lock();
        state.numbers += 1;
        state.numbers
    }

    /// Something happens: whoever waits is woken, and those who waited for it go on.
    pub(crate) fn event(&self) {
        let mut state = self.lock();
        state.events += 1;
        let woken = std::mem::take(&mut state.waiting);
        drop(state);
        woken.into_values().for_each(Waker::wake);
    }

    /// From now on `poll_ready` says this, and whoever waits for it is told.
    pub(crate) fn be(&self, readiness: Readiness) {
        self.lock().readiness = Some(readiness);
        self.event();
    }

    /// What the next calls do; those after them answer at once.
    pub(crate) fn plan(&self, plans: impl IntoIterator<Item = Plan>) {
        self.lock().plans = plans.into_iter().collect();
    }

    pub(crate) fn seen(&self) -> Seen {
        self.lock().seen.clone()
    }

    /// In which contexts the probe ran for this request, and where in it.
    pub(crate) fn contexts(&self, id: u32) -> Vec<(&'static str, Context)> {
        let state = self.lock();
        let of_this = state.contexts.iter().filter(|note| note.0 == id);
        of_this.map(|note| (note.1, note.2.clone())).collect()
    }

    /// Measures what the layer holds at the moment something is dropped, from now on.
    pub(crate) fn measure(&self, gauge: Gauge) {
        let mut state = self.lock();
        state.gauge = Some(gauge);
        state.seen.held_at_drop.clear();
        state.seen.held_at_unsent.clear();
    }

    pub(crate) fn note(&self, id: u32, place: &'static str) {
        let context = Context::current();
        self.lock().contexts.push((id, place, context));
    }

    pub(crate) fn held(&self) -> Option<u32> {
        let gauge = self.lock().gauge.clone();
        gauge.map(|gauge| gauge())
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.seen().fmt(f)
    }
}
