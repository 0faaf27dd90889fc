//! A counter that many threads increment without contention.

use super::sync::OnceLock;
use super::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

#[cfg(mainstay_loom)]
use self::models::this_thread;
#[cfg(not(mainstay_loom))]
use super::thread_number::this_thread;

/// A counter that only rises.
///
/// While only one thread uses it, it is one word with a plain load and store, at a tenth of the
/// cost of an atomic addition. Other threads first share a second word, with atomic additions. After
/// [`FEW`] of those, each thread has a cell on its own cache line, and the total is the sum of all
/// cells. So a counter that is used little stays small: there can be one for each of many keys.
/// Threads beyond the number of cells share one, with atomic additions.
#[derive(Default)]
pub(crate) struct Striped {
    /// One more than the number of the thread that owns `first`, or 0 for none yet. [`NO_OWNER`]
    /// once there are cells, because all threads then read this cache line, and nobody should write
    /// to it.
    owner: AtomicUsize,
    first: AtomicU64,
    /// The increments of other threads while there were no cells.
    others: AtomicU64,
    cells: OnceLock<Box<Cells>>,
}

struct Cells {
    own: Box<[Line]>,
    /// For threads beyond the number of cells, and for those that end.
    shared: Line,
}

/// The increments of other threads before they have cells. The cells take up to 8 kB.
const FEW: u64 = if cfg!(mainstay_loom) { 1 } else { 512 };

/// No thread has this number.
const NO_OWNER: usize = usize::MAX - 2;
/// The number of a thread that has released its own: it has no cell.
pub(super) const UNOWNED: usize = usize::MAX - 1;

/// Two cache lines, because processors fetch them in pairs.
#[repr(align(128))]
#[derive(Default)]
struct Line(AtomicU64);

/// Needs no atomic addition, because a cell has one writer: a number belongs to one thread at a
/// time.
#[inline]
fn increment_own(cell: &AtomicU64) {
    let next = cell.load(Ordering::Relaxed).wrapping_add(1);
    cell.store(next, Ordering::Relaxed);
}

impl Striped {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    #[inline]
    pub(crate) fn increment(&self) {
        let thread = this_thread();
        if self.owner.load(Ordering::Relaxed) == thread.wrapping_add(1) {
            increment_own(&self.first);
        } else {
            self.increment_cell(thread);
        }
    }

    #[inline]
    fn increment_cell(&self, thread: usize) {
        match self.cells.get() {
            Some(cells) => cells.increment(thread),
            None => self.increment_first(thread),
        }
    }

    /// The first increment of all, or one of the first of other threads.
    #[cold]
    fn increment_first(&self, thread: usize) {
        if thread < UNOWNED {
            let owns =
                self.owner
                    .compare_exchange(0, thread + 1, Ordering::Relaxed, Ordering::Relaxed);
            if owns.is_ok() {
                return increment_own(&self.first);
            }
        }
        if self.others.fetch_add(1, Ordering::Relaxed) + 1 < FEW {
            return;
        }
        self.cells.get_or_init(|| {
            Box::new(Cells {
                own: (0..cells()).map(|_| Line::default()).collect(),
                shared: Line::default(),
            })
        });
        self.owner.store(NO_OWNER, Ordering::Relaxed);
    }

    /// The total. It may miss concurrent increments.
    pub(crate) fn sum(&self) -> u64 {
        let cells = self.cells.get().map(|cells| cells.sum());
        let first = self.first.load(Ordering::Relaxed);
        let others = self.others.load(Ordering::Relaxed);
        first.wrapping_add(others).wrapping_add(cells.unwrap_or(0))
    }
}

impl Cells {
    #[inline]
    fn increment(&self, thread: usize) {
        match self.own.get(thread) {
            Some(Line(cell)) => increment_own(cell),
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

/// The number of cells: four for each processor, so that each worker of a pool has one; at most 64,
/// which take 8 kB.
fn cells() -> usize {
    static CELLS: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    if cfg!(mainstay_loom) {
        return 2;
    }
    *CELLS.get_or_init(|| {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        processors.saturating_mul(4).clamp(8, 64)
    })
}

#[cfg(mainstay_loom)]
pub(crate) mod models;

#[cfg(test)]
#[path = "striped_tests.rs"]
mod tests;
