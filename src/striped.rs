//! A counter that many threads bump without fighting over it.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A count that only goes up. Each thread bumps a cell of its own, on a cache line of its own; who
/// wants the total adds them up.
pub(crate) struct Striped {
    cells: Box<[Cell128]>,
}

/// Two cache lines: processors fetch them in pairs.
#[repr(align(128))]
#[derive(Default)]
struct Cell128(AtomicU64);

impl Striped {
    pub(crate) fn new() -> Self {
        Self {
            cells: (0..stripes()).map(|_| Cell128::default()).collect(),
        }
    }

    #[inline]
    pub(crate) fn bump(&self) {
        // The number of cells is a power of two, so that this is a mask and never out of range.
        if let Some(cell) = self.cells.get(stripe() & (self.cells.len() - 1)) {
            cell.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The total. What other threads add while it is read may or may not be in it.
    pub(crate) fn sum(&self) -> u64 {
        self.cells.iter().fold(0, |sum, cell| {
            sum.wrapping_add(cell.0.load(Ordering::Relaxed))
        })
    }
}

/// Twice the processors, so that two busy threads rarely meet; at most 32, which are 4 kB.
fn stripes() -> usize {
    static STRIPES: OnceLock<usize> = OnceLock::new();
    *STRIPES.get_or_init(|| {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        (processors.saturating_mul(2))
            .clamp(1, 32)
            .next_power_of_two()
    })
}

/// The current thread's cell: threads take turns as they first come.
#[inline]
fn stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static STRIPE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    STRIPE.with(|stripe| {
        let known = stripe.get();
        if known != usize::MAX {
            return known;
        }
        let new = NEXT.fetch_add(1, Ordering::Relaxed) & (usize::MAX >> 1);
        stripe.set(new);
        new
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_between_threads() {
        let counter = Striped::new();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..10_000).for_each(|_| counter.bump()));
            }
        });
        assert_eq!(counter.sum(), 80_000);
    }
}
