//! The one service that stands behind every layer here: it does what a test tells it, counts everything, and never
//! moves by itself. Time for it passes in *events*.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as Task, Poll, Waker};

use mainstay::{Carry, Context};
use tower::Service;

/// The field that the correlation layers read and write first.
pub(crate) const FIELD: &str = "x-correlation-id";

/// A request. It can be cloned because retry asks for it; the tests of types send others.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) id: u32,
    pub(crate) fields: BTreeMap<String, String>,
    alive: Option<Alive>,
}

/// A response: neither `Sync` nor `Clone`, because no layer has a reason to ask for that.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) id: u32,
    pub(crate) fields: BTreeMap<String, String>,
    _not_sync: Cell<()>,
}

/// The service's own error: not `Clone`, and with a source.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) id: u32,
    root: Root,
}

/// What is behind a [`Fault`].
#[derive(Debug)]
pub(crate) struct Root;

impl Answer {
    pub(crate) fn to(message: &Message) -> Self {
        Self {
            id: message.id,
            fields: message.fields.clone(),
            _not_sync: Cell::new(()),
        }
    }
}

impl Fault {
    pub(crate) fn new(id: u32) -> Self {
        Self { id, root: Root }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fault {}", self.id)
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("root")
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.root)
    }
}

impl std::error::Error for Root {}
impl mainstay::Plain for Fault {}

macro_rules! carry {
    ($($carrier:ty),*) => {$(
        impl Carry for $carrier {
            fn get(&self, field: &str) -> Option<&[u8]> {
                self.fields.get(field).map(String::as_bytes)
            }
            fn set(&mut self, field: &str, value: &str) {
                self.fields.insert(field.to_owned(), value.to_owned());
            }
        }
    )*};
}
carry!(Message, Answer);

/// What the probe does with one call: it waits for so many events, then ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) events: u32,
    pub(crate) end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Answer,
    Fault,
    /// The future panics.
    Panic,
    /// `call` itself panics.
    PanicInCall,
    Never,
}

impl Plan {
    pub(crate) const fn after(events: u32, end: End) -> Self {
        Self { events, end }
    }
}

/// What `poll_ready` of the probe, of all its clones, says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    Ready,
    Pending,
    Failing,
}

/// The probe. Its clones report to the same [`Log`], and each has to be made ready for itself.
#[derive(Debug)]
pub(crate) struct Probe {
    log: Log,
    number: u64,
    ready: bool,
}

/// What the probe saw, and what it is told to do.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<State>>);

type Gauge = Arc<dyn Fn() -> u32 + Send + Sync>;

#[derive(Default)]
struct State {
    readiness: Option<Readiness>,
    plans: VecDeque<Plan>,
    events: u32,
    numbers: u64,
    waiting: BTreeMap<u64, Waker>,
    seen: Seen,
    contexts: Vec<(u32, &'static str, Context)>,
    gauge: Option<Gauge>,
}

/// The numbers in the log.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// How often `poll_ready` was asked.
    pub(crate) asked: u32,
    pub(crate) calls: u32,
    /// Calls without a `poll_ready` that was ready before. There may never be one.
    pub(crate) unready_calls: u32,
    pub(crate) polls: u32,
    /// Futures that were made, and those that were dropped.
    pub(crate) futures: u32,
    pub(crate) dropped: u32,
    /// Futures that have neither ended nor been dropped.
    pub(crate) working: u32,
    /// Requests that are alive, copies for a retry included.
    pub(crate) requests: i64,
    /// What the layer held when a future was dropped that had not ended.
    pub(crate) held_at_drop: Vec<u32>,
    /// What it held when a request was dropped that had not been sent.
    pub(crate) held_at_unsent: Vec<u32>,
}

impl Probe {
    pub(crate) fn new() -> Self {
        Log::default().probe()
    }

    pub(crate) fn log(&self) -> Log {
        self.log.clone()
    }
}

