//! `poll_ready` tells of the inner service and reserves nothing; rejections come from the call (P2, P3).

use std::task::Poll;

use mainstay::Reason;
use tower::Service;

use crate::hand::{Outcome, poll, poll_with};
use crate::probe::Readiness;
use crate::subject::{Core, ServiceOf, Subject};
use crate::world::{ID, World, make_ready};

/// Calls the service as it is, and polls the call once.
fn call<L: Core>(world: &World<L>, service: &mut ServiceOf<L>, id: u32) -> Poll<Outcome> {
    let mut call = Box::pin(service.call(world.log.message(id)));
    poll(call.as_mut()).map(Outcome::from)
}

fn assert_rejected(polled: Poll<Outcome>, may_be_unready: bool) {
    let Poll::Ready(Outcome::Rejected(rejection)) = polled else {
        panic!("a rejection, not {polled:?}");
    };
    assert!(rejection.not_sent());
    assert_eq!(rejection.reason() == Reason::NotReady, may_be_unready);
}

pub(crate) async fn readiness_is_that_of_the_inner_service<L: Core>(
    make: impl AsyncFn() -> Subject<L>,
) {
    let world = World::new(&make).await;
    let mut service = world.service();

    world.log.be(Readiness::Pending);
    if world.subject.sheds {
        make_ready(&mut service);
        world.log.be(Readiness::Ready);
        assert_rejected(call(&world, &mut service, 1), true);
        assert_eq!(world.probe.calls(), 0);
    } else {
        let (polled, old) = poll_with(|task| service.poll_ready(task));
        assert!(polled.is_pending());
        let (polled, new) = poll_with(|task| service.poll_ready(task));
        assert!(polled.is_pending());
        assert_eq!((old.rung(), new.rung()), (0, 0), "it does not wake itself");
        world.log.be(Readiness::Ready);
        assert_eq!((old.rung(), new.rung()), (0, 1), "the last waker counts");
    }
    make_ready(&mut service);
    let answered = call(&world, &mut service, 2);
    assert_eq!(answered, Poll::Ready(Outcome::Answer(2)));
    assert_eq!(world.probe.unready_calls(), 0);
}

/// An error of the inner service's readiness never leaves as one: it is the answer to the call that follows, and the inner service is
/// not called.
pub(crate) async fn an_error_of_readiness_is_the_answer_to_the_call<L: Core>(
    make: impl AsyncFn() -> Subject<L>,
) {
    let world = World::new(&make).await;
    let failed = world.subject.failed();
    let (calls, asked) = (world.probe.calls(), world.probe.readiness_polls());
    let mut service = world.service();
    world.log.be(Readiness::Failing);
    make_ready(&mut service);
    assert_eq!(world.probe.readiness_polls(), asked + 1);
    make_ready(&mut service);
    assert_eq!(
        world.probe.readiness_polls(),
        asked + 1,
        "it stays ready for the call"
    );
    assert_eq!(world.subject.held(), 0, "which holds nothing yet");
    if world.subject.rejects_unready {
        let mut clone = service.clone();
        assert_rejected(call(&world, &mut clone, 1), true);
    }

    let answered = service.call(world.log.message(2)).await;
    assert_eq!(Outcome::from(answered), Outcome::Fault(0), "as it was");
    assert_eq!(world.probe.calls(), calls, "nobody is called");
    assert_eq!(world.log.seen().requests, 0);
    assert_eq!(world.subject.held(), 0, "everything is given back");
    let counted = u64::from(world.subject.counts_panics);
    assert_eq!(
        world.subject.failed(),
        failed.map(|failed| failed + counted)
    );

    // It can be used again: what comes next depends on what the inner service is then.
    world.log.be(Readiness::Ready);
    make_ready(&mut service);
    let answered = call(&world, &mut service, 3);
    assert_eq!(answered, Poll::Ready(Outcome::Answer(3)));
    assert_eq!(world.probe.unready_calls(), 0);
}

/// Whoever goes away before the error is there leaves nothing behind, and neither does a service that is never called.
pub(crate) async fn an_error_of_readiness_that_nobody_takes_is_gone<L: Core>(
    make: impl AsyncFn() -> Subject<L>,
) {
    let world = World::new(&make).await;
    let failed = world.subject.failed();
    let (mut service, mut other) = (world.service(), world.service());
    world.log.be(Readiness::Failing);
    make_ready(&mut service);
    make_ready(&mut other);
    drop(other);
    drop(service.call(world.log.message(1)));
    assert_eq!(world.subject.held(), 0);
    assert_eq!(world.subject.failed(), failed);
    world.log.be(Readiness::Ready);
    make_ready(&mut service);
    let answered = call(&world, &mut service, 2);
    assert_eq!(answered, Poll::Ready(Outcome::Answer(2)));
    assert_eq!(world.probe.unready_calls(), 0);
}

/// A retry finds the service ready again.
pub(crate) async fn an_error_of_readiness_is_retried_as_not_sent<L: Core>(
    make: impl AsyncFn() -> Subject<L>,
) {
    let world = World::new(&make).await;
    if !world.subject.retries {
        return;
    }
    let failed = world.subject.failed();
    let mut service = world.service();
    world.log.be(Readiness::Failing);
    make_ready(&mut service);
    let call = service.call(world.log.message(ID));
    world.log.be(Readiness::Ready);
    assert_eq!(Outcome::from(call.await), Outcome::Answer(ID));
    assert_eq!(world.probe.calls(), 1, "it is sent once");
    assert_eq!(world.subject.failed(), failed, "and costs nothing");
    assert_eq!(world.probe.unready_calls(), 0);
}

