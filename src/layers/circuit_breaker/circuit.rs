//! The shared circuit: the state machine behind a lock, and in front of it the *gate*, a word that
//! says which calls need no lock.
//!
//! In the closed state, reading the gate admits a call, and a success increments a counter. Each
//! thread that takes the lock first credits the counted successes to the machine. `Breaker::front`
//! says for how long this is exact: while no success can trip a rule, and until the current bucket
//! of a time window ends.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::common::{self, Common, Counted};
use super::history::{Change, History};
use crate::call::call_time::CallTime;
use crate::observe::emit::Emit;
use crate::observe::emitter::Emitter;
use crate::observe::event::EventKind;
use crate::observe::snapshot::{Latencies, Outcomes, Tally};
use crate::policy::breaker::{Breaker, Config, Decision, State, Ticket, Transition, View};
use crate::policy::evidence::FLOOR;
use crate::runtime::striped::Striped;
use crate::runtime::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::runtime::sync::{Mutex, MutexGuard};
use crate::runtime::{Moment, Timeline, nanos, random};
use crate::vocabulary::context;
use crate::vocabulary::mode::Mode;
use crate::vocabulary::outcome::{Outcome, Verdict};

// The flags of the gate, below the epoch.

/// Admits calls without the lock.
const ADMITS: u64 = 1;
/// Rejects calls without the lock, during the open time.
const REJECTS: u64 = 1 << 1;
/// Counts fast successes without the lock ...
const COUNTS: u64 = 1 << 2;
/// ... until the current bucket ends.
const IN_BUCKETS: u64 = 1 << 3;
/// The number of flags.
const FLAGS: u32 = 4;

/// There is no slow-call rule.
const NEVER_SLOW: u64 = u64::MAX;

pub(crate) struct Circuit {
    /// The epoch and the flags.
    gate: AtomicU64,
    /// The end of the current bucket, by the clock.
    bucket_ends: AtomicU64,
    /// The length of a bucket in nanoseconds.
    bucket: AtomicU64,
    /// The end of the open time, by the clock.
    open_until: AtomicU64,
    /// The time at which `open_until` was stored.
    published: AtomicU64,
    /// The slow-call threshold in nanoseconds.
    slow: AtomicU64,
    is_on: AtomicBool,
    pub(crate) emitter: Emitter,
    /// Successes counted without the lock, in all epochs.
    successes: Striped,
    tally: Tally,
    pub(super) latencies: Latencies,
    machine: Mutex<Machine>,
    /// The state in the gauges.
    pub(super) gauged: Counted,
    /// The state in the group.
    pub(super) counted: Counted,
    pub(super) group: Option<Arc<Common>>,
}

struct Machine {
    breaker: Breaker,
    timeline: Timeline,
    /// The part of `successes` that is credited to the breaker, or belongs to an earlier epoch.
    credited: u64,
    /// Whether successes may have been counted since then.
    counts: bool,
    history: History,
    /// Made for the first watcher of the state.
    state: Option<watch::Sender<State>>,
}

impl Circuit {
    pub(super) fn new(config: Config, emitter: Emitter, common: Option<&Arc<Common>>) -> Self {
        let read = Moment::now();
        let now = read.since_origin();
        let slow = config.slow_after().map_or(NEVER_SLOW, nanos);
        let is_on = config.mode != Mode::Off;
        let bucket = nanos(config.window.bucket());
        let shared = common::share(common.map(|common| &**common), &config);
        let mut breaker = Breaker::new(shared, now);
        if let Some(common) = common {
            common.force(&mut breaker, now);
        }
        let (group, counted) = common::count(&emitter, common, breaker.state());
        let circuit = Self {
            gate: AtomicU64::new(0),
            bucket_ends: AtomicU64::new(0),
            bucket: AtomicU64::new(bucket),
            open_until: AtomicU64::new(0),
            published: AtomicU64::new(0),
            slow: AtomicU64::new(slow),
            is_on: AtomicBool::new(is_on),
            emitter,
            successes: Striped::new(),
            tally: Tally::new(),
            latencies: common.map_or_else(Latencies::new, |common| common.latencies().share()),
            gauged: Counted::new(0),
            counted,
            group,
            machine: Mutex::new(Machine {
                credited: 0,
                counts: false,
                history: History::new(now),
                state: None,
                breaker,
                timeline: Timeline::new(read),
            }),
        };
        circuit.publish(&mut circuit.lock(), now);
        circuit
    }

    /// Whether every call is timed, for the slow-call rule.
    #[inline]
    pub(crate) fn times_all(&self) -> bool {
        self.slow.load(Ordering::Relaxed) != NEVER_SLOW
    }

    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Whether a call of this length is slow.
    #[inline]
    pub(crate) fn is_slow(&self, time: CallTime) -> bool {
        let slow = self.slow.load(Ordering::Relaxed);
        slow != NEVER_SLOW && nanos(time.ran()) > slow
    }

