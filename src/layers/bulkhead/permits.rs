//! The permits of a bulkhead and its queue.
//!
//! While no call waits, acquiring and releasing a permit are one atomic operation each, without the
//! queue's lock. While calls wait, a released permit goes directly to the first waiter. The count
//! of calls in flight does not change then, so no new call can overtake the queue.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::settings::Settings;
use super::word::{ADMISSION, CALL, HAS_WAITERS, MAX_ADMISSIONS, admissions, admit, in_flight};
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
use crate::observe::snapshot::{LockedTally, MOST_CALLS, Outcomes, limited};
use crate::runtime::Moment;
use crate::runtime::deferred;
use crate::runtime::isolate::isolate;
use crate::runtime::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::runtime::sync::{Mutex, MutexGuard};
use crate::vocabulary::context;
use crate::vocabulary::mode::Mode;
use crate::vocabulary::priority::Priority;
use crate::vocabulary::{
    config::ConfigError,
    outcome::{Outcome, Verdict},
    reason::Reason,
};

/// The highest number of a waiter in its class. Three bits are left for the class.
const MAX_SERIAL: u64 = u64::MAX >> 3;

/// The highest limit of the queue.
pub(crate) const MAX_WAITERS: u32 = (1 << 20) - 1;

pub(crate) struct Permits {
    /// See [`word`](super::word).
    word: AtomicU64,
    /// In every mode.
    limit: AtomicU32,
    mode: AtomicU32,
    /// Whether the type of its services allows a queue.
    can_queue: bool,
    queue: Mutex<Waiters>,
    pub(crate) emitter: Emitter,
    tally: LockedTally,
}

/// The counts of all calls of a bulkhead.
pub(super) struct Books {
    pub(super) in_flight: u32,
    pub(super) waiting: usize,
    pub(super) outcomes: Outcomes,
    pub(super) given_up: u64,
}

struct Waiters {
    settings: Settings,
    next: u64,
    /// In the order of their [positions](position). A waiter that is no longer in it has acquired a
    /// permit.
    waiting: BTreeMap<u64, Waker>,
    /// How often the count of admissions wrapped.
    wraps: u64,
    /// Admissions whose call never started.
    unused: u64,
    /// Calls given up before they were admitted.
    given_up: u64,
}

impl Permits {
    pub(super) fn new(settings: Settings, can_queue: bool, emitter: Emitter) -> Self {
        Self {
            word: AtomicU64::new(0),
            limit: AtomicU32::new(settings.most()),
            mode: AtomicU32::new(settings.mode as u32),
            can_queue,
            queue: Mutex::new(Waiters {
                settings,
                next: 0,
                waiting: BTreeMap::new(),
                wraps: 0,
                unused: 0,
                given_up: 0,
            }),
            emitter,
            tally: LockedTally::new(),
        }
    }

    #[inline]
    pub(crate) fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn in_flight(&self) -> u32 {
        in_flight(self.word.load(Ordering::Relaxed))
    }

    pub(super) fn mode(&self) -> Mode {
        Mode::from_bits(self.mode.load(Ordering::Relaxed))
    }

    /// The limit of calls in the queue; 0 without a queue.
    pub(crate) fn queue_limit(&self) -> u32 {
        self.lock().limit()
    }

