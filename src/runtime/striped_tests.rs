use super::*;

#[test]
fn one_thread_alone_needs_no_cells() {
    let counter = Striped::new();
    (0..100).for_each(|_| counter.increment());
    assert!(counter.cells.get().is_none());
    std::thread::scope(|scope| {
        scope.spawn(|| counter.increment());
    });
    assert!(counter.cells.get().is_some());
    // From now on this thread uses a cell, too.
    counter.increment();
    assert_eq!(counter.first.load(Ordering::Relaxed), 100);
    assert_eq!(counter.sum(), 102);
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