/// A call that waits for a place, and then for a service that fails to be ready, gets that error and gives its place to the next.
pub(crate) async fn a_waiter_gets_the_error_of_readiness<L: Core>(
    make: impl AsyncFn() -> Subject<L>,
) {
    let world = World::new(&make).await;
    if !world.subject.queues {
        return;
    }
    let others = world.occupy(world.subject.places);
    let calls = world.probe.calls();
    let mut waiting = [world.call(1), world.call(2)];
    for call in &mut waiting {
        assert!(poll(call.as_mut()).is_pending());
    }
    world.log.be(Readiness::Failing);
    drop(others);
    for call in &mut waiting {
        let polled = poll(call.as_mut()).map(Outcome::from);
        assert_eq!(polled, Poll::Ready(Outcome::Fault(0)));
    }
    assert_eq!(world.subject.held(), 0);
    assert_eq!(world.probe.calls(), calls, "nobody is called");
    world.log.be(Readiness::Ready);
    assert_eq!(
        world.occupy(world.subject.places).len() as u32,
        world.subject.places
    );
}

/// Where a rejection is known before the call, nobody waits for the inner service, and the rejection stands.
pub(crate) async fn a_known_rejection_does_not_wait_and_stands<L: Core>(
    make: impl AsyncFn() -> Subject<L>,
) {
    let world = World::new(&make).await;
    if world.subject.shut(true).is_some() {
        rejects_whatever_changes(&world, || world.subject.shut(false));
    }
    let world = World::new(&make).await;
    if world.subject.knows_when_full {
        let others = world.occupy(world.subject.places);
        rejects_whatever_changes(&world, || drop(others));
    }
}

fn rejects_whatever_changes<L: Core, T>(world: &World<L>, change: impl FnOnce() -> T) {
    let mut service = world.service();
    world.log.be(Readiness::Pending);
    let (calls, asked) = (world.probe.calls(), world.probe.readiness_polls());
    make_ready(&mut service);
    assert_eq!(world.probe.readiness_polls(), asked, "nobody is asked");

    world.log.be(Readiness::Ready);
    change();
    let polled = call(world, &mut service, 3);
    if world.subject.queues {
        assert_eq!(polled, Poll::Ready(Outcome::Answer(3)));
    } else {
        assert_rejected(polled, false);
        assert_eq!(world.probe.calls(), calls, "nobody is called");
    }
    make_ready(&mut service);
    let polled = call(world, &mut service, 4);
    assert_eq!(polled, Poll::Ready(Outcome::Answer(4)), "and that was that");
    assert_eq!(world.probe.unready_calls(), 0);
}

/// What is full only after it was ready says so from the call.
pub(crate) async fn a_late_rejection_comes_from_the_call<L: Core>(
    make: impl AsyncFn() -> Subject<L>,
) {
    let world = World::new(&make).await;
    if world.subject.places == 0 {
        return;
    }
    let mut service = world.ready();
    let others = world.occupy(world.subject.places);
    let calls = world.probe.calls();
    let mut late = Box::pin(service.call(world.log.message(5)));
    let polled = poll(late.as_mut()).map(Outcome::from);
    assert_eq!(world.probe.calls(), calls, "nobody is called");
    if world.subject.queues {
        assert!(polled.is_pending());
        drop(others);
        let polled = poll(late.as_mut()).map(Outcome::from);
        assert_eq!(polled, Poll::Ready(Outcome::Answer(5)));
    } else {
        assert_rejected(polled, false);
    }
    assert_eq!(world.probe.unready_calls(), 0);
}

/// What is not ready is not called: neither a clone of what is, nor what was ready for the call before.
pub(crate) async fn readiness_is_for_one_call_and_not_for_clones<L: Core>(
    make: impl AsyncFn() -> Subject<L>,
) {
    let world = World::new(&make).await;
    if !world.subject.rejects_unready && !world.subject.queues {
        // It would have to know of readiness only for this: whoever calls it is to blame.
        return;
    }
    let mut original = world.ready();
    let mut clone = original.clone();
    let unready = |polled| match world.subject.queues {
        true => assert!(matches!(polled, Poll::Ready(Outcome::Answer(_)))),
        false => assert_rejected(polled, true),
    };
    unready(call(&world, &mut clone, 6));
    let answered = call(&world, &mut original, 7);
    assert_eq!(answered, Poll::Ready(Outcome::Answer(7)));
    unready(call(&world, &mut original, 8));
    assert_eq!(world.probe.unready_calls(), 0);
}

/// As many idle services as one likes, alive, dropped or forgotten, keep nobody out.
pub(crate) async fn readiness_holds_nothing<L: Core>(make: impl AsyncFn() -> Subject<L>) {
    let world = World::new(&make).await;
    let places = world.subject.places;
    let idle: Vec<_> = (0..=2 * places).map(|_| world.ready()).collect();
    drop(world.ready());
    std::mem::forget(world.ready());
    assert_eq!(world.subject.held(), 0);
    let calls = world.occupy(places);
    assert_eq!(calls.len() as u32, places);
    drop(idle);
    drop(calls);
    drop(world.occupy(places));
    assert_eq!(world.subject.held(), 0);
}
