//! The state machine as many threads share it: the machine itself behind a lock, and in front of it one word that
//! says what may be done without.
//!
//! In the closed state a call is admitted by reading that word, and a plain success bumps a counter. Whoever takes
//! the lock brings the machine up to date first: all successes counted since are credited to it. The machine says for how
//! long that is exact (see `Breaker::front`): as long as no success can trip a rule, and until the current bucket of a window of time ends.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::history::{Change, History};
use crate::context;
use crate::listeners::Listeners;
use crate::name::Origin;
use crate::observe::{EventKind, Observer};
use crate::policy::breaker::{
    Breaker, Config, Decision, Front, Mode, State, Ticket, Transition, View,
};
use crate::policy::evidence::FLOOR;
use crate::pool::{Pool, Resident};
use crate::runtime::{Moment, nanos, random};
use crate::snapshot::{Latencies, Outcomes, Rejected, Tally};
use crate::striped::Striped;
use crate::tells::Tells;
use crate::time::Time;
use crate::{Outcome, Verdict};

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
    bucket_ends: AtomicU64,
    open_until: AtomicU64,
    /// Calls longer than so many nanoseconds are slow.
    slow: AtomicU64,
    /// It is not switched off.
    measures: AtomicBool,
    pub(crate) listeners: Listeners,
    /// Plain successes, of all epochs.
    successes: Striped,
    tally: Tally,
    pub(super) would_reject: Rejected,
    pub(super) latencies: Latencies,
    machine: Mutex<Machine>,
}

struct Machine {
    breaker: Breaker,
    /// How many of the counted successes the breaker knows of, or never will.
    credited: u64,
    /// The first epoch of this circuit, and how many successes had been counted before.
    since: u64,
    before: u64,
    history: History,
    state: watch::Sender<State>,
}

/// What a circuit is made of.
pub(crate) struct Settings {
    pub(super) config: Config,
    pub(super) origin: &'static Origin,
    pub(super) observer: Option<Arc<dyn Observer>>,
}

impl Resident for Circuit {
    type Settings = Settings;

    fn pool() -> &'static Pool<Self> {
        static POOL: Pool<Circuit> = Pool::new();
        &POOL
    }

    fn vacant() -> Self {
        let breaker = Breaker::new(Config::default(), now());
        Self {
            gate: AtomicU64::new(0),
            bucket_ends: AtomicU64::new(0),
            open_until: AtomicU64::new(0),
            slow: AtomicU64::new(NEVER_SLOW),
            measures: AtomicBool::new(false),
            listeners: Listeners::vacant(),
            successes: Striped::new(),
            tally: Tally::new(),
            would_reject: Rejected::new(),
            latencies: Latencies::new(),
            machine: Mutex::new(Machine {
                credited: 0,
                since: 0,
                before: 0,
                history: History::new(now()),
                state: watch::Sender::new(breaker.state()),
                breaker,
            }),
        }
    }

    fn move_in(&self, settings: Settings) {
        let config = settings.config;
        let slow = config
            .slow_calls
            .map_or(NEVER_SLOW, |(slow, _)| nanos(slow));
        self.slow.store(slow, Ordering::Relaxed);
        let is_on = config.mode != Mode::Off;
        self.measures.store(is_on, Ordering::Relaxed);
        let mut machine = self.lock();
        let breaker = Breaker::new(config, now()).following(&machine.breaker);
        let front = breaker.front();
        let before = self.successes.sum();
        *machine = Machine {
            credited: before,
            since: front.epoch,
            before,
            history: History::new(now()),
            // The watchers of the last circuit see the end of it.
            state: watch::Sender::new(breaker.state()),
            breaker,
        };
        self.listeners
            .move_in(front.epoch, settings.origin, settings.observer, is_on);
        // Last: what a call of the last tenant still told has been told, and from now on none is asked.
        self.tally.reset();
        self.would_reject.reset();
        self.latencies.reset();
        self.publish(&front);
    }

    /// The next circuit's epochs follow this one's, so that no outcome of this one's calls counts there.
    fn move_out(&self) -> bool {
        self.listeners.move_out();
        let mut machine = self.lock();
        let nobody = Breaker::new(Config::default(), now()).following(&machine.breaker);
        self.gate
            .store(nobody.front().epoch << FLAGS, Ordering::Release);
        let watched = std::mem::replace(&mut machine.state, watch::Sender::new(nobody.state()));
        machine.breaker = nobody;
        drop(machine);
        // Wakes those who watch: not under the lock.
        drop(watched);
        true
    }
}

impl Circuit {
    /// Whether the time of calls is asked for from their beginning.
    #[inline]
    pub(crate) fn times(&self) -> bool {
        self.slow.load(Ordering::Relaxed) != NEVER_SLOW
    }

