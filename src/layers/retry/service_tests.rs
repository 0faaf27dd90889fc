use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};
use std::task::Wake;
use std::thread;

use super::*;

/// Its `clone` blocks until the test releases it.
struct Slow {
    entered: Arc<Barrier>,
    leaves: Arc<Barrier>,
}

impl Clone for Slow {
    fn clone(&self) -> Self {
        self.entered.wait();
        self.leaves.wait();
        Self {
            entered: Arc::clone(&self.entered),
            leaves: Arc::clone(&self.leaves),
        }
    }
}

#[derive(Default)]
struct Wakes(AtomicU32);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("told to panic");
    }
}

#[test]
fn a_retry_waits_for_another_ones_clone_without_polling() {
    let slow = Slow {
        entered: Arc::new(Barrier::new(2)),
        leaves: Arc::new(Barrier::new(2)),
    };
    let (entered, leaves) = (Arc::clone(&slow.entered), Arc::clone(&slow.leaves));
    let spare = Arc::new(Spare::new(slow));
    let first = thread::spawn({
        let spare = Arc::clone(&spare);
        move || {
            let waker = Waker::noop();
            spare.poll_clone(&Context::from_waker(waker)).is_ready()
        }
    });
    entered.wait();
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    // A waker that panics comes before it, and it is polled twice.
    let panics = Waker::from(Arc::new(Panics));
    assert!(spare.poll_clone(&Context::from_waker(&panics)).is_pending());
    for _ in 0..2 {
        assert!(spare.poll_clone(&Context::from_waker(&waker)).is_pending());
    }
    assert_eq!(wakes.0.load(Ordering::SeqCst), 0);
    leaves.wait();
    assert!(first.join().unwrap());
    assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
}
