//! A call is woken when there is something to do, and only then (P10).

use std::sync::Arc;

use futures::FutureExt as _;
use futures::stream::{FuturesUnordered, StreamExt as _};

use crate::hand::{Bell, Outcome};
use crate::probe::{End, Plan};
use crate::scenario::Scenario;
use crate::subject::{Core, Subject};
use crate::world::{ENOUGH, Run, World};

/// Every scenario comes to the same end when the call is polled only if it was woken, through the waker it was polled with
/// last, and never wakes itself.
pub(crate) async fn a_call_is_woken_by_events_alone<L: Core>(make: impl AsyncFn() -> Subject<L>) {
    for scenario in Scenario::ALL {
        let mut eager = Run::new(&make, scenario).await.begin();
        eager.finish().await;
        for twice in [false, true] {
            println!("{scenario:?}: {twice}");
            let mut run = Run::new(&make, scenario).await.begin();
            let others = run.world.probe.polls();
            let rounds = poll_when_woken(&mut run, twice).await;
            assert_eq!(run.outcome, eager.outcome, "no wake-up is lost");
            assert!(rounds <= run.steps + 2, "{rounds} for {} events", run.steps);
            let polls = run.world.probe.polls() - others;
            let rounds = rounds * if twice { 2 } else { 1 };
            assert!(polls <= rounds, "{polls} inner polls in {rounds}");
        }
    }
}

async fn poll_when_woken<L: Core>(run: &mut Run<L>, twice: bool) -> u32 {
    let mut rounds = 0;
    let (mut old, mut new) = (None, None);
    while run.outcome.is_none() && run.steps < ENOUGH {
        rounds += 1;
        if twice {
            old = run.poll();
        }
        new = run.poll().or(new);
        while run.outcome.is_none() && run.steps < ENOUGH {
            let rung = |bell: &Option<Arc<Bell>>| bell.as_ref().map_or(0, |bell| bell.rung());
            assert_eq!(rung(&new), 0, "nothing has happened");
            run.step().await;
            assert_eq!(rung(&old), 0, "that waker was replaced");
            if rung(&new) > 0 {
                break;
            }
        }
    }
    rounds
}

/// More callers than places: each gets an answer or a rejection, and with a queue each gets its turn.
pub(crate) async fn all_who_wait_are_served<L: Core>(make: impl AsyncFn() -> Subject<L>) {
    const CALLERS: u32 = 10;
    let world = World::new(&make).await;
    let plan = Plan::after(1, End::Answer);
    world.log.plan([plan; CALLERS as usize]);
    // It polls only those that were woken.
    let mut calls: FuturesUnordered<_> = (0..CALLERS).map(|id| world.call(id)).collect();
    let mut ends = Vec::new();
    for _ in 0..3 * CALLERS {
        while let Some(Some(result)) = calls.next().now_or_never() {
            ends.push(Outcome::from(result));
        }
        world.log.event();
    }
    assert_eq!(ends.len() as u32, CALLERS);
    let answered = ends.iter().filter(|end| matches!(end, Outcome::Answer(_)));
    let expected = match world.subject.places {
        0 => CALLERS,
        _ if world.subject.queues => CALLERS,
        places => places,
    };
    assert_eq!(answered.count() as u32, expected);
    let polls = world.probe.polls();
    assert!(
        polls <= 2 * expected,
        "{polls} polls of {expected} calls with one event each"
    );
    drop(calls);
    assert_eq!(world.subject.held(), 0);
}