    pub(crate) fn waiting(&self) -> u32 {
        u32::try_from(self.lock().waiting.len()).unwrap_or(u32::MAX)
    }

    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.in_flight() >= self.limit()
    }

    /// Acquires a permit if one is free.
    #[inline]
    pub(crate) fn try_acquire(&self) -> bool {
        let limit = self.limit();
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            // No permit is free while calls wait, so the queue needs no check here.
            if in_flight(word) >= limit {
                return false;
            }
            if admissions(word) == MAX_ADMISSIONS {
                return self.acquire_and_wrap();
            }
            // Adding first and subtracting an excess would reject other calls without need.
            match self.word.compare_exchange_weak(
                word,
                word + ADMISSION + CALL,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(current) => word = current,
            }
        }
    }

    /// Acquires a permit and wraps the count of admissions, once in half a trillion calls.
    #[cold]
    fn acquire_and_wrap(&self) -> bool {
        let mut queue = self.lock();
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if in_flight(word) >= self.limit() {
                return false;
            }
            let (next, wraps) = admit(word);
            match self.word.compare_exchange_weak(
                word,
                next + CALL,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    queue.wraps += u64::from(wraps);
                    return true;
                }
                Err(current) => word = current,
            }
        }
    }

    /// Acquires a permit or joins the queue. `None` if the queue is full. The waker is a clone, so
    /// no foreign code runs under the lock.
    #[cold]
    fn acquire_or_queue(&self, waker: Waker) -> Option<Joined> {
        let mut queue = self.lock();
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let (next, wraps, joined) = if in_flight(word) < queue.most_in_flight() {
                let (next, wraps) = admit(word);
                (next + CALL, wraps, Joined::Permit)
            } else if (queue.waiting.len() as u64) < queue.limit().into() {
                let position = position(context::priority(), queue.next);
                (word | HAS_WAITERS, false, Joined::Waiter(position))
            } else {
                break None;
            };
            // If a permit is released meanwhile, this fails and the loop sees it.
            match self
                .word
                .compare_exchange_weak(word, next, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => {
                    queue.wraps += u64::from(wraps);
                    if let Joined::Waiter(number) = joined {
                        queue.next = queue.next.wrapping_add(1) & MAX_SERIAL;
                        queue.waiting.insert(number, waker);
                        return Some(joined);
                    }
                    break Some(joined);
                }
                Err(current) => word = current,
            }
        }
    }

    /// Whether a waiter has acquired a permit. If not, this waker wakes it.
    fn poll_waiter(&self, number: u64, cx: &mut Context<'_>) -> Poll<()> {
        // Wakers are foreign code, so they are cloned and dropped outside the lock.
        let mut new = None;
        loop {
            let mut queue = self.lock();
            let Some(waker) = queue.waiting.get_mut(&number) else {
                return Poll::Ready(());
            };
            if let Some(new) = new.take() {
                let old = std::mem::replace(waker, new);
                drop(queue);
                drop(old);
                return Poll::Pending;
            }
            if waker.will_wake(cx.waker()) {
                return Poll::Pending;
            }
            drop(queue);
            new = Some(cx.waker().clone());
        }
    }

    /// Removes a waiter from the queue. If it has already acquired a permit, releases that.
    fn leave_queue(&self, number: u64) {
        let mut queue = self.lock();
        let waker = queue.waiting.remove(&number);
        if waker.is_some() && queue.waiting.is_empty() {
            self.word.fetch_and(!HAS_WAITERS, Ordering::Relaxed);
        }
        drop(queue);
        if waker.is_none() {
            Queue::release_unused(self);
        }
    }

    /// Releases a permit, to the first waiter if there is one.
    #[inline]
    fn release_permit(&self) {
        if !self.release_without_waiter() {
            self.release_to_waiter();
        }
    }

    /// Releases a permit unless a call waits.
    #[inline]
    fn release_without_waiter(&self) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        while word & HAS_WAITERS == 0 {
            match self.word.compare_exchange_weak(
                word,
                word.saturating_sub(CALL),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(current) => word = current,
            }
        }
        false
    }

    #[cold]
    fn release_to_waiter(&self) {
        let waker = self.release_in(&mut self.lock());
        wake(waker);
    }

    /// Releases a permit under the lock. Returns the waker of the waiter that has acquired it, which
    /// is foreign code, to be used outside the lock.
    fn release_in(&self, queue: &mut Waiters) -> Option<Waker> {
        let mut word = self.word.load(Ordering::Relaxed);
        // After the limit was lowered, permits are not passed on until enough calls have left. While
        // calls wait, no other thread admits one.
        let is_over = in_flight(word) > queue.most_in_flight();
        let first = if is_over {
            None
        } else {
            queue.waiting.pop_first()
        };
        let last = queue.waiting.is_empty();
        let wraps = loop {
            let (next, wraps) = if first.is_none() {
                (word.saturating_sub(CALL), false)
            } else {
                // The permit goes to the waiter, so the count of calls in flight stays.
                let (admitted, wraps) = admit(word);
                let left = if last { HAS_WAITERS } else { 0 };
                (admitted & !left, wraps)
            };
            match self
                .word
                .compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => break wraps,
                Err(current) => word = current,
            }
        };
        queue.wraps += u64::from(wraps);
        first.map(|(_, waker)| waker)
    }

    /// Decides on a call over the limit.
    #[cold]
    fn admit_over_limit(&self) -> Result<Ticket, Refusal> {
        let mode = self.mode();
        if mode == Mode::Enforce {
            return Err(Reason::Full.into());
        }
        let mut queue = self.lock();
        let mut word = self.word.load(Ordering::Relaxed);
        while in_flight(word) < MOST_CALLS {
            let (next, wraps) = admit(word);
            match self.word.compare_exchange_weak(
                word,
                next + CALL,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    queue.wraps += u64::from(wraps);
                    let settings = &queue.settings;
                    let would_wait = in_flight(word).saturating_sub(settings.most());
                    let is_full = would_wait >= queue.limit();
                    drop(queue);
                    if mode == Mode::Shadow && is_full {
                        self.would_reject(Reason::Full, None);
                    }
                    return Ok(Ticket::NONE);
                }
                Err(current) => word = current,
            }
        }
        Err(Reason::Full.into())
    }

    /// Admits waiters while there are permits. Returns their wakers, which are foreign code, to be
    /// used outside the lock.
    fn admit_waiters(&self, queue: &mut Waiters) -> Vec<Waker> {
        let mut wakers = Vec::new();
        let mut word = self.word.load(Ordering::Relaxed);
        while !queue.waiting.is_empty() && in_flight(word) < queue.most_in_flight() {
            let (admitted, wraps) = admit(word);
            let left = if queue.waiting.len() == 1 {
                HAS_WAITERS
            } else {
                0
            };
            match self.word.compare_exchange_weak(
                word,
                (admitted + CALL) & !left,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    queue.wraps += u64::from(wraps);
                    wakers.extend(queue.waiting.pop_first().map(|(_, waker)| waker));
                    word = self.word.load(Ordering::Relaxed);
                }
                Err(current) => word = current,
            }
        }
        wakers
    }

    /// The counts of all calls at one moment.
    pub(super) fn books(&self) -> Books {
        let (outcomes, books) = self.tally.of_all(|| {
            let queue = self.lock();
            let word = self.word.load(Ordering::Relaxed);
            let admitted = queue.wraps * (MAX_ADMISSIONS + 1) + admissions(word);
            let books = Books {
                in_flight: in_flight(word),
                waiting: queue.waiting.len(),
                outcomes: Outcomes::default(),
                given_up: queue.given_up,
            };
            let not_over = queue.unused + u64::from(books.in_flight);
            (admitted.saturating_sub(not_over), books)
        });
        Books { outcomes, ..books }
    }

    fn lock(&self) -> MutexGuard<'_, Waiters> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Emit for Permits {
    #[inline]
    fn emitter(&self) -> &Emitter {
        &self.emitter
    }

    fn set_gauges(&self, handles: &Handles) {
        if self.emitter.differs_from_metrics() {
            return;
        }
        let limit = limited(self.limit());
        handles.limit(limit.filter(|_| self.mode() != Mode::Off));
    }
}

