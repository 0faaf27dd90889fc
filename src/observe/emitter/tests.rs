use super::*;
use crate::observe::emit::Emit;
use crate::vocabulary::kind::DEADLINE;
use crate::vocabulary::rejection::Rejection;
use futures::FutureExt;

#[test]
fn no_events_are_made_after_the_last_subscriber_is_gone() {
    let emitter = emitter(None);
    let (one, other) = (emitter.subscribe(), emitter.subscribe());
    assert!(emit(&emitter));
    drop(one);
    assert!(emit(&emitter));
    drop(other);
    assert!(!emit(&emitter));
    let mut late = emitter.subscribe();
    assert!(emit(&emitter));
    assert!(late.try_recv().is_some());
}

#[test]
fn an_observer_stays() {
    let emitter = emitter(Some(Arc::new(|_: &Event| {})));
    drop(emitter.subscribe());
    assert!(emit(&emitter) && emit(&emitter));
}

#[test]
fn a_subscription_ends_when_the_instance_is_gone() {
    let emitter = emitter(None);
    let mut events = emitter.subscribe();
    assert!(events.recv().now_or_never().is_none());
    drop(emitter);
    assert!(matches!(events.recv().now_or_never(), Some(None)));
}

fn emitter(observer: Option<Arc<dyn Observer>>) -> Emitter {
    let instance = InstanceName::default_of(&DEADLINE);
    let emitter = Emitter::new(&DEADLINE, instance, observer);
    // There is no recorder in this test.
    assert!(emitter.handles(&|_| {}).is_none());
    emitter
}

#[test]
fn an_instance_that_is_switched_off_emits_nothing_but_what_is_announced() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let to = Arc::clone(&seen);
    let emitter = emitter(Some(Arc::new(move |event: &Event| {
        to.lock().unwrap().push(event.to_string());
    })));
    let mut early = emitter.subscribe();
    emitter.set_measured(false);
    let mut late = emitter.subscribe();
    assert!(!emit(&emitter));
    let given_up = || EventKind::GivenUp {
        waited: std::time::Duration::ZERO,
    };
    emitter.announce(given_up(), &|_| {});
    assert_eq!(
        *seen.lock().unwrap(),
        ["deadline default: given up after 0ns"]
    );
    for events in [&mut early, &mut late] {
        assert!(events.try_recv().is_some() && events.try_recv().is_none());
    }
    emitter.set_measured(true);
    emit(&emitter);
    for events in [&mut early, &mut late] {
        assert!(events.try_recv().is_some() && events.try_recv().is_none());
    }
    assert_eq!(seen.lock().unwrap().len(), 2);
}

/// Emits an event. Whether there are sinks after it.
fn emit(emitter: &Emitter) -> bool {
    let rejection = Rejection::by(emitter.instance(), Reason::DeadlinePassed);
    Emit::emit(emitter, || EventKind::Rejected(rejection.clone()));
    emitter.has_sinks()
}
