use loom::thread::{self, JoinHandle};

use super::*;
use crate::observe::emit::Emit;
use crate::vocabulary::kind::DEADLINE;

crate::models::models![
    a_subscriber_receives_what_is_emitted_after_it_subscribed,
    a_new_subscriber_stays_when_the_last_one_is_forgotten,
    rejections_are_counted_once,
];

fn emitter() -> Arc<Emitter> {
    Arc::new(Emitter::of_default(&DEADLINE))
}

fn emit(emitter: &Emitter) {
    emitter.emit(|| EventKind::GivenUp {
        waited: std::time::Duration::ZERO,
    });
}

/// The number of its events until now.
fn received(events: &mut Events) -> usize {
    std::iter::from_fn(|| events.try_recv()).count()
}

/// Emits an event, and forgets subscribers that are gone.
fn emits(emitter: &Arc<Emitter>) -> JoinHandle<()> {
    let emitter = Arc::clone(emitter);
    thread::spawn(move || emit(&emitter))
}

fn a_subscriber_receives_what_is_emitted_after_it_subscribed() {
    let emitter = emitter();
    let other = {
        let emitter = Arc::clone(&emitter);
        thread::spawn(move || {
            let mut events = emitter.subscribe();
            emit(&emitter);
            received(&mut events)
        })
    };
    let mut events = emitter.subscribe();
    emit(&emitter);
    let received_by_other = other.join().unwrap();
    let received = received(&mut events);
    assert!((1..=2).contains(&received_by_other), "{received_by_other}");
    assert!((1..=2).contains(&received), "{received}");
}

/// It subscribes while another thread finds nobody there.
fn a_new_subscriber_stays_when_the_last_one_is_forgotten() {
    let emitter = emitter();
    drop(emitter.subscribe());
    let others = [emits(&emitter), emits(&emitter)];
    let mut events = emitter.subscribe();
    for other in others {
        other.join().unwrap();
    }
    let before = received(&mut events);
    assert!(before <= 2 && emitter.has_sinks(), "{before}");
    emit(&emitter);
    assert_eq!(received(&mut events), 1);
}

/// They are the first: the counters are made for them.
fn rejections_are_counted_once() {
    let emitter = emitter();
    let count = || {
        let emitter = Arc::clone(&emitter);
        thread::spawn(move || emitter.count_rejection(Reason::DeadlinePassed))
    };
    let others = [count(), count()];
    assert!(emitter.rejected(Reason::DeadlinePassed) <= 2);
    for other in others {
        other.join().unwrap();
    }
    assert_eq!(emitter.rejected(Reason::DeadlinePassed), 2);
}
