//! The queue of calls that wait for a permit: first come, first served.
//!
//! Only the first waiter waits for a time. The others wait to become the first. So a waiter that
//! leaves uses no permit, and the waiters behind it are admitted earlier.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::task::Waker;

use crate::runtime::sync::atomic::{AtomicU32, Ordering};
use crate::runtime::sync::{Mutex, MutexGuard};

#[derive(Default)]
pub(super) struct WaitQueue {
    /// The length, readable without the lock.
    len: AtomicU32,
    waiters: Mutex<Waiters>,
}

#[derive(Default)]
struct Waiters {
    next: u64,
    /// In the order of arrival. The first has no waker once it has been woken.
    by_number: BTreeMap<u64, Option<Waker>>,
}

impl WaitQueue {
    /// The number of waiters.
    #[inline]
    pub(super) fn len(&self) -> u32 {
        self.len.load(Ordering::Relaxed)
    }

    /// Joins the queue, unless `refuse` rejects a wait behind this number of calls.
    pub(super) fn join<E>(
        &self,
        waker: Waker,
        refuse: impl FnOnce(u32) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut waiters = self.lock();
        refuse(self.len())?;
        let number = waiters.next;
        waiters.next = number.wrapping_add(1);
        waiters.by_number.insert(number, Some(waker));
        self.store_len(&waiters);
        Ok(number)
    }

    /// Whether a waiter is the first. If not, the waker wakes it when it is.
    pub(super) fn is_first(&self, number: u64, waker: &Waker) -> bool {
        // Wakers are foreign code, so they are cloned and dropped outside the lock.
        let mut new = None;
        loop {
            let mut waiters = self.lock();
            if waiters.by_number.first_key_value().map(|(first, _)| *first) == Some(number) {
                return true;
            }
            let Some(known) = waiters.by_number.get_mut(&number) else {
                return true;
            };
            if let Some(new) = new.take() {
                let old = known.replace(new);
                drop(waiters);
                drop(old);
                return false;
            }
            if known.as_ref().is_some_and(|known| known.will_wake(waker)) {
                return false;
            }
            drop(waiters);
            new = Some(waker.clone());
        }
    }

    /// Removes a waiter, with or without a permit. If it was the first, wakes the next one.
    pub(super) fn leave(&self, number: u64) {
        let mut waiters = self.lock();
        let left = waiters.by_number.remove(&number);
        self.store_len(&waiters);
        let next = match waiters.by_number.first_entry() {
            Some(mut first) if *first.key() > number => first.get_mut().take(),
            _ => None,
        };
        drop(waiters);
        drop(left);
        if let Some(waker) = next {
            waker.wake();
        }
    }

    fn store_len(&self, waiters: &Waiters) {
        let len = u32::try_from(waiters.by_number.len()).unwrap_or(u32::MAX);
        self.len.store(len, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(mainstay_loom)]
pub(crate) mod models;