    /// Whether a call that has to wait is timed.
    #[inline]
    pub(crate) fn measures(&self) -> bool {
        self.measures.load(Ordering::Relaxed)
    }

    /// Whether a call is slow that takes so long.
    #[inline]
    pub(crate) fn is_slow(&self, time: Time) -> bool {
        let slow = self.slow.load(Ordering::Relaxed);
        slow != NEVER_SLOW && nanos(time.ran()) > slow
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
                let left = until.saturating_sub(Moment::now().to_bits());
                Some(Duration::from_nanos(left))
            }
        }
    }

    /// The time left, to be told to someone who is rejected.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
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
    pub(crate) fn admit(&self) -> Option<Ticket> {
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
    pub(crate) fn record(&self, ticket: Ticket, verdict: Verdict, time: Time, now: Option<Moment>) {
        let gate = self.gate.load(Ordering::Acquire);
        let counts = gate & COUNTS != 0
            && gate >> FLAGS == ticket.epoch()
            && verdict.outcome() == Outcome::Success;
        if counts {
            let fast = !time.took_at_least(FLOOR) && !self.is_slow(time);
            let exact = gate & IN_BUCKETS == 0
                || now.unwrap_or_else(|| time.now()).to_bits()
                    < self.bucket_ends.load(Ordering::Relaxed);
            if fast && exact {
                self.successes.bump();
                return;
            }
        }
        self.tell(ticket, verdict, time.ran());
    }

    /// The head of a probe's response is there, so many after its call, and its outcome will be known later.
    #[cold]
    pub(crate) fn answered(&self, ticket: Ticket, ran: Duration) {
        let now = now();
        let machine = self.lock();
        if ticket.epoch() >= machine.since {
            self.act(machine, now, |breaker, now| {
                ((), breaker.answered(now, ticket, ran, random()))
            });
        }
    }

    #[cold]
    fn tell(&self, ticket: Ticket, verdict: Verdict, ran: Duration) {
        let now = now();
        let machine = self.lock();
        if ticket.epoch() < machine.since {
            // A call of an earlier circuit. Not even its time is told: it may be that of another clock.
            return;
        }
        self.tally.told(verdict.outcome());
        let limit = context::own_limit();
        let evident = match verdict.outcome() {
            // How long a success took to be sent says nothing of how long an answer takes.
            Outcome::Cancelled | Outcome::Success => context::answerable(ran),
            _ => ran,
        };
        self.act(machine, now, |breaker, now| {
            let outcome = breaker.weigh(now, verdict.outcome(), evident, limit);
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
        let before = self.lock().before;
        self.tally
            .with_plain(self.successes.sum().wrapping_sub(before))
    }

    /// The breaker as it is, how long it has been in its state, and its newest changes.
    pub(super) fn look(&self) -> (View, Duration, Vec<Change>) {
        let now = now();
        let mut machine = self.lock();
        self.credit(&mut machine);
        let view = machine.breaker.snapshot(now);
        self.publish(&machine.breaker.front());
        let (since, changes) = machine.history.tell(now);
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
        self.lock().state.subscribe()
    }

    /// Does something with the machine when it is up to date, says what may be done without it from then on, and tells of
    /// a change of state when the lock is free again.
    fn with<R>(&self, act: impl FnOnce(&mut Breaker, Duration) -> (R, Option<Transition>)) -> R {
        let now = now();
        self.act(self.lock(), now, act)
    }

    fn act<R>(
        &self,
        mut machine: MutexGuard<'_, Machine>,
        now: Duration,
        act: impl FnOnce(&mut Breaker, Duration) -> (R, Option<Transition>),
    ) -> R {
        self.credit(&mut machine);
        let (result, transition) = act(&mut machine.breaker, now);
        self.publish(&machine.breaker.front());
        let epoch = machine.breaker.front().epoch;
        if transition.is_some() {
            // What was counted meanwhile belongs to the state that is over.
            machine.credited = self.successes.sum();
        }
        if let Some(transition) = &transition {
            machine.history.add(now, transition);
        }
        drop(machine);
        if let Some(transition) = transition {
            self.announce(epoch, transition);
        }
        result
    }

    /// Brings the machine up to date.
    fn credit(&self, machine: &mut Machine) {
        let counted = self.successes.sum();
        let news = counted.wrapping_sub(machine.credited);
        machine.breaker.credit(news);
        machine.credited = counted;
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
    fn announce(&self, epoch: u64, transition: Transition) {
        let sender = self.lock().state.clone();
        sender.send_if_modified(|state| {
            // What it is now: of two changes that are announced at once, the later one wins.
            let current = self.lock().breaker.state();
            std::mem::replace(state, current) != current
        });
        self.tell_and_log(epoch, || EventKind::Transition(transition.clone()));
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now() -> Duration {
    Moment::now().since_beginning()
}

#[cfg(test)]
mod tests;
