//! The places of a bulkhead, and the queue for them.
//!
//! One word holds how many calls are in flight and how many wait. As long as nobody waits, taking and giving back
//! are one atomic operation each and the queue is never touched. While somebody waits, a place that becomes
//! free is not free at all: it is handed to the first in the queue, so the count of calls in flight
//! stays where it is and a newcomer cannot slip in.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::layer::Settings;
use super::word::{ADMISSION, ADMISSIONS, CALL, WAITS, admissions, admit, in_flight};
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
use crate::runtime::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::runtime::sync::{Mutex, MutexGuard};
use crate::vocabulary::{
    outcome::{Outcome, Verdict},
    reason::Reason,
};

/// The most calls that can wait.
pub(crate) const MOST_WAITERS: u32 = (1 << 20) - 1;

#[allow(
    missing_debug_implementations,
    reason = "nobody outside can get hold of one"
)]
pub struct Places {
    /// Whether any call waits, how many were ever admitted, and how many are in flight.
    word: AtomicU64,
    limit: AtomicU32,
    queue_limit: AtomicU32,
    queue: Mutex<Waiters>,
    pub(crate) emitter: Emitter,
    tally: Tally,
}

/// The waiters, in the order of arrival. One that is not in it any more has been handed a permit.
struct Waiters {
    next: u64,
    waiting: BTreeMap<u64, Waker>,
    /// How often the count of admissions began again.
    begun_again: u64,
    /// Of how many admissions nothing came: whoever was handed the place had gone.
    unused: u64,
    /// How many calls were given up before they were admitted.
    given_up: u64,
}

impl Places {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            word: AtomicU64::new(0),
            limit: AtomicU32::new(settings.limit.min(MOST_CALLS)),
            queue_limit: AtomicU32::new(settings.queue.min(MOST_WAITERS)),
            queue: Mutex::new(Waiters {
                next: 0,
                waiting: BTreeMap::new(),
                begun_again: 0,
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

    /// Takes a place if one is free.
    #[inline]
    pub(crate) fn try_take(&self) -> bool {
        let limit = self.limit();
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            // A place is never free while somebody waits for it, so the waiters need no look here.
            if in_flight(word) >= limit {
                return false;
            }
            if admissions(word) == ADMISSIONS {
                return self.take_anew();
            }
            // Taking first and giving back when it was one too many would reject others for nothing.
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

    /// The count of admissions begins again: once in half a trillion calls.
    #[cold]
    fn take_anew(&self) -> bool {
        let mut queue = self.lock();
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if in_flight(word) >= self.limit() {
                return false;
            }
            let (next, begins) = admit(word);
            match self.word.compare_exchange_weak(
                word,
                next + CALL,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    queue.begun_again += u64::from(begins);
                    return true;
                }
                Err(current) => word = current,
            }
        }
    }

    /// Acquires a permit, or joins the queue; `None` if the queue is full. The waker is the caller's own
    /// clone: nobody else's code runs under the lock.
    #[cold]
    pub(crate) fn take_or_wait(&self, waker: Waker) -> Option<Joined> {
        let mut queue = self.lock();
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let (next, begins, taken) = if in_flight(word) < self.limit() {
                let (next, begins) = admit(word);
                (next + CALL, begins, Joined::Permit)
            } else if (queue.waiting.len() as u64) < self.queue_limit().into() {
                (word | WAITS, false, Joined::Waiter(queue.next))
            } else {
                break None;
            };
            // A place that is given back meanwhile makes this fail, and is then seen.
            match self
                .word
                .compare_exchange_weak(word, next, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => {
                    queue.begun_again += u64::from(begins);
                    if let Joined::Waiter(number) = taken {
                        queue.next = number.wrapping_add(1);
                        queue.waiting.insert(number, waker);
                        return Some(taken);
                    }
                    break Some(taken);
                }
                Err(current) => word = current,
            }
        }
    }

