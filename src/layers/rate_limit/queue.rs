//! The line of calls that wait for a permit: first come, first served.
//!
//! Only the first of the line waits for a time. All others wait to become the first, so that a call
//! which goes away costs no permit, and those behind it are admitted earlier.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::task::Waker;

use crate::runtime::sync::atomic::{AtomicU32, Ordering};
use crate::runtime::sync::{Mutex, MutexGuard};

#[derive(Default)]
pub(super) struct Line {
    /// The length, for those who only look.
    waiting: AtomicU32,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    next: u64,
    /// In the order of arrival. The first has no waker once it has been woken.
    waiting: BTreeMap<u64, Option<Waker>>,
}

impl Line {
    /// The number of waiting calls.
    #[inline]
    pub(super) fn len(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Joins the line, unless a wait behind the given number of calls is refused.
    pub(super) fn join<E>(
        &self,
        waker: Waker,
        refuse: impl FnOnce(u32) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut queue = self.lock();
        refuse(self.len())?;
        let number = queue.next;
        queue.next = number.wrapping_add(1);
        queue.waiting.insert(number, Some(waker));
        self.count(&queue);
        Ok(number)
    }

    /// Whether the call is the first; if not, it will be woken by this waker when it is.
    pub(super) fn is_first(&self, number: u64, waker: &Waker) -> bool {
        // Cloned and dropped outside of the lock: a waker is foreign code.
        let mut new = None;
        loop {
            let mut queue = self.lock();
            if queue.waiting.first_key_value().map(|(first, _)| *first) == Some(number) {
                return true;
            }
            let Some(known) = queue.waiting.get_mut(&number) else {
                return true;
            };
            if let Some(new) = new.take() {
                let old = known.replace(new);
                drop(queue);
                drop(old);
                return false;
            }
            if known.as_ref().is_some_and(|known| known.will_wake(waker)) {
                return false;
            }
            drop(queue);
            new = Some(waker.clone());
        }
    }

    /// The call leaves the line, with a permit or without. If it was the first, the next one is woken.
    pub(super) fn leave(&self, number: u64) {
        let mut queue = self.lock();
        let left = queue.waiting.remove(&number);
        self.count(&queue);
        let next = match queue.waiting.first_entry() {
            Some(mut first) if *first.key() > number => first.get_mut().take(),
            _ => None,
        };
        drop(queue);
        drop(left);
        if let Some(waker) = next {
            waker.wake();
        }
    }

    fn count(&self, queue: &Queue) {
        let waiting = u32::try_from(queue.waiting.len()).unwrap_or(u32::MAX);
        self.waiting.store(waiting, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(mainstay_loom)]
pub(crate) mod models;
