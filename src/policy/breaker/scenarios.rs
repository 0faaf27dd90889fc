//! Known faults of circuit breakers, one test each.

use super::*;
use crate::policy::window::Window;

pub(super) const SECOND: Duration = Duration::from_secs(1);

/// A breaker and a clock. Random numbers are all 0.5, which is the open time without jitter.
pub(super) struct Bench {
    pub(super) breaker: Breaker,
    pub(super) now: Duration,
}

impl Bench {
    pub(super) fn new(config: Config) -> Self {
        assert_eq!(config.checked(), Ok(()));
        let now = SECOND * 100;
        Self {
            breaker: Breaker::new(config, now),
            now,
        }
    }

    /// A default breaker, just tripped: open for 5 seconds.
    pub(super) fn tripped() -> Self {
        Self::tripped_with(Config::default())
    }

    pub(super) fn tripped_with(config: Config) -> Self {
        let mut bench = Self::new(config);
        bench.trip();
        bench
    }

    pub(super) fn trip(&mut self) {
        for _ in 0..20 {
            self.call(Outcome::Failure);
        }
        assert_eq!(self.breaker.state(), State::Open);
    }

    pub(super) fn admit(&mut self) -> Option<Ticket> {
        match self.breaker.admit(self.now, 0.5).0 {
            Decision::Admit(ticket) => Some(ticket),
            Decision::Reject { .. } => None,
        }
    }

    pub(super) fn finish(
        &mut self,
        ticket: Ticket,
        outcome: Outcome,
        elapsed: Duration,
    ) -> Option<Transition> {
        let outcome = self
            .breaker
            .effective_outcome(self.now, outcome, elapsed, None);
        self.breaker
            .record(self.now, ticket, outcome, elapsed, None, 0.5)
    }

    pub(super) fn call(&mut self, outcome: Outcome) -> Option<Transition> {
        let ticket = self.admit()?;
        self.finish(ticket, outcome, Duration::ZERO)
    }

    pub(super) fn retry_after(&mut self) -> Option<Duration> {
        self.breaker.snapshot(self.now).retry_after
    }
}

#[test]
fn a_count_window_slides_after_ten_thousand_successes() {
    let mut bench = Bench::new(Config {
        window: Window::count(20),
        ..Config::default()
    });
    for _ in 0..10_000 {
        bench.call(Outcome::Success);
    }
    for _ in 0..9 {
        assert_eq!(bench.call(Outcome::Failure), None);
    }
    let transition = bench.call(Outcome::Failure).expect("10 of 20");
    assert_eq!(
        (transition.to, transition.cause),
        (State::Open, Cause::FailureRate)
    );
    assert_eq!((transition.calls, transition.failures), (20, 10));
    assert_eq!(transition.open_for, Some(SECOND * 5));
}

#[test]
fn two_hundred_hung_calls_cut_off_further_out_are_an_outage() {
    let mut bench = Bench::new(Config::default());
    let tickets: Vec<_> = (0..200).filter_map(|_| bench.admit()).collect();
    assert_eq!(tickets.len(), 200);
    bench.now += SECOND * 2;
    for ticket in tickets {
        bench.finish(ticket, Outcome::Cancelled, SECOND * 2);
    }
    assert_eq!(bench.breaker.state(), State::Open);
}

#[test]
fn callers_that_leave_early_say_nothing() {
    let mut bench = Bench::new(Config::default());
    for _ in 0..200 {
        let ticket = bench.admit().expect("closed");
        bench.finish(ticket, Outcome::Cancelled, SECOND / 2);
    }
    assert_eq!(bench.breaker.snapshot(bench.now).calls, 0);
}

#[test]
fn latencies_of_successes_do_not_expire_while_the_circuit_is_open() {
    let config = Config {
        open_for: SECOND * 300,
        open_max: SECOND * 300,
        jitter: 0.0,
        ..Config::default()
    };
    let mut bench = Bench::new(config);
    let ticket = bench.admit().expect("closed");
    bench.finish(ticket, Outcome::Success, SECOND * 3);
    bench.trip();
    bench.now += SECOND * 300;
    // Callers that give two seconds to what takes three prove nothing, now as before.
    for _ in 0..10 {
        let ticket = bench.admit().expect("a permit");
        assert_eq!(bench.finish(ticket, Outcome::Cancelled, SECOND * 2), None);
        assert_eq!(bench.breaker.state(), State::HalfOpen);
    }
    for _ in 0..2 {
        let ticket = bench.admit().expect("a permit");
        bench.finish(ticket, Outcome::Cancelled, SECOND * 4);
    }
    assert_eq!(bench.breaker.state(), State::Open);
}

