//! The state of a rate limit.

use std::sync::PoisonError;
use std::task::{Context, Waker};
use std::time::Duration;

use super::queue::WaitQueue;
use super::settings::Settings;
use crate::call::admit::{Admit, Refusal};
use crate::call::entry::Entry;
use crate::call::ticket::Ticket;
use crate::layers::admission::{Joined, Queue};
use crate::layers::handle::Adjust;
use crate::layers::keyed::Instance;
use crate::observe::emit::Emit;
use crate::observe::emitter::Emitter;
use crate::observe::event::EventKind;
use crate::observe::meter::Handles;
use crate::observe::snapshot::{Outcomes, Tally};
use crate::policy::rate_limit::{Rate, RateLimit};
use crate::runtime::Moment;
use crate::runtime::striped::Striped;
use crate::runtime::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::runtime::sync::{Mutex, MutexGuard};
use crate::vocabulary::{
    config::ConfigError,
    mode::Mode,
    outcome::{Outcome, Verdict},
    reason::Reason,
};

pub(crate) struct Limiter {
    mode: AtomicU32,
    settings: Mutex<Settings>,
    /// Whether the type of its services allows calls to wait.
    can_queue: bool,
    limit: RateLimit,
    /// A call was refused, and no permit has been available since. Only then does `poll_ready` read
    /// the clock.
    refuses: AtomicBool,
    /// Empty without `max_wait`.
    pub(super) queue: WaitQueue,
    given_up: AtomicU64,
    pub(super) emitter: Emitter,
    successes: Striped,
    tally: Tally,
}

impl Limiter {
    pub(super) fn new(settings: Settings, can_queue: bool, emitter: Emitter) -> Self {
        Self {
            mode: AtomicU32::new(settings.mode as u32),
            limit: RateLimit::new(&settings.rate()),
            settings: Mutex::new(settings),
            can_queue,
            refuses: AtomicBool::new(false),
            queue: WaitQueue::default(),
            given_up: AtomicU64::new(0),
            emitter,
            successes: Striped::new(),
            tally: Tally::new(),
        }
    }

    #[inline]
    pub(super) fn mode(&self) -> Mode {
        Mode::from_bits(self.mode.load(Ordering::Relaxed))
    }

    /// The permits per period and the burst.
    pub(super) fn rate(&self) -> Rate {
        self.lock().rate()
    }

    fn lock(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides on a call without a permit, whose wait for one is known.
    #[cold]
    fn admit_over_limit(&self, refusal: Refusal) -> Result<Ticket, Refusal> {
        match self.mode() {
            Mode::Enforce => Err(refusal),
            Mode::Shadow => {
                let wait = refusal.retry_after.unwrap_or_default();
                let waits = self.max_wait().is_some_and(|max_wait| wait <= max_wait);
                if !waits {
                    self.would_reject(refusal.reason, refusal.retry_after);
                }
                Ok(Ticket::NONE)
            }
            Mode::Off => Ok(Ticket::NONE),
        }
    }

    /// The current time. If the clock went back, the limit follows.
    #[inline]
    pub(super) fn now(&self) -> Moment {
        let tat = self.limit.tat();
        let now = Moment::now();
        self.limit.catch_up(tat, now.to_bits());
        now
    }

    /// The entry time of a call, which an outer layer may have read a while ago. If other calls have
    /// moved the limit on since, the clock is read again.
    #[inline]
    fn at(&self, entry: &mut Entry) -> Moment {
        let now = entry.now();
        if self.limit.is_ahead_of(now.to_bits()) {
            self.now()
        } else {
            now
        }
    }

    /// The permits that are available now.
    pub(super) fn available(&self) -> u32 {
        self.limit.available(self.now().to_bits()).0
    }

    /// The outcomes of admitted calls that are over.
    pub(super) fn outcomes(&self) -> Outcomes {
        self.tally.with_plain(self.successes.sum())
    }

    /// The calls given up while they waited.
    pub(super) fn given_up(&self) -> u64 {
        self.given_up.load(Ordering::Relaxed)
    }

    /// The time until a new call is admitted, zero if it is admitted at once.
    fn wait(&self) -> Duration {
        self.limit.wait(self.now().to_bits(), self.queue.len())
    }

    /// Acquires a permit. The error is the time until there is one.
    pub(super) fn acquire(&self, now: Moment) -> Result<(), Duration> {
        self.limit.try_acquire(now.to_bits())
    }

    /// The refusal of a call that a permit would admit behind this number of calls.
    fn refusal_behind(&self, now: Moment, ahead: u32) -> Refusal {
        let wait = self.limit.wait(now.to_bits(), ahead);
        Refusal {
            reason: Reason::RateLimited,
            retry_after: Some(wait).filter(|wait| !wait.is_zero()),
        }
    }
}

impl Emit for Limiter {
    #[inline]
    fn emitter(&self) -> &Emitter {
        &self.emitter
    }

