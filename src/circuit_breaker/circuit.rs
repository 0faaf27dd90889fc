//! The state machine as many threads share it: the machine itself behind a lock, and in front of it one word that
//! says what may be done without.
//!
//! In the closed state a call is admitted by reading that word, and a plain success bumps a counter. Whoever takes
//! the lock brings the machine up to date first: all successes counted since are credited to it. The machine says for how
//! long that is exact (see `Breaker::front`): as long as no success can trip a rule, and until the current bucket of a window of time ends.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::observe::{EventKind, Listeners};
use crate::policy::breaker::{
    Breaker, Config, Decision, Front, Mode, Snapshot, State, Ticket, Transition,
};
use crate::runtime::{self, Epoch, nanos, random};
use crate::striped::Striped;
use crate::{Outcome, Verdict};

/// What may be done without the lock: the low bits of the word, below the epoch.
const ADMITS: u64 = 1;
const REJECTS: u64 = 1 << 1;
/// Plain successes may be merely counted ...
const COUNTS: u64 = 1 << 2;
/// ... but only until the current bucket ends.
const IN_BUCKETS: u64 = 1 << 3;
const FLAGS: u32 = 4;

pub(crate) struct Circuit {
    /// The epoch and the flags.
    gate: AtomicU64,
    bucket_ends: AtomicU64,
    open_until: AtomicU64,
    /// Plain successes, of all epochs.
    successes: Striped,
    machine: Mutex<Machine>,
    state: watch::Sender<State>,
    /// Calls longer than this are slow; `None` where nobody asks.
    pub(crate) slow: Option<Duration>,
    pub(crate) times_cancelled: bool,
    pub(crate) epoch: Epoch,
    pub(crate) listeners: Listeners,
}

struct Machine {
    breaker: Breaker,
    /// How many of the counted successes the breaker knows of, or never will.
    credited: u64,
}

impl Circuit {
    pub(crate) fn new(config: Config, listeners: Listeners) -> Self {
        let epoch = Epoch::new();
        let slow = config.slow_calls.map(|(threshold, _)| threshold);
        let times_cancelled = config.times_cancelled();
        let breaker = Breaker::new(config, epoch.elapsed());
        let circuit = Self {
            gate: AtomicU64::new(0),
            bucket_ends: AtomicU64::new(0),
            open_until: AtomicU64::new(0),
            successes: Striped::new(),
            state: watch::Sender::new(breaker.state()),
            slow,
            times_cancelled,
            epoch,
            listeners,
            machine: Mutex::new(Machine {
                breaker,
                credited: 0,
            }),
        };
        circuit.with(|_, _| ((), None));
        circuit
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
                let left = until.saturating_sub(nanos(self.epoch.elapsed()));
                Some(Duration::from_nanos(left))
            }
        }
    }

    /// The time left, to be told to someone who is rejected.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        if self.gate.load(Ordering::Acquire) & REJECTS == 0 {
            return None;
        }
        self.time_left().filter(|left| !left.is_zero())
    }

    #[inline]
    pub(crate) fn admit(&self) -> Decision {
        let gate = self.gate.load(Ordering::Acquire);
        if gate & ADMITS != 0 {
            return Decision::Admit(Ticket::counted(gate >> FLAGS));
        }
        self.ask(gate)
    }

    #[cold]
    fn ask(&self, gate: u64) -> Decision {
        if gate & REJECTS != 0 {
            let left = self.time_left();
            if left != Some(Duration::ZERO) {
                return Decision::Reject { retry_after: left };
            }
        }
        self.with(|breaker, now| breaker.admit(now, random()))
    }

    /// Counts a call's outcome. `started` is known where its time is asked for, `ended` where its head came
    /// before its outcome.
    ///
    /// Between the look at the gate and the count of a success the state may change. Then the success was before the change,
    /// and is not credited to the next state; unless the thread stood still right there for as long as it took to close
    /// again, and then it is one success too many among the first of the new window.
    #[inline]
    pub(crate) fn record(
        &self,
        ticket: Ticket,
        verdict: Verdict,
        started: Option<Instant>,
        ended: Option<Instant>,
    ) {
        let gate = self.gate.load(Ordering::Acquire);
        let timed = self.slow.is_some() || gate & IN_BUCKETS != 0;
        let now = timed.then(runtime::now);
        let slow = match (self.slow, started, ended.or(now)) {
            (Some(slow), Some(started), Some(ended)) => {
                ended.saturating_duration_since(started) > slow
            }
            _ => false,
        };
        let exact = gate & COUNTS != 0
            && gate >> FLAGS == ticket.epoch()
            && (gate & IN_BUCKETS == 0
                || now.is_some_and(|now| {
                    nanos(self.epoch.at(now)) < self.bucket_ends.load(Ordering::Relaxed)
                }));
        if exact && !slow && verdict.outcome() == Outcome::Success {
            self.successes.bump();
        } else {
            self.tell(ticket, verdict, started, ended);
        }
    }

    #[cold]
    fn tell(
        &self,
        ticket: Ticket,
        verdict: Verdict,
        started: Option<Instant>,
        ended: Option<Instant>,
    ) {
        let ran = started
            .map(|started| {
                let ended = ended.unwrap_or_else(runtime::now);
                ended.saturating_duration_since(started)
            })
            .unwrap_or_default();
        self.with(|breaker, now| {
            let (outcome, hint) = (verdict.outcome(), verdict.retry_after());
            (
                (),
                breaker.record(now, ticket, outcome, ran, hint, random()),
            )
        });
    }

    pub(crate) fn state(&self) -> State {
        self.lock().breaker.state()
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.with(|breaker, now| (breaker.snapshot(now), None))
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
        self.state.subscribe()
    }

    /// Does something with the machine when it is up to date, says what may be done without it from then on, and tells of
    /// a change of state when the lock is free again.
    fn with<R>(&self, act: impl FnOnce(&mut Breaker, Duration) -> (R, Option<Transition>)) -> R {
        let now = self.epoch.elapsed();
        let mut machine = self.lock();
        let counted = self.successes.sum();
        let news = counted.wrapping_sub(machine.credited);
        machine.breaker.credit(news);
        machine.credited = counted;
        let (result, transition) = act(&mut machine.breaker, now);
        self.publish(&machine.breaker.front());
        if transition.is_some() {
            // What was counted meanwhile belongs to the state that is over.
            machine.credited = self.successes.sum();
        }
        drop(machine);
        if let Some(transition) = transition {
            self.announce(transition);
        }
        result
    }

    fn publish(&self, front: &Front) {
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
            nanos(front.open_until).min(u64::MAX - 1)
        };
        self.open_until.store(open_until, Ordering::Relaxed);
        self.bucket_ends
            .store(nanos(front.bucket_ends), Ordering::Relaxed);
        let gate = front.epoch << FLAGS | may | counts | in_buckets;
        if self.gate.load(Ordering::Relaxed) != gate {
            self.gate.store(gate, Ordering::Release);
        }
    }

    #[cold]
    fn announce(&self, transition: Transition) {
        self.state.send_if_modified(|state| {
            // What it is now: of two changes that are announced at once, the later one wins.
            let current = self.lock().breaker.state();
            std::mem::replace(state, current) != current
        });
        self.listeners.tell(|| EventKind::Transition(transition));
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
