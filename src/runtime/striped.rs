//! A counter that many threads bump without fighting over it.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// A count that only goes up.
///
/// As long as one thread bumps it, that is one word, which needs no atomic addition: that would
/// cost ten times as much as a load and a store. From the second thread on each bumps a cell of its
/// own, on a cache line of its own; whoever wants the total adds them up. Threads beyond the number
/// of cells share one, and add.
#[derive(Default)]
pub(crate) struct Striped {
    /// Whose word `first` is: its number and 1, or 0 for nobody's yet; [`NOBODY`] once there are
    /// cells, because whoever writes it would take the cache line from all others, who read here.
    owner: AtomicUsize,
    first: AtomicU64,
    cells: OnceLock<Box<Cells>>,
}

struct Cells {
    own: Box<[Line]>,
    /// For threads beyond their number, and for those that end.
    shared: Line,
}

/// No thread has this number.
const NOBODY: usize = usize::MAX - 2;

/// Two cache lines: processors fetch them in pairs.
#[repr(align(128))]
#[derive(Default)]
struct Line(AtomicU64);

/// Nobody else writes it: a number belongs to one thread at a time.
#[inline]
fn bump_own(cell: &AtomicU64) {
    let bumped = cell.load(Ordering::Relaxed).wrapping_add(1);
    cell.store(bumped, Ordering::Relaxed);
}

impl Striped {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    #[inline]
    pub(crate) fn bump(&self) {
        let thread = this_thread();
        if self.owner.load(Ordering::Relaxed) == thread.wrapping_add(1) {
            bump_own(&self.first);
        } else {
            self.bump_cell(thread);
        }
    }

    #[inline]
    fn bump_cell(&self, thread: usize) {
        match self.cells.get() {
            Some(cells) => cells.bump(thread),
            None => self.bump_first(thread),
        }
    }

    /// The first bump of all, or the first of a second thread.
    #[cold]
    fn bump_first(&self, thread: usize) {
        if thread < SHARES {
            let owns =
                self.owner
                    .compare_exchange(0, thread + 1, Ordering::Relaxed, Ordering::Relaxed);
            if owns.is_ok() {
                return bump_own(&self.first);
            }
        }
        let cells = self.cells.get_or_init(|| {
            Box::new(Cells {
                own: (0..cells()).map(|_| Line::default()).collect(),
                shared: Line::default(),
            })
        });
        self.owner.store(NOBODY, Ordering::Relaxed);
        cells.bump(thread);
    }

    /// The total. What other threads add while it is read may or may not be in it.
    pub(crate) fn sum(&self) -> u64 {
        let cells = self.cells.get().map(|cells| cells.sum());
        let first = self.first.load(Ordering::Relaxed);
        first.wrapping_add(cells.unwrap_or(0))
    }
}

impl Cells {
    #[inline]
    fn bump(&self, thread: usize) {
        match self.own.get(thread) {
            Some(Line(cell)) => bump_own(cell),
            None => {
                self.shared.0.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn sum(&self) -> u64 {
        self.own
            .iter()
            .chain([&self.shared])
            .fold(0, |sum, Line(cell)| {
                sum.wrapping_add(cell.load(Ordering::Relaxed))
            })
    }
}

/// Four for each processor, so that a thread of a worker pool has one of its own; at most 64, which
/// are 8 kB.
fn cells() -> usize {
    static CELLS: OnceLock<usize> = OnceLock::new();
    *CELLS.get_or_init(|| {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        processors.saturating_mul(4).clamp(8, 64)
    })
}

/// The number of the current thread: the lowest that no living thread has, so that the threads of a
/// program that starts and ends many still have low ones.
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
    // Apart from what gives the number back: this one has no destructor, so it can be reached for
    // nothing, and to the very end of the thread.
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
    fn one_thread_alone_needs_no_cells() {
        let counter = Striped::new();
        (0..100).for_each(|_| counter.bump());
        assert!(counter.cells.get().is_none());
        std::thread::scope(|scope| {
            scope.spawn(|| counter.bump());
        });
        assert!(counter.cells.get().is_some());
        // From now on this thread has a cell, too: the first word would take the line from the
        // others.
        counter.bump();
        assert_eq!(counter.first.load(Ordering::Relaxed), 100);
        assert_eq!(counter.sum(), 102);
    }

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
