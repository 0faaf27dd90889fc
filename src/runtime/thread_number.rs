//! A small number for each thread.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Mutex, PoisonError};

use super::striped::UNOWNED;

/// The number of the current thread: the lowest free one, so that numbers stay low in a program
/// that starts and ends many threads.
#[inline]
pub(super) fn this_thread() -> usize {
    NUMBER.with(|number| match number.get() {
        UNNUMBERED => {
            let new = take_number();
            number.set(new);
            new
        }
        known => known,
    })
}

const UNNUMBERED: usize = usize::MAX;

thread_local! {
    // Separate from `Numbered`: without a destructor, access is free, and possible until the thread
    // has ended.
    static NUMBER: Cell<usize> = const { Cell::new(UNNUMBERED) };
}

static FREE: Mutex<Numbers> = Mutex::new(Numbers {
    free: BinaryHeap::new(),
    next: 0,
});

struct Numbers {
    free: BinaryHeap<Reverse<usize>>,
    next: usize,
}

/// Releases the thread's number when the thread ends.
struct Numbered(usize);

impl Drop for Numbered {
    fn drop(&mut self) {
        NUMBER.with(|number| number.set(UNOWNED));
        let mut numbers = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.free.push(Reverse(self.0));
    }
}

#[cold]
fn take_number() -> usize {
    thread_local! {
        static NUMBERED: Numbered = {
            let mut numbers = FREE.lock().unwrap_or_else(PoisonError::into_inner);
            let number = match numbers.free.pop() {
                Some(Reverse(number)) => number,
                None => {
                    numbers.next += 1;
                    numbers.next - 1
                }
            };
            Numbered(number)
        };
    }
    NUMBERED.try_with(|numbered| numbered.0).unwrap_or(UNOWNED)
}

#[cfg(test)]
#[path = "thread_number_tests.rs"]
mod tests;
