//! The state machine as many threads share it: the machine itself behind a lock, and in front of it one word that
//! says what may be done without.
//!
//! In the closed state a call is admitted by reading that word, and a plain success increments a counter. Whoever takes
//! the lock brings the machine up to date first: all successes counted since are credited to it. The machine says for how
//! long that is exact (see `Breaker::front`): as long as no success can trip a rule, and until the current bucket of a window of time ends.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::history::{Change, History};
use crate::call::call_time::CallTime;
use crate::observe::emit::Emit;
use crate::observe::emitter::Emitter;
use crate::observe::event::{EventKind, Observer};
use crate::observe::snapshot::{Latencies, Outcomes, Tally};
use crate::policy::breaker::{Breaker, Config, Decision, Mode, State, Ticket, Transition, View};
use crate::policy::evidence::FLOOR;
use crate::runtime::striped::Striped;
use crate::runtime::sync::atomic::{AtomicU64, Ordering};
use crate::runtime::sync::{Mutex, MutexGuard};
use crate::runtime::{Moment, Timeline, nanos, random};
use crate::vocabulary::context;
use crate::vocabulary::name::InstanceName;
use crate::vocabulary::outcome::{Outcome, Verdict};

/// What may be done without the lock: the low bits of the word, below the epoch.
const ADMITS: u64 = 1;
const REJECTS: u64 = 1 << 1;
/// Plain successes may be merely counted ...
const COUNTS: u64 = 1 << 2;
/// ... but only until the current bucket ends.
const IN_BUCKETS: u64 = 1 << 3;
const FLAGS: u32 = 4;

/// Nobody asks how slow a call is.
const NEVER_SLOW: u64 = u64::MAX;

#[allow(
    missing_debug_implementations,
    reason = "nobody outside can get hold of one"
)]
pub struct Circuit {
    /// The epoch and the flags.
    gate: AtomicU64,
    /// When the current bucket ends, by the clock, and how many nanoseconds a bucket lasts.
    bucket_ends: AtomicU64,
    bucket: u64,
    /// Until when it is open, by the clock, and what the clock said when this was stored.
    open_until: AtomicU64,
    published: AtomicU64,
    /// Calls longer than so many nanoseconds are slow.
    slow: u64,
    /// It is not switched off.
    measures: bool,
    pub(crate) emitter: Emitter,
    /// Plain successes, of all epochs.
    successes: Striped,
    tally: Tally,
    pub(super) latencies: Latencies,
    machine: Mutex<Machine>,
}

struct Machine {
    breaker: Breaker,
    timeline: Timeline,
    /// How many of the counted successes the breaker knows of, or never will.
    credited: u64,
    /// Whether successes may have been counted since.
    counts: bool,
    history: History,
    /// Who watches the state, if anybody ever did.
    state: Option<watch::Sender<State>>,
}

/// What a circuit is made of.
pub(crate) struct Settings {
    pub(super) config: Config,
    pub(super) instance: InstanceName,
    pub(super) observer: Option<Arc<dyn Observer>>,
}

