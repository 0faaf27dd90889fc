//! Wakers are foreign code, and must not run while a caller further up holds a lock. Such a caller
//! opens a scope, in which wakers are collected, and wakes them after it has released its lock.

use std::cell::RefCell;
use std::task::Waker;

use crate::runtime::isolate::isolate;

thread_local! {
    static COLLECTED: RefCell<Option<Vec<Waker>>> = const { RefCell::new(None) };
}

/// Collects the wakers that `act` would wake.
pub(crate) fn scope<R>(act: impl FnOnce() -> R) -> (R, Vec<Waker>) {
    /// Ends the scope even if `act` panics.
    struct End;

    impl Drop for End {
        fn drop(&mut self) {
            drop(COLLECTED.take());
        }
    }

    COLLECTED.set(Some(Vec::new()));
    let _end = End;
    let result = act();
    (result, COLLECTED.take().unwrap_or_default())
}

/// Whether this thread is in a scope.
pub(crate) fn is_active() -> bool {
    COLLECTED.with_borrow(Option::is_some)
}

/// Wakes now, or after the scope. If a waker panics, the caller goes on.
pub(crate) fn wake(waker: Waker) {
    let now = COLLECTED.with_borrow_mut(|collected| match collected {
        Some(collected) => {
            collected.push(waker);
            None
        }
        None => Some(waker),
    });
    if let Some(waker) = now {
        isolate(|| waker.wake());
    }
}