impl Log {
    fn probe(&self) -> Probe {
        let mut state = self.lock();
        state.numbers += 1;
        Probe {
            log: self.clone(),
            number: state.numbers,
            ready: false,
        }
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

    pub(crate) fn message(&self, id: u32) -> Message {
        self.lock().seen.requests += 1;
        Message {
            id,
            fields: BTreeMap::new(),
            alive: Some(Alive {
                log: self.clone(),
                sent: false,
            }),
        }
    }

    fn note(&self, id: u32, place: &'static str) {
        let context = Context::current();
        self.lock().contexts.push((id, place, context));
    }

    fn held(&self) -> Option<u32> {
        let gauge = self.lock().gauge.clone();
        gauge.map(|gauge| gauge())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clone for Probe {
    fn clone(&self) -> Self {
        self.log.probe()
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.seen().fmt(f)
    }
}

impl Service<Message> for Probe {
    type Response = Answer;
    type Error = Fault;
    type Future = Work;

    fn poll_ready(&mut self, task: &mut Task<'_>) -> Poll<Result<(), Fault>> {
        let mut state = self.log.lock();
        state.seen.asked += 1;
        self.ready = false;
        match state.readiness {
            None | Some(Readiness::Ready) => {
                self.ready = true;
                Poll::Ready(Ok(()))
            }
            Some(Readiness::Pending) => {
                state.waiting.insert(self.number, task.waker().clone());
                Poll::Pending
            }
            Some(Readiness::Failing) => Poll::Ready(Err(Fault::new(0))),
        }
    }

    fn call(&mut self, mut message: Message) -> Work {
        if let Some(alive) = &mut message.alive {
            alive.sent = true;
        }
        self.log.note(message.id, "call");
        let mut state = self.log.lock();
        state.seen.calls += 1;
        state.seen.unready_calls += u32::from(!std::mem::take(&mut self.ready));
        let plan = state.plans.pop_front();
        let plan = plan.unwrap_or(Plan::after(0, End::Answer));
        if plan.end == End::PanicInCall {
            drop(state);
            panic!("the probe's call panics, as planned");
        }
        state.numbers += 1;
        state.seen.futures += 1;
        state.seen.working += 1;
        Work {
            log: self.log.clone(),
            number: state.numbers,
            due: state.events + plan.events,
            end: plan.end,
            id: message.id,
            message: Some(message),
        }
    }
}

/// The probe's future.
#[derive(Debug)]
pub(crate) struct Work {
    log: Log,
    number: u64,
    due: u32,
    end: End,
    id: u32,
    /// `None` once it has ended.
    message: Option<Message>,
}

impl Future for Work {
    type Output = Result<Answer, Fault>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Self::Output> {
        self.log.note(self.id, "poll");
        let mut state = self.log.lock();
        state.seen.polls += 1;
        if state.events < self.due || self.end == End::Never {
            state.waiting.insert(self.number, task.waker().clone());
            return Poll::Pending;
        }
        drop(state);
        assert_ne!(
            self.end,
            End::Panic,
            "the probe's future panics, as planned"
        );
        let Some(message) = self.message.take() else {
            // Whoever polls once more gets no second answer, and no panic that could be taken for the layer's.
            return Poll::Pending;
        };
        self.log.lock().seen.working -= 1;
        Poll::Ready(match self.end {
            End::Fault => Err(Fault::new(message.id)),
            _ => Ok(Answer::to(&message)),
        })
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.log.note(self.id, "drop");
        let held = self.message.as_ref().and_then(|_| self.log.held());
        let mut state = self.log.lock();
        state.waiting.remove(&self.number);
        state.seen.dropped += 1;
        state.seen.working -= u32::from(self.message.is_some());
        state.seen.held_at_drop.extend(held);
    }
}

/// Counts the copies of a request.
#[derive(Debug)]
struct Alive {
    log: Log,
    sent: bool,
}

impl Clone for Alive {
    fn clone(&self) -> Self {
        self.log.lock().seen.requests += 1;
        Self {
            log: self.log.clone(),
            sent: false,
        }
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        let held = (!self.sent).then(|| self.log.held()).flatten();
        let mut state = self.log.lock();
        state.seen.requests -= 1;
        state.seen.held_at_unsent.extend(held);
    }
}
