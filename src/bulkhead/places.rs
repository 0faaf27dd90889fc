//! The places of a bulkhead, and the queue for them.
//!
//! One word holds how many calls are in flight and how many wait. As long as nobody waits, taking and giving back
//! are one atomic operation each and the queue is never touched. While somebody waits, a place that becomes
//! free is not free at all: it is handed to the first in the queue, so the count of calls in flight
//! stays where it is and a newcomer cannot slip in.
//!
//! The word also holds the generation, which tells the places of one bulkhead from those of the one that lived here before.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::layer::Settings;
use super::service::Place;
use super::word::{ADMISSION, ADMISSIONS, CALL, GENERATION, WAITS, admissions, admit, in_flight};
use crate::hold::Keeper;
use crate::listeners::Listeners;
use crate::meter::{Handles, Meter};
use crate::observe::EventKind;
use crate::pool::{Pool, Resident};
use crate::snapshot::{MOST_CALLS, Outcomes, Tally, limited};
use crate::tells::{NOW, Tells};
use crate::{Outcome, Verdict};

/// The most calls that can wait.
pub(crate) const MOST_WAITERS: u32 = (1 << 20) - 1;
const LAST_GENERATION: u32 = (1 << 20) - 1;

#[allow(
    missing_debug_implementations,
    reason = "nobody outside can get hold of one"
)]
pub struct Places {
    /// The generation, whether any call waits, how many were ever admitted, and how many are in flight.
    word: AtomicU64,
    limit: AtomicU32,
    queue_limit: AtomicU32,
    queue: Mutex<Queue>,
    pub(crate) listeners: Listeners,
    tally: Tally,
}

/// The generation that a place belongs to; whoever holds a place shows it when giving the place back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Generation(u32);

impl Generation {
    #[inline]
    const fn stamp(self) -> u64 {
        self.0 as u64
    }

    /// What `stamp` gave.
    #[inline]
    const fn of_stamp(stamp: u64) -> Self {
        Self(stamp as u32)
    }
}

/// Who waits, in the order of arrival. Whoever is not in it any more has been handed a place.
struct Queue {
    next: u64,
    waiting: BTreeMap<u64, Waker>,
    /// How often the count of admissions began again.
    begun_again: u64,
    /// Of how many admissions nothing came: whoever was handed the place had gone.
    unused: u64,
    /// How many calls were given up before they were admitted.
    given_up: u64,
}

/// The number of a waiting call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number(u64);

/// What a call got that is willing to wait.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Place(Generation),
    Waiting(Number),
    Full,
}

const fn generation(word: u64) -> Generation {
    Generation((word >> 44) as u32)
}

impl Resident for Places {
    type Settings = Settings;

    fn pool() -> &'static Pool<Self> {
        static POOL: Pool<Places> = Pool::new();
        &POOL
    }

    fn vacant() -> Self {
        Self {
            word: AtomicU64::new(0),
            limit: AtomicU32::new(0),
            queue_limit: AtomicU32::new(0),
            queue: Mutex::new(Queue {
                next: 0,
                waiting: BTreeMap::new(),
                begun_again: 0,
                unused: 0,
                given_up: 0,
            }),
            listeners: Listeners::vacant(),
            tally: Tally::new(),
        }
    }

    fn move_in(&self, settings: Settings) {
        self.limit
            .store(settings.limit.min(MOST_CALLS), Ordering::Relaxed);
        self.queue_limit
            .store(settings.queue.min(MOST_WAITERS), Ordering::Relaxed);
        let mut queue = self.lock();
        (queue.begun_again, queue.unused, queue.given_up) = (0, 0, 0);
        drop(queue);
        let since = generation(self.word.load(Ordering::Relaxed)).stamp();
        self.listeners
            .move_in(since, settings.origin, settings.observer, settings.is_on);
        // Last: what a call of the last tenant still told has been told, and from now on none is asked.
        self.tally.reset();
    }

    /// Nobody waits: a call that does keeps the bulkhead.
    fn move_out(&self) -> bool {
        self.listeners.move_out();
        let Generation(old) = generation(self.word.load(Ordering::Relaxed));
        let new = u64::from(old.saturating_add(1)) * GENERATION;
        self.word.store(new, Ordering::Release);
        old < LAST_GENERATION - 1
    }
}