    fn set_gauges(&self, _: &Handles) {}
}

impl Admit for Limiter {
    const HOLDS_PERMIT: bool = false;

    #[inline]
    fn is_off(&self) -> bool {
        self.mode() == Mode::Off
    }

    #[inline]
    fn refuses(&self) -> Option<Reason> {
        if !self.refuses.load(Ordering::Relaxed) {
            return None;
        }
        if self.mode() != Mode::Enforce || self.wait().is_zero() {
            self.refuses.store(false, Ordering::Relaxed);
            return None;
        }
        Some(Reason::RateLimited)
    }

    #[inline]
    fn admit(&self, entry: &mut Entry) -> Result<Ticket, Refusal> {
        if self.is_off() {
            return Ok(Ticket::NONE);
        }
        // No new call overtakes the queue.
        if self.queue.len() > 0 {
            let refusal = self.refusal_behind(self.now(), self.queue.len());
            return self.admit_over_limit(refusal);
        }
        match self.acquire(self.at(entry)) {
            Ok(()) => Ok(Ticket::NONE),
            Err(wait) => {
                if self.mode() == Mode::Enforce {
                    self.refuses.store(true, Ordering::Relaxed);
                }
                self.admit_over_limit(Refusal {
                    reason: Reason::RateLimited,
                    retry_after: Some(wait),
                })
            }
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        Some(self.wait()).filter(|wait| !wait.is_zero())
    }

    #[inline]
    fn settle(&self, _: &Ticket, verdict: Verdict) {
        let outcome = verdict.outcome();
        if outcome == Outcome::Success {
            self.successes.increment();
        }
        self.emit(|| EventKind::Settled {
            outcome,
            latency: None,
            slow: false,
        });
    }

    #[inline]
    fn release(&self, _: &Ticket) {}

    #[cold]
    fn release_as(&self, _: &Ticket, outcome: Outcome) {
        self.tally.record(outcome);
    }
}

impl Adjust for Limiter {
    type Settings = Settings;

    fn settings(&self) -> Settings {
        self.lock().clone()
    }

    fn in_force(mut settings: Settings) -> Settings {
        settings.burst.get_or_insert(settings.permits);
        settings
    }

    fn check(&self, settings: &Settings) -> Result<(), ConfigError> {
        <Self as Instance>::check(&self.can_queue, settings)
    }

    fn put(&self, before: &Settings, new: &Settings) -> bool {
        let now = self.now();
        let mut settings = self.lock();
        if *settings != *before {
            return false;
        }
        if settings.rate() != new.rate() {
            self.limit.set_rate(&new.rate(), now.to_bits());
        }
        self.mode.store(new.mode as u32, Ordering::Relaxed);
        self.emitter.set_measured(new.mode != Mode::Off);
        settings.clone_from(new);
        drop(settings);
        // It may now have a permit, or an earlier one. When it leaves, it wakes the next one.
        self.queue.wake_first();
        true
    }
}

impl Queue for Limiter {
    fn max_wait(&self) -> Option<Duration> {
        self.lock().max_wait
    }

    fn join(&self, until: Moment, waker: Waker) -> Result<Joined, Refusal> {
        let now = self.now();
        let waiter = self.queue.join(waker, now, until, |ahead| {
            let wait = self.limit.wait(now.to_bits(), ahead);
            if wait.is_zero() || now.after(wait) <= until {
                return Ok(());
            }
            Err(Refusal {
                reason: Reason::RateLimited,
                retry_after: Some(wait),
            })
        })?;
        Ok(Joined::Waiter(waiter))
    }

    fn poll_turn(
        &self,
        waiter: u64,
        cx: &mut Context<'_>,
        is_ready: &mut dyn FnMut(&mut Context<'_>) -> bool,
    ) -> Result<(), Moment> {
        self.queue.is_first(waiter, self.now(), cx.waker())?;
        // A permit that waits for the inner service would be used later than it was given out, and
        // together with those after it.
        if !is_ready(cx) {
            return Err(Moment::NEVER);
        }
        let now = self.now();
        let acquired = self.acquire(now);
        if self.mode() == Mode::Enforce {
            acquired.map_err(|wait| now.after(wait))?;
        }
        self.queue.leave(waiter);
        Ok(())
    }

    fn leave(&self, waiter: u64) {
        self.queue.leave(waiter);
    }

    #[cold]
    fn gave_up(&self, waited: Duration) {
        self.given_up.fetch_add(1, Ordering::Relaxed);
        self.emitter.look_again();
        self.emit(|| EventKind::GivenUp { waited });
    }

    fn max_wait_passed(&self, waiter: u64) -> Refusal {
        let now = self.now();
        self.refusal_behind(now, self.queue.others(waiter, now))
    }
}

#[cfg(test)]
mod tests;
