//! However a call ends, what it held is given back, and only then: cancelled at any point (P4), by a panic (P5), or by
//! a result.

use crate::hand::Outcome;
use crate::probe::{End, Plan};
use crate::scenario::Scenario;
use crate::subject::{Core, Subject};
use crate::world::{ENOUGH, Run};

/// Every scenario, cut off after every poll and after everything that happens between two polls.
pub(crate) async fn cancelled_at_every_poll_it_gives_everything_back<L: Core>(
    make: impl AsyncFn() -> Subject<L>,
) {
    for scenario in Scenario::ALL {
        for polls in 0..ENOUGH {
            let mut over = false;
            for stepped in [false, true] {
                println!("{scenario:?}: {polls} polls, {stepped}");
                let mut run = Run::new(&make, scenario).await.begin();
                for poll in 0..polls {
                    run.poll();
                    if stepped || poll + 1 < polls {
                        run.step().await;
                    }
                }
                over = run.outcome.is_some();
                run.drop_call();
                run.assert_given_back();
            }
            if over {
                break;
            }
        }
    }
}

/// Whoever goes away soon says nothing of what was called, wherever the call was just then: not even polled, perhaps.
pub(crate) async fn a_call_cancelled_soon_is_not_a_failure<L: Core>(
    make: impl AsyncFn() -> Subject<L>,
) {
    for polls in 0..3 {
        println!("{polls} polls");
        let mut run = Run::new(&make, Scenario::Slow).await.begin();
        let failed = run.world.subject.failed();
        for _ in 0..polls {
            run.poll();
            run.step().await;
        }
        assert_eq!(run.outcome, None);
        run.drop_call();
        assert_eq!(run.world.subject.failed(), failed);
    }
}

/// What a retry costs is paid back unless it is sent.
pub(crate) async fn a_retry_that_is_not_sent_costs_nothing<L: Core>(
    make: impl AsyncFn() -> Subject<L>,
) {
    for scenario in [Scenario::Fails, Scenario::FailsUnready] {
        for polls in 0..ENOUGH {
            println!("{scenario:?}: {polls} polls");
            let mut run = Run::new(&make, scenario).await.begin();
            for _ in 0..polls {
                run.poll();
                run.step().await;
            }
            run.drop_call();
            let subject = &run.world.subject;
            if let (true, Some(spent)) = (subject.retries, subject.failed()) {
                assert_eq!(spent, u64::from(run.world.probe.calls() - 1));
            }
        }
    }
}

/// A request that waits in vain is given up before its place is: whoever gets the place next does not find it still there.
pub(crate) async fn what_waits_is_dropped_before_its_place<L: Core>(
    make: impl AsyncFn() -> Subject<L>,
) {
    for scenario in [Scenario::StaysFull, Scenario::StaysUnready] {
        for steps in 0..ENOUGH {
            println!("{scenario:?}: {steps} steps");
            let mut run = Run::new(&make, scenario).await.begin();
            while run.steps < steps {
                run.poll();
                assert!(run.unsent_before_place(), "when it ended");
                run.step().await;
            }
            run.drop_call();
            assert!(run.unsent_before_place(), "when it was dropped");
        }
    }
}

/// The inner `call` panics, or its future at any poll: at the first attempt, at another, or after a wait.
pub(crate) async fn a_panic_gives_everything_back_and_counts<L: Core>(
    make: impl AsyncFn() -> Subject<L>,
) {
    let scenarios = [
        Scenario::Slow,
        Scenario::Fails,
        Scenario::FailsUnready,
        Scenario::Full,
        Scenario::FullUnready,
    ];
    let in_call = Plan::after(0, End::PanicInCall);
    let in_future = (0..3).map(|events| Plan::after(events, End::Panic));
    for plan in in_future.chain([in_call]) {
        for scenario in scenarios {
            println!("{scenario:?}: {plan:?}");
            let run = Run::new(&make, scenario).await.ending(plan);
            let failed = run.world.subject.failed();
            let mut run = run.begin();
            run.finish().await;
            run.drop_call();
            let subject = &run.world.subject;
            let reached = match scenario {
                Scenario::Slow => true,
                Scenario::Fails | Scenario::FailsUnready => subject.retries,
                _ => subject.places == 0 || subject.queues,
            };
            assert_eq!(run.outcome == Some(Outcome::Panicked), reached);
            if subject.counts_panics && scenario == Scenario::Slow {
                assert_eq!(subject.failed(), failed.map(|failed| failed + 1));
            }
            run.assert_given_back();
        }
    }
}

/// A future that is polled although it has ended is a mistake, but not one to panic for.
pub(crate) async fn polled_after_its_end_it_does_not_panic<L: Core>(
    make: impl AsyncFn() -> Subject<L>,
) {
    for scenario in Scenario::ALL {
        println!("{scenario:?}");
        let mut run = Run::new(&make, scenario).await.begin();
        run.finish().await;
        if run.outcome.is_some() {
            assert!(run.poll_again());
            assert!(run.poll_again());
        }
        run.drop_call();
        run.assert_given_back();
    }
}
