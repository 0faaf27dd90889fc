//! What travels with a request reaches whatever is inside, in every part of a call, and nothing of it stays behind.

use std::time::Duration;

use mainstay::{Backoff, Context, Jitter, RetryLayer};
use tokio::time::advance;
use tower::{Layer, Service};

use crate::hand::{Outcome, poll};
use crate::probe::{End, Plan};
use crate::subject::{Core, Subject};
use crate::world::{ID, Run, Scenario, World, make_ready};

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
