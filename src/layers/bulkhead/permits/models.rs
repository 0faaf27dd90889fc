use std::sync::Arc;

use loom::thread::{self, JoinHandle};

use super::*;
use crate::layers::admission::models::{give_up, wait};
use crate::layers::bulkhead::layer::KIND;
use crate::layers::bulkhead::settings::QueueSettings;
use crate::runtime::shared::Shared;

crate::models::models![
    no_more_permits_than_the_limit,
    a_waiter_gets_the_permit_that_is_released,
    a_waiter_is_not_overtaken_for_ever,
    a_waiter_that_gives_up_passes_its_permit_on,
    every_snapshot_balances,
];

/// A bulkhead, and the permits that are out by the model's own count.
struct Model {
    permits: Shared<Permits>,
    out: Arc<std::sync::atomic::AtomicU32>,
}

impl Model {
    fn new(limit: u32, queue: u32) -> Self {
        let settings = Settings {
            limit: Some(limit),
            queue: Some(QueueSettings::new(queue, Duration::from_secs(1))),
            ..Settings::default()
        };
        let permits = Permits::new(settings, true, Emitter::of_default(&KIND));
        Self {
            permits: Shared::new(permits),
            out: Arc::default(),
        }
    }

    fn spawn<R: 'static>(&self, run: impl FnOnce(Self) -> R + 'static) -> JoinHandle<R> {
        let other = Self {
            permits: self.permits.clone(),
            out: Arc::clone(&self.out),
        };
        thread::spawn(move || run(other))
    }

    /// Acquires a permit if there is one.
    fn acquire(&self) -> bool {
        self.permits.try_acquire() && self.acquired()
    }

    fn acquired(&self) -> bool {
        let out = self.out.fetch_add(1, Ordering::Relaxed) + 1;
        assert!(out <= self.permits.limit(), "{out} permits are out");
        true
    }

    fn release(&self) {
        self.out.fetch_sub(1, Ordering::Relaxed);
        self.permits.release_permit();
    }

    /// Waits for a permit, and releases it.
    fn wait(mut self) {
        wait(self.permits.hold(), || {
            self.acquired();
            self.out.fetch_sub(1, Ordering::Relaxed);
        });
    }

    /// Waits for a permit, and gives up at once.
    fn give_up(mut self) {
        give_up(self.permits.hold());
    }

    fn is_idle(&self) -> bool {
        self.permits.in_flight() == 0 && self.permits.waiting() == 0
    }
}

fn no_more_permits_than_the_limit() {
    let model = Model::new(1, 0);
    let call = |model: Model| {
        if model.acquire() {
            model.release();
        }
    };
    let others = [model.spawn(call), model.spawn(call)];
    if model.acquire() {
        model.release();
    }
    for other in others {
        other.join().unwrap();
    }
    assert!(model.is_idle() && model.acquire());
}

fn a_waiter_gets_the_permit_that_is_released() {
    let model = Model::new(1, 2);
    assert!(model.acquire());
    let others = [model.spawn(Model::wait), model.spawn(Model::wait)];
    model.release();
    for other in others {
        other.join().unwrap();
    }
    assert!(model.is_idle());
}

fn a_waiter_is_not_overtaken_for_ever() {
    let model = Model::new(1, 1);
    assert!(model.acquire());
    let waits = model.spawn(Model::wait);
    let newcomer = model.spawn(|model| {
        if model.acquire() {
            model.release();
        }
    });
    model.release();
    newcomer.join().unwrap();
    waits.join().unwrap();
    assert!(model.is_idle());
}

fn a_waiter_that_gives_up_passes_its_permit_on() {
    let model = Model::new(1, 2);
    assert!(model.acquire());
    let gives_up = model.spawn(Model::give_up);
    let waits = model.spawn(Model::wait);
    model.release();
    gives_up.join().unwrap();
    waits.join().unwrap();
    assert!(model.is_idle());
    assert_eq!(model.permits.books().given_up, 1);
}

/// A success and a failure end while snapshots are taken.
fn every_snapshot_balances() {
    let model = Model::new(2, 1);
    assert!(model.acquire() && model.acquire());
    let succeeds = model.spawn(|model| model.release());
    let fails = model.spawn(|model| {
        model.out.fetch_sub(1, Ordering::Relaxed);
        model.permits.release_as(&Ticket::NONE, Outcome::Failure);
    });
    let mut success = 0;
    for _ in 0..2 {
        let Books {
            in_flight,
            outcomes,
            ..
        } = model.permits.books();
        assert_eq!(u64::from(in_flight) + outcomes.total(), 2);
        assert!(outcomes.success >= success && outcomes.success <= 1);
        success = outcomes.success;
    }
    succeeds.join().unwrap();
    fails.join().unwrap();
    let outcomes = model.permits.books().outcomes;
    assert_eq!((outcomes.success, outcomes.failure), (1, 1));
}
