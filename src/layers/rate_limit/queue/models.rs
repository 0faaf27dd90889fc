use std::sync::Arc;

use loom::thread::{self, JoinHandle};

use super::*;
use crate::models::waker;

crate::models::models![
    the_next_waiter_is_woken,
    the_next_waiter_is_woken_where_others_give_up,
];

const NOW: Moment = Moment::from_bits(0);

fn join(queue: &WaitQueue) -> u64 {
    let joined = queue.join(Waker::noop().clone(), NOW, Moment::NEVER, |_| {
        Ok::<_, ()>(())
    });
    joined.unwrap()
}

/// Waits to be the first, and leaves the queue.
fn wait(queue: &Arc<WaitQueue>, number: u64) -> JoinHandle<()> {
    let queue = Arc::clone(queue);
    thread::spawn(move || {
        let waker = waker();
        while queue.is_first(number, NOW, &waker).is_err() {
            thread::park();
        }
        queue.leave(number);
    })
}

fn the_next_waiter_is_woken() {
    let queue = Arc::new(WaitQueue::default());
    let first = join(&queue);
    let others = [wait(&queue, join(&queue)), wait(&queue, join(&queue))];
    queue.leave(first);
    for other in others {
        other.join().unwrap();
    }
    assert_eq!(queue.len(), 0);
}

fn the_next_waiter_is_woken_where_others_give_up() {
    let queue = Arc::new(WaitQueue::default());
    let (first, second, third) = (join(&queue), join(&queue), join(&queue));
    let waits = wait(&queue, third);
    let gives_up = {
        let queue = Arc::clone(&queue);
        thread::spawn(move || {
            let _ = queue.is_first(second, NOW, &waker());
            queue.leave(second);
        })
    };
    queue.leave(first);
    gives_up.join().unwrap();
    waits.join().unwrap();
    assert_eq!(queue.len(), 0);
}
