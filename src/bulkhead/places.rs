//! The places of a bulkhead, and the queue for them.
//!
//! One word holds how many calls are in flight and how many wait. As long as nobody waits, taking and giving back
//! are one atomic operation each and the queue is never touched. While somebody waits, a place that becomes
//! free is not free at all: it is handed to the first in the queue, so the count of calls in flight
//! stays where it is and a newcomer cannot slip in.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// One call in flight, in the lower half of the word.
const CALL: u64 = 1;
/// One call waiting, in the upper half.
const WAITER: u64 = 1 << 32;

pub(crate) struct Places {
    /// Waiting calls above, calls in flight below.
    word: AtomicU64,
    limit: u32,
    queue_limit: u32,
    queue: Mutex<Queue>,
}

/// Who waits, in the order of arrival. Whoever is not in it any more has been handed a place.
struct Queue {
    next: u64,
    waiting: BTreeMap<u64, Waker>,
}

/// The number of a waiting call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number(u64);

/// What a call got that is willing to wait.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Place,
    Waiting(Number),
    Full,
}

const fn in_flight(word: u64) -> u32 {
    (word & 0xffff_ffff) as u32
}

const fn waiting(word: u64) -> u32 {
    (word >> 32) as u32
}

impl Places {
    pub(crate) fn new(limit: u32, queue_limit: u32) -> Self {
        Self {
            word: AtomicU64::new(0),
            limit,
            queue_limit,
            queue: Mutex::new(Queue {
                next: 0,
                waiting: BTreeMap::new(),
            }),
        }
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    pub(crate) fn in_flight(&self) -> u32 {
        in_flight(self.word.load(Ordering::Relaxed))
    }

    pub(crate) fn waiting(&self) -> u32 {
        waiting(self.word.load(Ordering::Relaxed))
    }

    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        in_flight(self.word.load(Ordering::Relaxed)) >= self.limit
    }

    /// Takes a place if one is free.
    #[inline]
    pub(crate) fn try_take(&self) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            // A place is never free while somebody waits for it, so the waiters need no look here.
            if in_flight(word) >= self.limit {
                return false;
            }
            // Taking first and giving back when it was one too many would reject others for nothing.
            match self.word.compare_exchange_weak(
                word,
                word + CALL,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(current) => word = current,
            }
        }
    }

    /// Takes a place, or a number in the queue.
    #[cold]
    pub(crate) fn take_or_wait(&self, waker: &Waker) -> Taken {
        let mut queue = self.lock();
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let (next, taken) = if in_flight(word) < self.limit {
                (word + CALL, Taken::Place)
            } else if waiting(word) < self.queue_limit {
                (word + WAITER, Taken::Waiting(Number(queue.next)))
            } else {
                return Taken::Full;
            };
            // A place that is given back meanwhile makes this fail, and is then seen.
            match self
                .word
                .compare_exchange_weak(word, next, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => {
                    if let Taken::Waiting(Number(number)) = taken {
                        queue.next = number.wrapping_add(1);
                        queue.waiting.insert(number, waker.clone());
                    }
                    return taken;
                }
                Err(current) => word = current,
            }
        }
    }

    /// Whether the waiting call has been handed a place; if not, it will be woken by this waker.
    pub(crate) fn poll_handed(&self, number: Number, cx: &mut Context<'_>) -> Poll<()> {
        match self.lock().waiting.get_mut(&number.0) {
            None => Poll::Ready(()),
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
        if waker.is_some() {
            self.word.fetch_sub(WAITER, Ordering::Relaxed);
        }
        drop(queue);
        if waker.is_none() {
            self.give_back();
        }
    }

    /// Gives a place back: to the first who waits, or else to whoever comes.
    #[inline]
    pub(crate) fn give_back(&self) {
        let mut word = self.word.load(Ordering::Relaxed);
        while waiting(word) == 0 {
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

    #[cold]
    fn hand_over(&self) {
        let mut queue = self.lock();
        let first = queue.waiting.pop_first();
        // Waiters are only counted and discounted under the lock, so this is all of them.
        if first.is_some() {
            self.word.fetch_sub(WAITER, Ordering::AcqRel);
        } else {
            self.word.fetch_sub(CALL, Ordering::Release);
        }
        drop(queue);
        if let Some((_, waker)) = first {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freed_place_goes_to_the_first_in_the_queue_and_not_to_a_newcomer() {
        let places = Places::new(1, 2);
        assert!(places.try_take());
        let waker = Waker::noop();
        let Taken::Waiting(first) = places.take_or_wait(waker) else {
            panic!()
        };
        let Taken::Waiting(second) = places.take_or_wait(waker) else {
            panic!()
        };
        assert_eq!(places.take_or_wait(waker), Taken::Full);
        places.give_back();
        assert!(!places.try_take());
        let cx = &mut Context::from_waker(waker);
        assert!(places.poll_handed(first, cx).is_ready());
        assert!(places.poll_handed(second, cx).is_pending());
        // The one that was handed a place goes away without using it.
        places.leave(first);
        assert!(places.poll_handed(second, cx).is_ready());
        assert_eq!((places.in_flight(), places.waiting()), (1, 0));
        places.give_back();
        assert_eq!((places.in_flight(), places.waiting()), (0, 0));
    }

    #[test]
    fn threads_never_exceed_the_limit_and_leave_nothing_behind() {
        use std::sync::atomic::AtomicU32;
        let places = Places::new(3, 0);
        let (now, most) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        if places.try_take() {
                            most.fetch_max(
                                now.fetch_add(1, Ordering::SeqCst) + 1,
                                Ordering::SeqCst,
                            );
                            now.fetch_sub(1, Ordering::SeqCst);
                            places.give_back();
                        }
                    }
                });
            }
        });
        assert!(most.into_inner() <= 3);
        assert_eq!(places.in_flight(), 0);
    }
}