#[test]
fn a_cancelled_call_counts_from_the_slow_call_threshold_unless_chosen_otherwise() {
    let slow = Config {
        slow_calls: Some(SlowCalls::new(SECOND * 3, 0.5)),
        ..Config::default()
    };
    let chosen = Config {
        on_cancel: Some(OnCancel::FailureAfter(Duration::ZERO)),
        ..slow
    };
    let never = Config {
        on_cancel: Some(OnCancel::Ignore),
        ..slow
    };
    let nanosecond = Duration::from_nanos(1);
    for (config, after_three, after_more) in [(slow, 0, 1), (chosen, 1, 2), (never, 0, 0)] {
        let mut bench = Bench::new(config);
        for (elapsed, failures) in [
            (SECOND * 3, after_three),
            (SECOND * 3 + nanosecond, after_more),
        ] {
            let ticket = bench.admit().expect("closed");
            bench.finish(ticket, Outcome::Cancelled, elapsed);
            assert_eq!(bench.breaker.snapshot(bench.now).failures, failures);
        }
    }
}

#[test]
fn a_tight_burst_hides_behind_no_average() {
    let mut bench = Bench::new(Config {
        consecutive_failures: Some(5),
        ..Config::default()
    });
    for _ in 0..10_000 {
        bench.call(Outcome::Success);
    }
    let trip = (0..5).filter_map(|_| bench.call(Outcome::Failure)).last();
    assert_eq!(trip.expect("5 in a row").cause, Cause::ConsecutiveFailures);
}

#[test]
fn slow_calls_trip_whether_they_fail_or_not() {
    let mut bench = Bench::new(Config {
        failure_rate: None,
        slow_calls: Some(SlowCalls::new(SECOND, 1.0)),
        ..Config::default()
    });
    for n in 1..=20 {
        let ticket = bench.admit().expect("closed");
        let outcome = if n % 2 == 0 {
            Outcome::Success
        } else {
            Outcome::Failure
        };
        let transition = bench.finish(ticket, outcome, SECOND + Duration::from_nanos(1));
        assert_eq!(
            transition.map(|t| t.cause),
            (n == 20).then_some(Cause::SlowCallRate)
        );
    }
}

#[test]
fn a_call_that_takes_exactly_the_threshold_is_not_slow() {
    let mut bench = Bench::new(Config {
        slow_calls: Some(SlowCalls::new(SECOND, 0.5)),
        ..Config::default()
    });
    let ticket = bench.admit().expect("closed");
    bench.finish(ticket, Outcome::Success, SECOND);
    assert_eq!(bench.breaker.snapshot(bench.now).slow_calls, 0);
}

#[test]
fn a_success_that_lifts_the_total_to_the_minimum_can_trip() {
    let mut bench = Bench::new(Config::default());
    for _ in 0..10 {
        bench.call(Outcome::Failure);
    }
    assert!(!bench.breaker.front().counts_free);
    let trip = (0..10).filter_map(|_| bench.call(Outcome::Success)).last();
    assert_eq!(trip.expect("10 of 20").cause, Cause::FailureRate);
}

#[test]
fn a_success_after_older_ones_expired_can_trip() {
    let mut bench = Bench::new(Config::default());
    for _ in 0..30 {
        bench.call(Outcome::Success);
    }
    bench.now += SECOND * 5;
    for _ in 0..20 {
        bench.call(Outcome::Failure);
    }
    assert!(
        bench.breaker.front().counts_free,
        "40 % until the bucket ends"
    );
    bench.now += SECOND * 5;
    assert!(bench.now >= bench.breaker.front().bucket_ends);
    assert_eq!(
        bench.call(Outcome::Success).expect("20 of 21").to,
        State::Open
    );
}

#[test]
fn a_few_early_failures_do_not_end_the_fast_path() {
    let mut bench = Bench::new(Config::default());
    for _ in 0..9 {
        bench.call(Outcome::Failure);
        assert!(
            bench.breaker.front().counts_free,
            "no success makes half of it failures"
        );
    }
}

#[test]
fn the_open_time_grows_to_its_cap_and_starts_anew_after_a_close() {
    let mut bench = Bench::tripped();
    for expected in [5, 10, 20, 40, 60, 60] {
        assert_eq!(bench.retry_after(), Some(SECOND * expected));
        bench.now += SECOND * expected;
        assert_eq!(bench.retry_after(), None);
        bench.call(Outcome::Failure);
        bench.call(Outcome::Failure);
    }
    bench.now += SECOND * 60;
    bench.call(Outcome::Success);
    bench.call(Outcome::Success);
    bench.trip();
    assert_eq!(bench.retry_after(), Some(SECOND * 5));
}

