//! The permits of a bulkhead and its queue.
//!
//! While no call waits, acquiring and releasing a permit are one atomic operation each, without the
//! queue's lock. While calls wait, a released permit goes directly to the first waiter. The count
//! of calls in flight does not change then, so no new call can overtake the queue.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::layer::Settings;
use super::word::{ADMISSION, CALL, HAS_WAITERS, MAX_ADMISSIONS, admissions, admit, in_flight};
use crate::call::admit::{Admit, Refusal};
use crate::call::entry::Entry;
use crate::call::ticket::Ticket;
use crate::layers::admission::{Joined, Queue};
use crate::observe::emit::Emit;
use crate::observe::emitter::Emitter;
use crate::observe::event::EventKind;
use crate::observe::meter::Handles;
use crate::observe::snapshot::{MOST_CALLS, Outcomes, Tally, limited};
use crate::runtime::Moment;
use crate::runtime::isolate::isolate;
use crate::runtime::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::runtime::sync::{Mutex, MutexGuard};
use crate::vocabulary::{
    outcome::{Outcome, Verdict},
    reason::Reason,
};

/// The highest limit of the queue.
pub(crate) const MAX_WAITERS: u32 = (1 << 20) - 1;

#[allow(missing_debug_implementations, reason = "users cannot obtain one")]
pub struct Permits {
    /// See [`word`](super::word).
    word: AtomicU64,
    limit: AtomicU32,
    queue_limit: AtomicU32,
    queue: Mutex<Waiters>,
    pub(crate) emitter: Emitter,
    tally: Tally,
}

struct Waiters {
    next: u64,
    /// In the order of arrival. A waiter that is no longer in it has acquired a permit.
    waiting: BTreeMap<u64, Waker>,
    /// How often the count of admissions wrapped.
    wraps: u64,
    /// Admissions whose call never started.
    unused: u64,
    /// Calls given up before they were admitted.
    given_up: u64,
}

impl Permits {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            word: AtomicU64::new(0),
            limit: AtomicU32::new(settings.limit.min(MOST_CALLS)),
            queue_limit: AtomicU32::new(settings.queue.min(MAX_WAITERS)),
            queue: Mutex::new(Waiters {
                next: 0,
                waiting: BTreeMap::new(),
                wraps: 0,
                unused: 0,
                given_up: 0,
            }),
            emitter: Emitter::measured(
                &super::layer::KIND,
                settings.instance,
                settings.observer,
                settings.is_on,
            ),
            tally: Tally::new(),
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

    pub(crate) fn queue_limit(&self) -> u32 {
        self.queue_limit.load(Ordering::Relaxed)
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
            let (next, wraps, joined) = if in_flight(word) < self.limit() {
                let (next, wraps) = admit(word);
                (next + CALL, wraps, Joined::Permit)
            } else if (queue.waiting.len() as u64) < self.queue_limit().into() {
                (word | HAS_WAITERS, false, Joined::Waiter(queue.next))
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
                        queue.next = number.wrapping_add(1);
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
        let mut word = self.word.load(Ordering::Relaxed);
        while word & HAS_WAITERS == 0 {
            match self.word.compare_exchange_weak(
                word,
                word.saturating_sub(CALL),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(current) => word = current,
            }
        }
        self.release_to_waiter();
    }

    pub(super) fn given_up(&self) -> u64 {
        self.lock().given_up
    }

    /// The outcomes of calls that are over.
    pub(super) fn outcomes(&self) -> Outcomes {
        let queue = self.lock();
        let word = self.word.load(Ordering::Relaxed);
        let before = queue.wraps * (MAX_ADMISSIONS + 1);
        let not_over = queue.unused + u64::from(in_flight(word));
        drop(queue);
        let admitted = before + admissions(word);
        self.tally.of_all(admitted.saturating_sub(not_over))
    }

    #[cold]
    fn release_to_waiter(&self) {
        let mut queue = self.lock();
        let Some((_, waker)) = queue.waiting.pop_first() else {
            // The waiters have left meanwhile.
            drop(queue);
            return self.release_permit();
        };
        // The permit goes to the waiter, so the count of calls in flight stays.
        let last = queue.waiting.is_empty();
        let mut word = self.word.load(Ordering::Relaxed);
        let wraps = loop {
            let (admitted, wraps) = admit(word);
            let next = if last {
                admitted & !HAS_WAITERS
            } else {
                admitted
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
        drop(queue);
        isolate(|| waker.wake());
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
        handles.limit(limited(self.limit()));
    }
}

impl Admit for Permits {
    #[inline]
    fn refuses(&self) -> Option<Reason> {
        self.is_full().then_some(Reason::Full)
    }

    #[inline]
    fn admit(&self, _: &mut Entry) -> Result<Ticket, Refusal> {
        if self.try_acquire() {
            Ok(Ticket::NONE)
        } else {
            Err(Reason::Full.into())
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

    fn ended(&self, outcome: Outcome) {
        self.tally.record(outcome);
    }

    #[inline]
    fn release(&self, _: &Ticket) {
        self.release_permit();
    }
}

impl Queue for Permits {
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
        self.lock().unused += 1;
        self.release_permit();
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

#[cfg(mainstay_loom)]
pub(crate) mod models;

#[cfg(test)]
mod tests;
