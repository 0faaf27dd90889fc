use super::*;

#[test]
fn only_many_increments_of_other_threads_need_cells() {
    let counter = Striped::new();
    let elsewhere = |times: u64| {
        std::thread::scope(|scope| {
            scope.spawn(|| (0..times).for_each(|_| counter.increment()));
        });
    };
    (0..10 * FEW).for_each(|_| counter.increment());
    elsewhere(FEW - 1);
    assert!(counter.cells.get().is_none());
    assert_eq!(counter.sum(), 11 * FEW - 1);
    elsewhere(1);
    assert!(counter.cells.get().is_some());
    assert_eq!(counter.sum(), 11 * FEW);
    // From now on this thread uses a cell, too.
    counter.increment();
    assert_eq!(counter.first.load(Ordering::Relaxed), 10 * FEW);
    assert_eq!(counter.sum(), 11 * FEW + 1);
}

#[test]
fn nothing_is_lost_between_threads() {
    let counter = Striped::new();
    // More threads than cells, so that some share.
    std::thread::scope(|scope| {
        for _ in 0..cells() + 4 {
            scope.spawn(|| (0..10_000).for_each(|_| counter.increment()));
        }
    });
    assert_eq!(counter.sum(), (cells() as u64 + 4) * 10_000);
}