    /// Ready when the waiting call has been handed a place; if not, it will be woken by this waker.
    pub(crate) fn poll_handed(&self, number: u64, cx: &mut Context<'_>) -> Poll<()> {
        // It is cloned and dropped outside the lock: a waker is somebody else's code.
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

    /// The waiting call goes away. A place it had just been handed goes to the next one.
    pub(crate) fn leave_queue(&self, number: u64) {
        let mut queue = self.lock();
        let waker = queue.waiting.remove(&number);
        if waker.is_some() && queue.waiting.is_empty() {
            self.word.fetch_and(!WAITS, Ordering::Relaxed);
        }
        drop(queue);
        if waker.is_none() {
            self.give_back_unused();
        }
    }

    /// Gives a place back: to the first who waits, or else to whoever comes.
    #[inline]
    pub(crate) fn give_back(&self) {
        let mut word = self.word.load(Ordering::Relaxed);
        while word & WAITS == 0 {
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
        self.hand_over();
    }

    /// The same for a place of which nothing came.
    #[cold]
    pub(crate) fn give_back_unused(&self) {
        self.lock().unused += 1;
        self.give_back();
    }

    pub(super) fn given_up(&self) -> u64 {
        self.lock().given_up
    }

    /// How the calls went that are over.
    pub(super) fn outcomes(&self) -> Outcomes {
        let queue = self.lock();
        let word = self.word.load(Ordering::Relaxed);
        let before = queue.begun_again * (ADMISSIONS + 1);
        let not_over = queue.unused + u64::from(in_flight(word));
        drop(queue);
        let admitted = before + admissions(word);
        self.tally.of_all(admitted.saturating_sub(not_over))
    }

    #[cold]
    fn hand_over(&self) {
        let mut queue = self.lock();
        let Some((_, waker)) = queue.waiting.pop_first() else {
            // Whoever waited has left meanwhile.
            drop(queue);
            return self.give_back();
        };
        // The place stays taken, by the one who waited.
        let last = queue.waiting.is_empty();
        let mut word = self.word.load(Ordering::Relaxed);
        let begins = loop {
            let (admitted, begins) = admit(word);
            let next = if last { admitted & !WAITS } else { admitted };
            match self
                .word
                .compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => break begins,
                Err(current) => word = current,
            }
        };
        queue.begun_again += u64::from(begins);
        drop(queue);
        waker.wake();
    }

    fn lock(&self) -> MutexGuard<'_, Waiters> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Emit for Places {
    #[inline]
    fn emitter(&self) -> &Emitter {
        &self.emitter
    }

    fn set_gauges(&self, handles: &Handles) {
        handles.limit(limited(self.limit()));
    }
}

impl Admit for Places {
    #[inline]
    fn refuses(&self) -> Option<Reason> {
        self.is_full().then_some(Reason::Full)
    }

    #[inline]
    fn admit(&self, _: &mut Entry) -> Result<Ticket, Refusal> {
        if self.try_take() {
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
        self.give_back();
    }
}

impl Queue for Places {
    fn join(&self, _: Moment, waker: Waker) -> Result<Joined, Refusal> {
        self.take_or_wait(waker).ok_or(Reason::Full.into())
    }

    fn poll_turn(&self, waiter: u64, cx: &mut Context<'_>) -> Result<(), Moment> {
        match self.poll_handed(waiter, cx) {
            Poll::Ready(()) => Ok(()),
            Poll::Pending => Err(Moment::NEVER),
        }
    }

    fn leave(&self, waiter: u64) {
        self.leave_queue(waiter);
    }

    fn release_unused(&self) {
        self.give_back_unused();
    }

    #[cold]
    fn gave_up(&self, waited: Duration) {
        self.lock().given_up += 1;
        self.emitter.look_again();
        self.emit(|| EventKind::GivenUp { waited });
    }

    fn max_wait_passed(&self) -> Refusal {
        Reason::QueueTimeout.into()
    }
}

#[cfg(mainstay_loom)]
pub(crate) mod models;

#[cfg(test)]
mod tests;
