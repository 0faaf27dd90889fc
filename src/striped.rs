//! A counter that many threads bump without fighting over it.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// A count that only goes up. Each thread bumps a cell of its own, on a cache line of its own; who
/// wants the total adds them up.
///
/// A cell that only one thread writes needs no atomic addition, which costs ten times as much as a load and a store.
/// Threads beyond the number of cells share the last one, and add.
pub(crate) struct Striped {
    cells: Box<[Line]>,
    shared: Line,
}

/// Two cache lines: processors fetch them in pairs.
#[repr(align(128))]
#[derive(Default)]
struct Line(AtomicU64);

impl Striped {
    pub(crate) fn new() -> Self {
        Self {
            cells: (0..cells()).map(|_| Line::default()).collect(),
            shared: Line::default(),
        }
    }

    #[inline]
    pub(crate) fn bump(&self) {
        match self.cells.get(this_thread()) {
            Some(Line(cell)) => {
                // Nobody else writes it: a number belongs to one thread at a time.
                cell.store(
                    cell.load(Ordering::Relaxed).wrapping_add(1),
                    Ordering::Relaxed,
                );
            }
            None => {
                self.shared.0.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The total. What other threads add while it is read may or may not be in it.
    pub(crate) fn sum(&self) -> u64 {
        self.cells
            .iter()
            .chain([&self.shared])
            .fold(0, |sum, Line(cell)| {
                sum.wrapping_add(cell.load(Ordering::Relaxed))
            })
    }
}

/// Four for each processor, so that a thread of a worker pool has one of its own; at most 64, which are 8 kB.
fn cells() -> usize {
    static CELLS: OnceLock<usize> = OnceLock::new();
    *CELLS.get_or_init(|| {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        processors.saturating_mul(4).clamp(8, 64)
    })
}

/// The number of the current thread: the lowest that no living thread has, so that the threads of a program that starts and
/// ends many still have low ones.
#[inline]
fn this_thread() -> usize {
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
/// What a thread counts as once it has given its number back: it shares.
const SHARES: usize = usize::MAX - 1;

thread_local! {
    // Apart from what gives the number back: this one has no destructor, so it can be reached for nothing, and to the very
    // end of the thread.
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

/// Gives the thread's number back when the thread ends.
struct Numbered(usize);

impl Drop for Numbered {
    fn drop(&mut self) {
        NUMBER.with(|number| number.set(SHARES));
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
    NUMBERED.try_with(|numbered| numbered.0).unwrap_or(SHARES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_between_threads() {
        let counter = Striped::new();
        // More threads than cells, so that some share.
        std::thread::scope(|scope| {
            for _ in 0..cells() + 4 {
                scope.spawn(|| (0..10_000).for_each(|_| counter.bump()));
            }
        });
        assert_eq!(counter.sum(), (cells() as u64 + 4) * 10_000);
    }

    #[test]
    fn a_number_is_used_again_when_its_thread_is_gone() {
        let counter = Striped::new();
        for _ in 0..200 {
            std::thread::scope(|scope| {
                scope.spawn(|| counter.bump());
            });
        }
        assert_eq!(counter.sum(), 200);
        // Other tests run at the same time and hold numbers, too.
        let highest = FREE.lock().unwrap().next;
        assert!(highest < 200, "{highest} numbers for 200 threads in turn");
    }
}