impl Places {
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
    pub(crate) fn try_take(&self) -> Option<Generation> {
        let limit = self.limit();
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            // A place is never free while somebody waits for it, so the waiters need no look here.
            if in_flight(word) >= limit {
                return None;
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
                Ok(_) => return Some(generation(word)),
                Err(current) => word = current,
            }
        }
    }

    /// The count of admissions begins again: once in half a million calls.
    #[cold]
    fn take_anew(&self) -> Option<Generation> {
        let mut queue = self.lock();
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if in_flight(word) >= self.limit() {
                return None;
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
                    return Some(generation(word));
                }
                Err(current) => word = current,
            }
        }
    }

    /// Takes a place, or a number in the queue.
    #[cold]
    pub(crate) fn take_or_wait(&self, waker: &Waker) -> Taken {
        // Before anything is taken: it is somebody else's code.
        let mut own = Some(waker.clone());
        let mut queue = self.lock();
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let (next, begins, taken) = if in_flight(word) < self.limit() {
                let (next, begins) = admit(word);
                (next + CALL, begins, Taken::Place(generation(word)))
            } else if (queue.waiting.len() as u64) < self.queue_limit().into() {
                (word | WAITS, false, Taken::Waiting(Number(queue.next)))
            } else {
                return Taken::Full;
            };
            // A place that is given back meanwhile makes this fail, and is then seen.
            match self
                .word
                .compare_exchange_weak(word, next, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => {
                    queue.begun_again += u64::from(begins);
                    if let (Taken::Waiting(Number(number)), Some(waker)) = (&taken, own.take()) {
                        queue.next = number.wrapping_add(1);
                        queue.waiting.insert(*number, waker);
                    }
                    return taken;
                }
                Err(current) => word = current,
            }
        }
    }

    /// The place that the waiting call has been handed; if none, it will be woken by this waker.
    pub(crate) fn poll_handed(&self, number: Number, cx: &mut Context<'_>) -> Poll<Generation> {
        match self.lock().waiting.get_mut(&number.0) {
            None => Poll::Ready(generation(self.word.load(Ordering::Relaxed))),
            Some(waker) => {
                waker.clone_from(cx.waker());
                Poll::Pending
            }
        }
    }

    /// The waiting call goes away. A place it had just been handed goes to the next one.
    pub(crate) fn leave(&self, number: Number) {
        let mut queue = self.lock();
        let waker = queue.waiting.remove(&number.0);
        if waker.is_some() && queue.waiting.is_empty() {
            self.word.fetch_and(!WAITS, Ordering::Relaxed);
        }
        drop(queue);
        if waker.is_none() {
            self.give_back_unused(generation(self.word.load(Ordering::Relaxed)));
        }
    }

    /// Gives a place back: to the first who waits, or else to whoever comes. The place of an earlier generation is gone already.
    #[inline]
    pub(crate) fn give_back(&self, held: Generation) {
        let mut word = self.word.load(Ordering::Relaxed);
        while word & WAITS == 0 {
            if generation(word) != held {
                return;
            }
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
        self.hand_over(held);
    }

    /// The same for a place of which nothing came.
    #[cold]
    pub(crate) fn give_back_unused(&self, held: Generation) {
        self.lock().unused += 1;
        self.give_back(held);
    }

    /// A call that was neither admitted nor rejected is gone.
    #[cold]
    pub(super) fn gave_up(&self, waited: Duration) {
        self.lock().given_up += 1;
        self.listeners.look_again();
        self.tell(NOW, || EventKind::GivenUp { waited });
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

    /// A place that was taken, for the call that now begins.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(super) fn place<T>(&'static self, generation: Generation, tracker: T) -> Place<T> {
        Place::new(self, (), generation.stamp(), tracker)
    }

    #[cold]
    fn hand_over(&self, held: Generation) {
        let mut queue = self.lock();
        if generation(self.word.load(Ordering::Relaxed)) != held {
            return;
        }
        let Some((_, waker)) = queue.waiting.pop_first() else {
            // Whoever waited has left meanwhile.
            drop(queue);
            return self.give_back(held);
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

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tells for Places {
    #[inline]
    fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    fn show(&self, handles: &Handles) {
        handles.limit(limited(self.limit()));
    }
}

impl Keeper for Places {
    type Call = ();

    #[inline]
    fn meter(&self, _: &(), stamp: u64) -> Meter {
        self.meter_of(stamp)
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn settle(&self, _: &(), stamp: u64, verdict: Verdict) {
        self.tell(stamp, || EventKind::Settled {
            outcome: verdict.outcome(),
            latency: None,
            slow: false,
        });
    }

    fn ended(&self, stamp: u64, outcome: Outcome) {
        if self.listeners.is_theirs(stamp) {
            self.tally.told(outcome);
        }
    }

    #[inline]
    fn release(&self, _: &(), stamp: u64) {
        self.give_back(Generation::of_stamp(stamp));
    }
}

#[cfg(test)]
mod tests;