impl Admit for Permits {
    #[inline]
    fn refuses(&self) -> Option<Reason> {
        (self.is_full() && self.mode() == Mode::Enforce).then_some(Reason::Full)
    }

    #[inline]
    fn admit(&self, _: &mut Entry) -> Result<Ticket, Refusal> {
        if self.try_acquire() {
            Ok(Ticket::NONE)
        } else {
            self.admit_over_limit()
        }
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn settle(&self, _: &Ticket, verdict: Verdict) {
        self.emit(|| EventKind::Settled {
            outcome: verdict.outcome(),
            latency: None,
            slow: false,
        });
    }

    #[inline]
    fn release(&self, _: &Ticket) {
        self.release_permit();
    }

    #[cold]
    fn release_as(&self, _: &Ticket, outcome: Outcome) {
        let waker = self.tally.record_end(outcome, || {
            if self.release_without_waiter() {
                return None;
            }
            self.release_in(&mut self.lock())
        });
        wake(waker);
    }
}

impl Waiters {
    /// The most calls in flight that are admitted now.
    fn most_in_flight(&self) -> u32 {
        match self.settings.mode {
            Mode::Enforce => self.settings.most(),
            Mode::Shadow | Mode::Off => MOST_CALLS,
        }
    }

    /// The most calls in the queue.
    fn limit(&self) -> u32 {
        let queue = self.settings.queue.as_ref();
        queue.map_or(0, |queue| queue.calls.min(MAX_WAITERS))
    }
}

impl Adjust for Permits {
    type Settings = Settings;

