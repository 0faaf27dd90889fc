//! `poll_ready` tells of the inner service and reserves nothing; rejections come from the call (P2, P3).

use std::task::Poll;

use mainstay::{Error, Reason, WithRejection};
use tower::Service;

use crate::hand::{Outcome, poll, poll_with};
use crate::probe::Readiness;
use crate::subject::{Core, ServiceOf, Subject};
use crate::world::{World, make_ready};

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
        assert_eq!(world.log.seen().calls, 0);
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

    world.log.be(Readiness::Failing);
    let polled = poll_with(|task| service.poll_ready(task)).0;
    let Poll::Ready(Err(error)) = polled else {
        panic!("the error of readiness passes through, at once");
    };
    assert!(matches!(error.grow(), Error::Inner(fault) if fault.id == 0));
    assert_eq!(world.log.seen().unready_calls, 0);
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
    let before = world.log.seen();
    make_ready(&mut service);
    assert_eq!(world.log.seen().asked, before.asked, "nobody is asked");

    world.log.be(Readiness::Ready);
    change();
    let polled = call(world, &mut service, 3);
    if world.subject.queues {
        assert_eq!(polled, Poll::Ready(Outcome::Answer(3)));
    } else {
        assert_rejected(polled, false);
        assert_eq!(world.log.seen().calls, before.calls, "nobody is called");
    }
    make_ready(&mut service);
    let polled = call(world, &mut service, 4);
    assert_eq!(polled, Poll::Ready(Outcome::Answer(4)), "and that was that");
    assert_eq!(world.log.seen().unready_calls, 0);
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
    let calls = world.log.seen().calls;
    let mut late = Box::pin(service.call(world.log.message(5)));
    let polled = poll(late.as_mut()).map(Outcome::from);
    assert_eq!(world.log.seen().calls, calls, "nobody is called");
    if world.subject.queues {
        assert!(polled.is_pending());
        drop(others);
        let polled = poll(late.as_mut()).map(Outcome::from);
        assert_eq!(polled, Poll::Ready(Outcome::Answer(5)));
    } else {
        assert_rejected(polled, false);
    }
    assert_eq!(world.log.seen().unready_calls, 0);
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
    assert_eq!(world.log.seen().unready_calls, 0);
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