#[test]
fn jitter_goes_both_ways_and_not_over_the_cap() {
    let tripped = |open_for: Duration, random| {
        let mut breaker = Breaker::new(
            Config {
                consecutive_failures: Some(1),
                open_for,
                ..Config::default()
            },
            SECOND,
        );
        let Decision::Admit(ticket) = breaker.admit(SECOND, 0.5).0 else {
            panic!("closed");
        };
        let zero = Duration::ZERO;
        let transition = breaker.record(SECOND, ticket, Outcome::Failure, zero, None, random);
        transition
            .and_then(|t| t.open_for)
            .expect("open")
            .as_millis()
    };
    assert_eq!(tripped(SECOND * 5, 0.0), 4_500);
    assert_eq!(tripped(SECOND * 5, 1.0), 5_500);
    assert_eq!(tripped(SECOND * 60, 1.0), 60_000);
    for nonsense in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -3.0, 7.0] {
        assert!((4_500..=5_500).contains(&tripped(SECOND * 5, nonsense)));
    }
}

#[test]
fn the_upstreams_own_hint_lengthens_the_open_time_up_to_the_cap() {
    for (hint, expected) in [(1, 5), (30, 30), (1_000_000, 60)] {
        let mut bench = Bench::new(Config::default());
        for n in 0..20 {
            let ticket = bench.admit().expect("closed");
            // An early failure brings the hint, another one trips.
            let ask = (n == 3).then_some(SECOND * hint);
            let zero = Duration::ZERO;
            bench
                .breaker
                .record(bench.now, ticket, Outcome::Failure, zero, ask, 0.5);
        }
        assert_eq!(bench.retry_after(), Some(SECOND * expected));
    }
}

#[test]
fn shadow_mode_goes_through_the_states_and_rejects_nothing() {
    let mut bench = Bench::tripped_with(Config {
        mode: Mode::Shadow,
        ..Config::default()
    });
    let ticket = bench.admit().expect("let through");
    assert!(ticket.would_reject());
    for _ in 0..100 {
        assert_eq!(bench.finish(ticket, Outcome::Success, SECOND), None);
    }
    bench.now += SECOND * 5;
    let probes = (0..10)
        .filter_map(|_| bench.admit())
        .filter(|t| !t.would_reject())
        .count();
    assert_eq!(probes, 3);
}

#[test]
fn off_counts_nothing_and_rejects_nothing() {
    let mut bench = Bench::new(Config {
        mode: Mode::Off,
        ..Config::default()
    });
    for _ in 0..100 {
        assert_eq!(bench.call(Outcome::Failure), None);
    }
    bench.breaker.credit(5);
    bench.breaker.force_open(bench.now);
    assert!(bench.admit().is_some());
    assert_eq!(bench.breaker.snapshot(bench.now).calls, 0);
}

#[test]
fn forced_states_last_until_the_reset() {
    let mut bench = Bench::tripped();
    assert_eq!(
        bench.breaker.force_closed(bench.now).expect("forced").from,
        State::Open
    );
    assert_eq!(bench.breaker.force_closed(bench.now), None);
    for _ in 0..50 {
        assert_eq!(bench.call(Outcome::Failure), None);
    }
    assert_eq!(bench.breaker.snapshot(bench.now).failures, 50);
    bench.breaker.force_open(bench.now);
    bench.now += SECOND * 1_000;
    let decision = bench.breaker.admit(bench.now, 0.5).0;
    assert_eq!(decision, Decision::Reject { retry_after: None });
    let transition = bench.breaker.reset(bench.now).expect("reset");
    assert_eq!(
        (transition.to, transition.cause),
        (State::Closed, Cause::Reset)
    );
    assert_eq!(
        bench.breaker.reset(bench.now),
        None,
        "it was closed already"
    );
}

#[test]
fn a_reset_forgets_what_is_under_way_too() {
    let mut bench = Bench::new(Config::default());
    let ticket = bench.admit().expect("closed");
    bench.breaker.reset(bench.now);
    bench.finish(ticket, Outcome::Failure, SECOND);
    assert_eq!(bench.breaker.snapshot(bench.now).calls, 0);
}

#[test]
fn a_late_reading_of_the_clock_is_no_time_travel() {
    let mut bench = Bench::tripped();
    bench.now += SECOND * 5;
    bench.admit().expect("a probe");
    bench.now -= SECOND;
    assert!(bench.admit().is_some_and(|ticket| ticket.is_probe()));
}

#[test]
fn names_are_snake_case() {
    assert_eq!(format!("{:>10}", State::HalfOpen), " half_open");
    assert_eq!(Cause::ProbeTimedOut.to_string(), "probe_timed_out");
}
