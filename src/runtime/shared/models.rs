use crate::runtime::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::*;

crate::models::models![the_last_user_drops_the_state];

struct State {
    uses: AtomicUsize,
    drops: Arc<AtomicUsize>,
}

impl State {
    fn use_it(&self) {
        self.uses.fetch_add(1, Ordering::Relaxed);
        assert_eq!(self.drops.load(Ordering::Relaxed), 0);
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.drops.fetch_add(1, Ordering::Relaxed);
    }
}

/// Services in their own lanes and in the layer's, of which calls outlive them.
fn the_last_user_drops_the_state() {
    let drops = Arc::new(AtomicUsize::new(0));
    let layer = Shared::new(State {
        uses: AtomicUsize::new(0),
        drops: Arc::clone(&drops),
    });
    let uses = |calls: usize| {
        let mut service = layer.clone();
        thread::spawn(move || {
            let mut call = service.hold();
            for _ in 1..calls {
                service.use_it();
                call = service.hold();
            }
            drop(service);
            call.use_it();
        })
    };
    let threads = [uses(1), uses(3)];
    layer.use_it();
    drop(layer);
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(drops.load(Ordering::Relaxed), 1);
}
