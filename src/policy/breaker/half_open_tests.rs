//! Known faults of half-open and recovering breakers, one test each.

use super::scenarios::{Bench, SECOND};
use super::*;

#[test]
fn a_probes_result_does_not_age_out_of_the_window() {
    let mut bench = Bench::tripped();
    // Far more than the window and the life of a probe lie between any two of them.
    for expected in [State::HalfOpen, State::Closed] {
        bench.now += SECOND * 3_600;
        bench.call(Outcome::Success);
        assert_eq!(bench.breaker.state(), expected);
    }
}

#[test]
fn a_call_admitted_before_the_trip_decides_nothing_after_it() {
    let mut bench = Bench::new(Config {
        probes: 1,
        ..Config::default()
    });
    let early: Vec<_> = (0..4).filter_map(|_| bench.admit()).collect();
    bench.trip();
    let epoch = bench.breaker.epoch();
    assert_eq!(bench.finish(early[0], Outcome::Success, SECOND), None);
    bench.now += SECOND * 5;
    let probe = bench.admit().expect("a probe");
    assert!(probe.is_probe());
    assert_eq!(bench.finish(early[1], Outcome::Success, SECOND), None);
    assert_eq!(bench.finish(early[2], Outcome::Failure, SECOND), None);
    assert_eq!(bench.breaker.epoch(), epoch + 1);
    bench.finish(probe, Outcome::Success, SECOND);
    assert_eq!(bench.breaker.state(), State::Closed);
    bench.finish(early[3], Outcome::Failure, SECOND);
    assert_eq!(bench.breaker.snapshot(bench.now).calls, 0);
}

#[test]
fn a_hung_probe_blocks_nobody_for_ever_and_its_late_result_counts_for_nothing() {
    let mut bench = Bench::tripped();
    bench.now += SECOND * 5;
    let hung: Vec<_> = (0..3).filter_map(|_| bench.admit()).collect();
    assert_eq!(bench.admit(), None, "all permits are taken");
    assert_eq!(bench.breaker.snapshot(bench.now).probes_in_flight, 3);
    bench.now += SECOND * 10;
    assert_eq!(bench.breaker.snapshot(bench.now).probes_in_flight, 0);
    let (decision, transition) = bench.breaker.admit(bench.now, 0.5);
    let transition = transition.expect("they failed");
    assert_eq!(
        (transition.to, transition.cause),
        (State::Open, Cause::ProbeTimedOut)
    );
    let retry_after = Some(SECOND * 10);
    assert_eq!(decision, Decision::Reject { retry_after });
    for ticket in hung {
        assert_eq!(bench.finish(ticket, Outcome::Success, SECOND * 10), None);
    }
    assert_eq!(bench.breaker.state(), State::Open);
}

#[test]
fn a_late_probe_counts_once() {
    let mut bench = Bench::tripped();
    bench.now += SECOND * 5;
    let hung = bench.admit().expect("a probe");
    bench.now += SECOND * 10;
    bench.call(Outcome::Success);
    let seen = bench.breaker.snapshot(bench.now);
    assert_eq!(
        (seen.state, seen.calls, seen.failures),
        (State::HalfOpen, 2, 1)
    );
    assert_eq!(bench.finish(hung, Outcome::Success, SECOND * 10), None);
    assert_eq!(bench.breaker.snapshot(bench.now).calls, 2);
    // 1 of 3 failed, which is less than half.
    assert_eq!(
        bench.call(Outcome::Success).expect("closed").to,
        State::Closed
    );
}

#[test]
fn ignored_and_cancelled_probes_release_their_permits() {
    let mut bench = Bench::tripped();
    bench.now += SECOND * 5;
    for outcome in [Outcome::Ignored, Outcome::Cancelled].repeat(50) {
        let ticket = bench.admit().expect("a permit");
        assert_eq!(bench.finish(ticket, outcome, SECOND / 2), None);
    }
    assert_eq!(bench.breaker.snapshot(bench.now).calls, 0);
    bench.call(Outcome::Success);
    assert_eq!(
        bench.call(Outcome::Success).expect("closed").to,
        State::Closed
    );
}

#[test]
fn probes_decide_as_soon_as_the_rest_cannot_matter() {
    let mut bench = Bench::tripped();
    bench.now += SECOND * 5;
    assert_eq!(
        bench.call(Outcome::Failure),
        None,
        "1 of 3 is less than half"
    );
    let transition = bench
        .call(Outcome::Failure)
        .expect("2 of 3, whatever the last one does");
    assert_eq!(
        (transition.to, transition.cause),
        (State::Open, Cause::ProbesFailed)
    );
    assert_eq!((transition.calls, transition.failures), (2, 2));
}

#[test]
fn no_more_probes_than_permits_however_many_calls_come() {
    let mut bench = Bench::tripped();
    bench.now += SECOND * 5;
    assert_eq!((0..1_000).filter_map(|_| bench.admit()).count(), 3);
}

#[test]
fn a_stepwise_recovery_lets_no_herd_through() {
    let mut bench = Bench::tripped_with(Config {
        recovery: Recovery::Stepwise {
            steps: 3,
            over: SECOND * 30,
        },
        ..Config::default()
    });
    bench.now += SECOND * 5;
    bench.call(Outcome::Success);
    assert_eq!(
        bench.call(Outcome::Success).expect("well").to,
        State::Recovering
    );
    for expected in [25, 50, 75] {
        let admitted = (0..100).filter_map(|_| bench.admit()).count();
        assert_eq!(admitted, expected);
        bench.now += SECOND * 10;
    }
    let (decision, transition) = bench.breaker.admit(bench.now, 0.5);
    assert!(matches!(decision, Decision::Admit(_)));
    assert_eq!(transition.expect("over").cause, Cause::Recovered);
}

#[test]
fn a_rule_that_trips_while_recovering_fails_the_recovery() {
    let mut bench = Bench::tripped_with(Config {
        recovery: Recovery::Stepwise {
            steps: 1,
            over: SECOND * 30,
        },
        ..Config::default()
    });
    bench.now += SECOND * 5;
    bench.call(Outcome::Success);
    bench.call(Outcome::Success);
    let transition = (0..40)
        .find_map(|_| bench.call(Outcome::Failure))
        .expect("a trip");
    assert_eq!(
        (transition.from, transition.to),
        (State::Recovering, State::Open)
    );
    assert_eq!(transition.open_for, Some(SECOND * 10));
}
