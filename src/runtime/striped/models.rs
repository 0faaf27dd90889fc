use std::cell::Cell;
use std::sync::Arc;

use loom::thread::JoinHandle;

use super::*;

crate::models::models![
    nothing_is_lost_between_two_threads,
    nothing_is_lost_where_threads_share,
    a_number_is_used_again,
    a_sum_is_no_more_than_was_added,
];

loom::thread_local! {
    static NUMBER: Cell<usize> = Cell::new(0);
}

pub(super) fn this_thread() -> usize {
    NUMBER.with(Cell::get)
}

/// Runs as the thread with this number. The thread of the model itself has the number 0.
pub(crate) fn spawn<R: 'static>(number: usize, run: impl FnOnce() -> R + 'static) -> JoinHandle<R> {
    loom::thread::spawn(move || {
        NUMBER.with(|own| own.set(number));
        run()
    })
}

fn bumps(counter: &Arc<Striped>, number: usize, times: usize) -> JoinHandle<()> {
    let counter = Arc::clone(counter);
    spawn(number, move || (0..times).for_each(|_| counter.increment()))
}

fn nothing_is_lost_between_two_threads() {
    let counter = Arc::new(Striped::new());
    let other = bumps(&counter, 1, 2);
    counter.increment();
    counter.increment();
    other.join().unwrap();
    assert_eq!(counter.sum(), 4);
}

/// Three threads for two cells, and one that ends.
fn nothing_is_lost_where_threads_share() {
    let counter = Arc::new(Striped::new());
    let others = [bumps(&counter, 2, 1), bumps(&counter, UNOWNED, 1)];
    counter.increment();
    for other in others {
        other.join().unwrap();
    }
    assert_eq!(counter.sum(), 3);
}

fn a_number_is_used_again() {
    let counter = Arc::new(Striped::new());
    let other = bumps(&counter, 1, 1);
    bumps(&counter, 2, 1).join().unwrap();
    bumps(&counter, 2, 1).join().unwrap();
    other.join().unwrap();
    assert_eq!(counter.sum(), 3);
}

fn a_sum_is_no_more_than_was_added() {
    let counter = Arc::new(Striped::new());
    let others = [bumps(&counter, 1, 1), bumps(&counter, 2, 1)];
    let (first, second) = (counter.sum(), counter.sum());
    assert!(first <= second && second <= 2, "{first}, then {second}");
    for other in others {
        other.join().unwrap();
    }
    assert_eq!(counter.sum(), 2);
}
