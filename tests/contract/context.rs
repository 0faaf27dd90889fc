//! What travels with a request reaches whatever is inside, in every part of a call, and nothing of it stays behind.

use std::time::Duration;

use mainstay::{Backoff, Context, Jitter, RetryLayer};
use tokio::time::advance;
use tower::{Layer, Service};

use crate::exchange::FIELD;
use crate::hand::{Outcome, poll};
use crate::probe::{End, Plan};
use crate::scenario::Scenario;
use crate::subject::{Core, Subject};
use crate::world::{ID, Run, World, make_ready};

/// Shorter than all limits of the layers here, longer than what is not about waiting for ever.
const DEADLINE: Duration = Duration::from_secs(25);

/// That the outer context is the same after every step of a scenario as before it, [`Run`] sees to everywhere.
pub(crate) async fn the_context_is_seen_everywhere_inside<L: Core>(
    make: impl AsyncFn() -> Subject<L>,
) {
    for scenario in Scenario::ALL {
        for last in [None, Some(End::Panic), Some(End::PanicInCall)] {
            println!("{scenario:?}, {last:?}");
            let outer = Context::current()
                .with_correlation_id("outer-4711".parse().unwrap())
                .with_timeout(DEADLINE);
            let mut run = Run::new(&make, scenario).await.within(outer.clone());
            if let Some(end) = last {
                run = run.ending(Plan::after(1, end));
            }
            let mut run = run.begin();
            run.finish().await;
            run.drop_call();
            for (place, seen) in run.world.log.contexts(ID) {
                assert_eq!(seen.correlation_id(), outer.correlation_id(), "in {place}");
                assert_eq!(seen.remaining(), outer.remaining(), "in {place}");
            }
            run.assert_given_back();
        }
    }
}

/// Whoever drops a call may be somewhere else by then. What is dropped still is where it ran: in the context that was put around the
/// call, and in what the layer itself adds to it.
pub(crate) async fn a_call_is_dropped_within_its_context<L: Core>(
    make: impl AsyncFn() -> Subject<L>,
) {
    let outer = Context::current()
        .with_correlation_id("outer-4711".parse().unwrap())
        .with_timeout(DEADLINE);
    for context in [Some(outer), None] {
        for polls in 0..3 {
            let world = World::new(&make).await;
            let mut service = world.ready();
            let mut message = world.log.message(ID);
            message.fields.insert(FIELD.into(), "outer-4711".into());
            world.log.plan([Plan::after(0, End::Never)]);
            match &context {
                Some(context) => {
                    let call = context.sync_scope(|| service.call(message));
                    poll_and_drop(context.clone().scope(call), polls);
                }
                None => poll_and_drop(service.call(message), polls),
            }
            let seen = world.log.contexts(ID);
            assert_eq!(seen.len(), 2 + polls, "the call, its polls and its drop");
            for (place, context) in &seen {
                assert_eq!(context, &seen[0].1, "in {place} as in call");
            }
            if let Some(outer) = &context {
                assert_eq!(seen[0].1.correlation_id(), outer.correlation_id());
                assert_eq!(seen[0].1.remaining(), outer.remaining());
            }
        }
    }
}

fn poll_and_drop<F: Future>(future: F, polls: usize) {
    let mut future = Box::pin(future);
    for _ in 0..polls {
        assert!(poll(future.as_mut()).is_pending());
    }
    drop(future);
    assert_eq!(Context::current(), Context::default());
}

/// An attempt is set by a retry layer, so one stands outside here.
pub(crate) async fn the_attempt_is_seen_everywhere_inside<L: Core>(
    make: impl AsyncFn() -> Subject<L>,
) {
    let world = World::new(&make).await;
    let retry = RetryLayer::builder()
        .attempts(2)
        .backoff(Backoff::constant(Duration::from_millis(100)).jitter(Jitter::None))
        .build()
        .unwrap();
    let mut service = retry.layer(world.service());
    make_ready(&mut service);
    world
        .log
        .plan([Plan::after(1, End::Fault), Plan::after(1, End::Answer)]);
    let mut call = Box::pin(service.call(world.log.message(ID)));
    let mut outcome = None;
    while outcome.is_none() {
        if let std::task::Poll::Ready(result) = poll(call.as_mut()) {
            outcome = Some(Outcome::from(result));
        }
        assert_eq!(Context::current(), Context::default());
        world.log.event();
        advance(Duration::from_millis(100)).await;
    }
    assert_eq!(outcome, Some(Outcome::Answer(ID)));
    drop(call);
    let seen = world.log.contexts(ID);
    let of = |wanted| {
        let there = seen.iter().filter(move |(place, _)| *place == wanted);
        there
            .map(|(_, context)| context.attempt())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("call"), [1, 2]);
    assert_eq!(of("poll"), [1, 1, 2, 2]);
    assert_eq!(of("drop"), [1, 2]);
}
