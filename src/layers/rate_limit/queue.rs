//! The queue of calls that wait for a permit: first come, first served.
//!
//! Only the first waiter waits for its permit. The others wait to become the first. So a waiter that
//! leaves uses no permit, and the waiters behind it are admitted earlier.
//!
//! A waiter whose task no longer polls it would block all others. So each waiter knows when the one
//! before it must have left, and removes it then.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::task::Waker;
use std::time::Duration;

use crate::runtime::Moment;
use crate::runtime::deferred;
use crate::runtime::isolate::isolate;
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
    /// In the order of arrival.
    by_number: BTreeMap<u64, Waiter>,
}

struct Waiter {
    /// `None` from its wake-up to its next poll.
    waker: Option<Waker>,
    /// It has left by then if it is polled.
    expires: Moment,
}

/// How long after the end of its wait a waiter may still poll: timers and tasks are late.
const GRACE: Duration = Duration::from_millis(100);

impl Waiters {
    /// Removes the first waiters before this one that have expired, and takes the waker of the new
    /// first one. Both are foreign code, to be used outside the lock.
    fn remove_expired(&mut self, before: u64, now: Moment) -> (Vec<Waiter>, Option<Waker>) {
        let mut expired = Vec::new();
        while let Some(first) = self.by_number.first_entry()
            && *first.key() < before
            && first.get().expires <= now
        {
            expired.push(first.remove());
        }
        let next = match self.by_number.first_entry() {
            Some(mut first) if !expired.is_empty() => first.get_mut().waker.take(),
            _ => None,
        };
        (expired, next)
    }
}

impl WaitQueue {
    /// The number of waiters.
    #[inline]
    pub(super) fn len(&self) -> u32 {
        self.len.load(Ordering::Relaxed)
    }

    /// The number of waiters without this one. Removes the waiters before it that have expired.
    pub(super) fn others(&self, number: u64, now: Moment) -> u32 {
        let mut waiters = self.lock();
        let (expired, next) = waiters.remove_expired(number, now);
        self.store_len(&waiters);
        let is_in_it = waiters.by_number.contains_key(&number);
        let others = self.len().saturating_sub(is_in_it.into());
        drop(waiters);
        drop(expired);
        wake(next);
        others
    }

    /// Joins the queue until a time, unless `refuse` rejects a wait behind this number of calls.
    pub(super) fn join<E>(
        &self,
        waker: Waker,
        now: Moment,
        until: Moment,
        refuse: impl FnOnce(u32) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut waiters = self.lock();
        let newcomer = waiters.next;
        let (expired, next) = waiters.remove_expired(newcomer, now);
        self.store_len(&waiters);
        let joined = refuse(self.len()).map(|()| {
            let number = waiters.next;
            waiters.next = number.wrapping_add(1);
            let waker = Some(waker);
            let expires = until.after(GRACE);
            waiters.by_number.insert(number, Waiter { waker, expires });
            self.store_len(&waiters);
            number
        });
        drop(waiters);
        drop(expired);
        wake(next);
        joined
    }

    /// Whether a waiter is the first. If not, the waker wakes it when it is, and it polls again at the
    /// returned time at the latest.
    pub(super) fn is_first(&self, number: u64, now: Moment, waker: &Waker) -> Result<(), Moment> {
        // Wakers are foreign code, so they are cloned and dropped outside the lock.
        let mut new = None;
        loop {
            let mut waiters = self.lock();
            let (expired, next) = waiters.remove_expired(number, now);
            if !expired.is_empty() {
                self.store_len(&waiters);
                drop(waiters);
                drop(expired);
                wake(next);
                continue;
            }
            let before = waiters.by_number.range(..number).next_back();
            let before = before.map(|(_, waiter)| waiter.expires);
            // If it was removed, its own time is over.
            let Some(waiter) = waiters.by_number.get_mut(&number) else {
                return Err(now);
            };
            // The first waiter stores its waker, too: a change of the rate wakes it.
            if let Some(new) = new.take() {
                let old = waiter.waker.replace(new);
                drop(waiters);
                drop(old);
                return before.map_or(Ok(()), Err);
            }
            let known = waiter.waker.as_ref();
            if known.is_some_and(|known| known.will_wake(waker)) {
                return before.map_or(Ok(()), Err);
            }
            drop(waiters);
            new = Some(waker.clone());
        }
    }

    /// Wakes the first waiter, because it may be admitted sooner than it knows.
    pub(super) fn wake_first(&self) {
        let mut waiters = self.lock();
        let first = waiters.by_number.first_entry();
        let waker = first.and_then(|mut first| first.get_mut().waker.take());
        drop(waiters);
        waker.into_iter().for_each(deferred::wake);
    }

    /// Removes a waiter, with or without a permit. If it was the first, wakes the next one.
    pub(super) fn leave(&self, number: u64) {
        let mut waiters = self.lock();
        let left = waiters.by_number.remove(&number);
        self.store_len(&waiters);
        let next = match waiters.by_number.first_entry() {
            Some(mut first) if *first.key() > number => first.get_mut().waker.take(),
            _ => None,
        };
        drop(waiters);
        drop(left);
        wake(next);
    }

    fn store_len(&self, waiters: &Waiters) {
        let len = u32::try_from(waiters.by_number.len()).unwrap_or(u32::MAX);
        self.len.store(len, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A waker is foreign code: if it panics, the caller goes on.
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        isolate(|| waker.wake());
    }
}

#[cfg(mainstay_loom)]
pub(crate) mod models;