    fn settings(&self) -> Settings {
        self.lock().settings.clone()
    }

    fn check(&self, settings: &Settings) -> Result<(), ConfigError> {
        <Self as Instance>::check(&self.can_queue, settings)
    }

    fn put(&self, before: &Settings, new: &Settings) -> bool {
        let mut queue = self.lock();
        if queue.settings != *before {
            return false;
        }
        queue.settings = new.clone();
        self.limit.store(new.most(), Ordering::Relaxed);
        self.mode.store(new.mode as u32, Ordering::Relaxed);
        self.emitter.set_measured(new.mode != Mode::Off);
        let wakers = self.admit_waiters(&mut queue);
        drop(queue);
        wakers.into_iter().for_each(deferred::wake);
        true
    }
}

impl Queue for Permits {
    fn max_wait(&self) -> Option<Duration> {
        let queue = self.lock();
        queue.settings.queue.as_ref().map(|queue| queue.max_wait)
    }

    fn join(&self, _: Moment, waker: Waker) -> Result<Joined, Refusal> {
        self.acquire_or_queue(waker).ok_or(Reason::Full.into())
    }

    fn poll_turn(
        &self,
        waiter: u64,
        cx: &mut Context<'_>,
        _: &mut dyn FnMut(&mut Context<'_>) -> bool,
    ) -> Result<(), Moment> {
        match self.poll_waiter(waiter, cx) {
            Poll::Ready(()) => Ok(()),
            Poll::Pending => Err(Moment::NEVER),
        }
    }

    fn leave(&self, waiter: u64) {
        self.leave_queue(waiter);
    }

    #[cold]
    fn release_unused(&self) {
        let mut queue = self.lock();
        queue.unused += 1;
        let waker = self.release_in(&mut queue);
        drop(queue);
        wake(waker);
    }

    #[cold]
    fn gave_up(&self, waited: Duration) {
        self.lock().given_up += 1;
        self.emitter.look_again();
        self.emit(|| EventKind::GivenUp { waited });
    }

    fn max_wait_passed(&self, _: u64) -> Refusal {
        Reason::QueueTimeout.into()
    }
}

/// The position of a waiter: higher classes first, and in a class the order of arrival.
const fn position(priority: Priority, serial: u64) -> u64 {
    let class = Priority::Critical as u64 - priority as u64;
    class << MAX_SERIAL.count_ones() | serial
}

/// A waker is foreign code: if it panics, the caller goes on.
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        isolate(|| waker.wake());
    }
}

#[cfg(mainstay_loom)]
pub(crate) mod models;

#[cfg(test)]
mod tests;