    /// Whether the gate rejects calls now. Some states decide only under the lock.
    #[inline]
    pub(crate) fn rejects(&self) -> bool {
        self.gate.load(Ordering::Acquire) & REJECTS != 0 && self.time_left() != Some(Duration::ZERO)
    }

    /// The remaining open time, zero when it is over. `None` if only a handle ends it.
    fn time_left(&self) -> Option<Duration> {
        match self.open_until.load(Ordering::Relaxed) {
            u64::MAX => None,
            until => {
                let now = Moment::now().to_bits();
                if now < self.published.load(Ordering::Relaxed) {
                    // The clock went back, so the machine must decide.
                    return Some(Duration::ZERO);
                }
                Some(Duration::from_nanos(until.saturating_sub(now)))
            }
        }
    }

    /// The remaining open time for a rejection, if the gate rejects calls.
    pub(super) fn time_left_if_open(&self) -> Option<Duration> {
        if self.gate.load(Ordering::Acquire) & REJECTS == 0 {
            return None;
        }
        self.open_time_left()
    }

    /// The remaining open time, if there is any.
    pub(super) fn open_time_left(&self) -> Option<Duration> {
        self.time_left().filter(|left| !left.is_zero())
    }

    /// Admits a call without the lock, if the gate allows it.
    #[inline]
    pub(super) fn try_admit(&self) -> Option<Ticket> {
        let gate = self.gate.load(Ordering::Acquire);
        (gate & ADMITS != 0).then_some(Ticket::counted(gate >> FLAGS))
    }

    /// Decides on a call that the gate does not admit.
    #[cold]
    pub(crate) fn decide(&self) -> Decision {
        let gate = self.gate.load(Ordering::Acquire);
        if gate & REJECTS != 0 {
            let left = self.time_left();
            if left != Some(Duration::ZERO) {
                return Decision::Reject { retry_after: left };
            }
        }
        self.with(|breaker, now| breaker.admit(now, random()))
    }

