//! No time is too long for a call, or too short (P15).

use std::time::Duration;

use mainstay::Context;
use tokio::time::Instant;

use crate::scenario::Scenario;
use crate::subject::{Core, Subject};
use crate::world::Run;

pub(crate) async fn any_deadline_is_a_deadline<L: Core>(make: impl AsyncFn() -> Subject<L>) {
    let far = [
        Duration::MAX,
        farthest(),
        Duration::from_secs(100 * 365 * 86_400),
    ];
    let scenarios = Scenario::ALL.into_iter();
    for scenario in scenarios.filter(|&scenario| scenario != Scenario::Hangs) {
        let mut without = Run::new(&make, scenario).await.begin();
        without.finish().await;
        for timeout in far {
            println!("{scenario:?}: {timeout:?}");
            let run = Run::new(&make, scenario).await;
            let mut run = run.within(Context::current().with_timeout(timeout)).begin();
            run.finish().await;
            assert_eq!(run.outcome, without.outcome);
            run.drop_call();
            run.assert_given_back();
        }
        for timeout in [Duration::ZERO, Duration::from_nanos(1)] {
            println!("{scenario:?}: {timeout:?}");
            let run = Run::new(&make, scenario).await;
            let mut run = run.within(Context::current().with_timeout(timeout)).begin();
            run.finish().await;
            assert_eq!(run.outcome.is_some(), without.outcome.is_some());
            run.drop_call();
            run.assert_given_back();
        }
    }
}

/// A limit of the layer's own may be as long.
#[tokio::test(start_paused = true)]
async fn any_limit_is_a_limit() {
    for limit in [Duration::MAX, farthest()] {
        let make = async || Subject::new(mainstay::TimeoutLayer::new(limit));
        for scenario in [Scenario::Slow, Scenario::Hangs] {
            println!("{scenario:?}: {limit:?}");
            let mut run = Run::new(&make, scenario).await.begin();
            run.finish().await;
            let answered = run.outcome == Some(crate::hand::Outcome::Answer(crate::world::ID));
            assert_eq!(answered, scenario == Scenario::Slow);
            run.drop_call();
            run.assert_given_back();
        }
    }
}

/// The longest time from now that the clock can tell.
pub(crate) fn farthest() -> Duration {
    let now = Instant::now();
    let of = |nanos: u128| {
        let secs = u64::try_from(nanos / 1_000_000_000).unwrap();
        Duration::new(secs, (nanos % 1_000_000_000) as u32)
    };
    let (mut told, mut beyond) = (0, Duration::MAX.as_nanos());
    while beyond - told > 1 {
        let middle = told + (beyond - told) / 2;
        match now.checked_add(of(middle)) {
            Some(_) => told = middle,
            None => beyond = middle,
        }
    }
    of(told)
}