impl Circuit {
    pub(super) fn new(settings: Settings) -> Self {
        let (config, read) = (settings.config, Moment::now());
        let now = read.since_origin();
        let slow = config
            .slow_calls
            .map_or(NEVER_SLOW, |(slow, _)| nanos(slow));
        let is_on = config.mode != Mode::Off;
        let bucket = nanos(config.window.bucket());
        let breaker = Breaker::new(config, now);
        let circuit = Self {
            gate: AtomicU64::new(0),
            bucket_ends: AtomicU64::new(0),
            bucket,
            open_until: AtomicU64::new(0),
            published: AtomicU64::new(0),
            slow,
            measures: is_on,
            emitter: Emitter::measured(
                &super::layer::KIND,
                settings.instance,
                settings.observer,
                is_on,
            ),
            successes: Striped::new(),
            tally: Tally::new(),
            latencies: Latencies::new(),
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

    /// Whether the time of calls is asked for from their beginning.
    #[inline]
    pub(crate) fn times(&self) -> bool {
        self.slow != NEVER_SLOW
    }

    /// Whether a call that has to wait is timed.
    #[inline]
    pub(crate) fn measures(&self) -> bool {
        self.measures
    }

    /// Whether a call is slow that takes so long.
    #[inline]
    pub(crate) fn is_slow(&self, time: CallTime) -> bool {
        self.slow != NEVER_SLOW && nanos(time.ran()) > self.slow
    }

    /// Whether a call would be rejected now: known without the lock, and so not of every state.
    #[inline]
    pub(crate) fn rejects(&self) -> bool {
        self.gate.load(Ordering::Acquire) & REJECTS != 0 && self.time_left() != Some(Duration::ZERO)
    }

    /// How long the circuit stays open; `None` when that is not known, zero when it is over.
    fn time_left(&self) -> Option<Duration> {
        match self.open_until.load(Ordering::Relaxed) {
            u64::MAX => None,
            until => {
                let now = Moment::now().to_bits();
                if now < self.published.load(Ordering::Relaxed) {
                    // The clock went back. The machine knows what that means.
                    return Some(Duration::ZERO);
                }
                Some(Duration::from_nanos(until.saturating_sub(now)))
            }
        }
    }

    /// The time left, to be told to someone who is rejected.
    pub(super) fn time_left_if_open(&self) -> Option<Duration> {
        if self.gate.load(Ordering::Acquire) & REJECTS == 0 {
            return None;
        }
        self.open_time_left()
    }

    /// The rest of the open time, if there is one that ends by itself.
    pub(super) fn open_time_left(&self) -> Option<Duration> {
        self.time_left().filter(|left| !left.is_zero())
    }

    /// The ticket of a call that is let through without a question.
    #[inline]
    pub(super) fn pass(&self) -> Option<Ticket> {
        let gate = self.gate.load(Ordering::Acquire);
        (gate & ADMITS != 0).then_some(Ticket::counted(gate >> FLAGS))
    }

    /// Decides about a call where the gate alone does not let it through.
    #[cold]
    pub(crate) fn ask(&self) -> Decision {
        let gate = self.gate.load(Ordering::Acquire);
        if gate & REJECTS != 0 {
            let left = self.time_left();
            if left != Some(Duration::ZERO) {
                return Decision::Reject { retry_after: left };
            }
        }
        self.with(|breaker, now| breaker.admit(now, random()))
    }

    /// Counts a call's outcome, at the time `now` if that is known.
    ///
    /// Between the look at the gate and the count of a success the state may change. Then the success was before the change,
    /// and is not credited to the next state; unless the thread stood still right there for as long as it took to close
    /// again, and then it is one success too many among the first of the new window.
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
                // It has not ended, and has begun: where the clock went back it has not.
                left.wrapping_sub(1) < self.bucket
            };
            if fast && exact {
                self.successes.increment();
                return;
            }
        }
        self.settled(ticket, verdict, time.ran());
    }

    /// The head of a probe's response is there, so many after its call, and its outcome will be known later.
    #[cold]
    pub(crate) fn answered(&self, ticket: Ticket, ran: Duration) {
        self.with(|breaker, now| ((), breaker.answered(now, ticket, ran, random())));
    }

    #[cold]
    fn settled(&self, ticket: Ticket, verdict: Verdict, ran: Duration) {
        self.tally.record(verdict.outcome());
        let limit = context::own_limit();
        let evident = match verdict.outcome() {
            // How long a success took to be sent says nothing of how long an answer takes.
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

    /// How its calls went.
    pub(super) fn outcomes(&self) -> Outcomes {
        self.tally.with_plain(self.successes.sum())
    }

    /// The breaker as it is, how long it has been in its state, and its newest changes.
    pub(super) fn look(&self) -> (View, Duration, Vec<Change>) {
        let read = Moment::now();
        let mut machine = self.lock();
        let now = machine.timeline.at(read);
        self.credit(&mut machine);
        let view = machine.breaker.snapshot(now);
        self.publish(&mut machine, now);
        let (since, changes) = machine.history.changes(now);
        (view, since, changes)
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

    /// Does something with the machine when it is up to date, says what may be done without it from then on, and tells of
    /// a change of state when the lock is free again.
    fn with<R>(&self, act: impl FnOnce(&mut Breaker, Duration) -> (R, Option<Transition>)) -> R {
        let read = Moment::now();
        let mut machine = self.lock();
        let now = machine.timeline.at(read);
        self.credit(&mut machine);
        let (result, transition) = act(&mut machine.breaker, now);
        let front = machine.breaker.front();
        // A reset of a closed circuit begins an epoch, too, but is no transition.
        if self.gate.load(Ordering::Relaxed) >> FLAGS != front.epoch {
            // What was counted until now belongs to the epoch that is over, and what is counted from now on to the next one: nothing is
            // counted while the line between them is drawn.
            self.gate.store(front.epoch << FLAGS, Ordering::SeqCst);
            machine.credited = self.successes.sum();
        }
        if let Some(transition) = &transition {
            machine.history.add(now, transition);
        }
        self.publish(&mut machine, now);
        drop(machine);
        if let Some(transition) = transition {
            self.announce(transition);
        }
        result
    }

    /// Brings the machine up to date.
    fn credit(&self, machine: &mut Machine) {
        // Half-open and open circuits count nothing free: just when many calls come, this costs nothing.
        if machine.counts {
            let counted = self.successes.sum();
            machine
                .breaker
                .credit(counted.wrapping_sub(machine.credited));
            machine.credited = counted;
        }
    }

    /// Says what may be done without the lock, and remembers whether successes are counted from now on.
    fn publish(&self, machine: &mut Machine, now: Duration) {
        let front = machine.breaker.front();
        machine.counts = front.counts_free;
        let timeline = &machine.timeline;
        let may = match (front.mode, front.state) {
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
        let gate = front.epoch << FLAGS | may | counts | in_buckets;
        if self.gate.load(Ordering::Relaxed) != gate {
            self.gate.store(gate, Ordering::Release);
        }
    }

    #[cold]
    fn announce(&self, transition: Transition) {
        let sender = self.lock().state.clone();
        if let Some(sender) = sender {
            sender.send_if_modified(|state| {
                // What it is now: of two changes that are announced at once, the later one wins.
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