    /// Records the outcome of a call, at the time `now` if it is known.
    ///
    /// The state may change after the gate is read and before a success is counted. The success
    /// belongs to the old state then, and is not credited to the new one. There is one exception:
    /// if the thread is suspended exactly there until the circuit has closed again, the new window
    /// has one success too many.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn record(
        &self,
        ticket: Ticket,
        verdict: Verdict,
        time: CallTime,
        now: Option<Moment>,
    ) {
        let gate = self.gate.load(Ordering::Acquire);
        let counts = gate & COUNTS != 0
            && gate >> FLAGS == ticket.epoch()
            && verdict.outcome() == Outcome::Success;
        if counts {
            let fast = !time.took_at_least(FLOOR) && !self.is_slow(time);
            let exact = gate & IN_BUCKETS == 0 || {
                let now = now.unwrap_or_else(Moment::now).to_bits();
                let left = self.bucket_ends.load(Ordering::Relaxed).wrapping_sub(now);
                // The bucket has started and has not ended. After the clock went back, it has not
                // started.
                left.wrapping_sub(1) < self.bucket.load(Ordering::Relaxed)
            };
            if fast && exact {
                self.successes.increment();
                return;
            }
        }
        self.record_locked(ticket, verdict, time.ran());
    }

    /// Records the response head of a probe whose outcome is not yet known.
    #[cold]
    pub(crate) fn record_head(&self, ticket: Ticket, ran: Duration) {
        self.with(|breaker, now| ((), breaker.answered(now, ticket, ran, random())));
    }

    #[cold]
    fn record_locked(&self, ticket: Ticket, verdict: Verdict, ran: Duration) {
        self.tally.record(verdict.outcome());
        let limit = context::own_limit();
        let evident = match verdict.outcome() {
            // The time to send the request says nothing about the time of a response.
            Outcome::Cancelled | Outcome::Success => context::answerable(ran),
            _ => ran,
        };
        self.with(|breaker, now| {
            let outcome = breaker.effective_outcome(now, verdict.outcome(), evident, limit);
            let hint = verdict.retry_after();
            let random = random();
            ((), breaker.record(now, ticket, outcome, ran, hint, random))
        });
    }

    pub(crate) fn state(&self) -> State {
        self.lock().breaker.state()
    }

    /// The outcomes of calls that are over.
    pub(super) fn outcomes(&self) -> Outcomes {
        self.tally.with_plain(self.successes.sum())
    }

    /// The state of the breaker, the time in this state, and its latest changes.
    pub(super) fn inspect(&self) -> (View, Duration, Vec<Change>) {
        let read = Moment::now();
        let mut machine = self.lock();
        let now = machine.timeline.at(read);
        self.credit(&mut machine);
        let view = machine.breaker.snapshot(now);
        self.publish(&mut machine, now);
        let (since, changes) = machine.history.changes(now);
        (view, since, changes)
    }

    /// Whether nobody has called it for longer than any open time, although its open time is over.
    pub(super) fn is_abandoned(&self) -> bool {
        self.with(|breaker, now| (breaker.is_abandoned(now), None))
    }

    /// The settings as they were set.
    pub(super) fn config(&self) -> Config {
        *self.lock().breaker.config()
    }

    /// Changes the settings, unless they are no longer `before`.
    pub(super) fn adjust(&self, before: &Config, new: &Config) -> bool {
        let shared = common::share(self.group.as_deref(), new);
        self.with(|breaker, now| {
            if breaker.config() != before {
                return (false, None);
            }
            breaker.adjust(now, Arc::clone(&shared));
            let slow = new.slow_after().map_or(NEVER_SLOW, nanos);
            self.slow.store(slow, Ordering::Relaxed);
            let bucket = nanos(new.window.bucket());
            self.bucket.store(bucket, Ordering::Relaxed);
            let is_on = new.mode != Mode::Off;
            self.is_on.store(is_on, Ordering::Relaxed);
            self.emitter.set_measured(is_on);
            (true, None)
        })
    }

    pub(crate) fn force_open(&self) {
        self.with(|breaker, now| ((), breaker.force_open(now)));
    }

    pub(crate) fn force_closed(&self) {
        self.with(|breaker, now| ((), breaker.force_closed(now)));
    }

    pub(crate) fn reset(&self) {
        self.with(|breaker, now| ((), breaker.reset(now)));
    }

    pub(crate) fn watch(&self) -> watch::Receiver<State> {
        let mut machine = self.lock();
        let state = machine.breaker.state();
        let sender = machine
            .state
            .get_or_insert_with(|| watch::Sender::new(state));
        sender.subscribe()
    }

    /// Credits the counted successes, acts on the breaker and publishes the gate. Emits a state
    /// change after the lock is released.
    fn with<R>(&self, act: impl FnOnce(&mut Breaker, Duration) -> (R, Option<Transition>)) -> R {
        let read = Moment::now();
        let mut machine = self.lock();
        let now = machine.timeline.at(read);
        self.credit(&mut machine);
        let (result, transition) = act(&mut machine.breaker, now);
        let front = machine.breaker.front();
        // A reset of a closed circuit starts an epoch, too, but is no transition.
        if self.gate.load(Ordering::Relaxed) >> FLAGS != front.epoch {
            // Close the gate, so that no success is counted while the counted ones are assigned to
            // the old epoch.
            self.gate.store(front.epoch << FLAGS, Ordering::SeqCst);
            machine.credited = self.successes.sum();
        }
        if let Some(transition) = &transition {
            machine.history.add(now, transition);
        }
        self.publish(&mut machine, now);
        drop(machine);
        if let Some(transition) = transition {
            self.notify(transition);
        }
        result
    }

    /// Credits the counted successes to the breaker.
    fn credit(&self, machine: &mut Machine) {
        // Half-open and open circuits count nothing here, so this is free just when many calls
        // arrive.
        if machine.counts {
            let counted = self.successes.sum();
            machine
                .breaker
                .credit(counted.wrapping_sub(machine.credited));
            machine.credited = counted;
        }
    }

    /// Publishes which calls need no lock.
    fn publish(&self, machine: &mut Machine, now: Duration) {
        let front = machine.breaker.front();
        machine.counts = front.counts_free;
        let timeline = &machine.timeline;
        let decision = match (front.mode, front.state) {
            (Mode::Off, _) | (_, State::Closed | State::ForcedClosed) => ADMITS,
            (Mode::Enforce, State::Open | State::ForcedOpen) => REJECTS,
            _ => 0,
        };
        let counts = if front.counts_free { COUNTS } else { 0 };
        let in_buckets = if front.bucket_ends == Duration::MAX {
            0
        } else {
            IN_BUCKETS
        };
        let open_until = if front.state == State::ForcedOpen {
            u64::MAX
        } else {
            let until = timeline.moment(front.open_until).to_bits();
            until.min(u64::MAX - 1)
        };
        self.open_until.store(open_until, Ordering::Relaxed);
        let published = timeline.moment(now).to_bits();
        self.published.store(published, Ordering::Relaxed);
        let bucket_ends = timeline.moment(front.bucket_ends).to_bits();
        self.bucket_ends.store(bucket_ends, Ordering::Relaxed);
        let gate = front.epoch << FLAGS | decision | counts | in_buckets;
        if self.gate.load(Ordering::Relaxed) != gate {
            self.gate.store(gate, Ordering::Release);
        }
    }

    #[cold]
    fn notify(&self, transition: Transition) {
        self.count_in_group();
        let sender = self.lock().state.clone();
        if let Some(sender) = sender {
            sender.send_if_modified(|state| {
                // Read the current state: of two concurrent changes, the later one wins.
                let current = self.lock().breaker.state();
                std::mem::replace(state, current) != current
            });
        }
        self.emit_and_log(|| EventKind::Transition(transition.clone()));
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(mainstay_loom)]
pub(crate) mod models;
#[cfg(test)]
mod tests;
