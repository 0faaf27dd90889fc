use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

/// A limit, and one runtime that ticks every 10 ms and by as much later as it lags.
struct Bench {
    limit: SchedulerLag,
    now: Duration,
    admitted: u64,
    shed: u64,
}

impl Bench {
    fn new() -> Self {
        Self {
            limit: SchedulerLag::new(),
            now: MS,
            admitted: 0,
            shed: 0,
        }
    }

    fn tick(&mut self, lag: Duration, in_flight: u32) -> Option<u32> {
        self.now += MS * 10 + lag;
        self.tick_of(1, lag, in_flight)
    }

    fn tick_of(&mut self, runtime: u64, lag: Duration, in_flight: u32) -> Option<u32> {
        self.admitted = self.admitted.max(in_flight.into());
        let tick = Tick {
            runtime,
            workers: 1,
            lag,
            in_flight,
            admitted: self.admitted,
            shed: self.shed,
        };
        self.limit.tick(self.now, &tick);
        self.limit.limit()
    }

    /// Two seconds of long samples, with so many calls of which none waits.
    fn overload(&mut self, in_flight: u32) -> Option<u32> {
        for _ in 0..10 {
            assert_eq!(self.tick(MS * 200, in_flight), None);
        }
        self.tick(MS * 200, in_flight)
    }
}

#[test]
fn a_suspended_process_is_late_once_and_has_no_limit() {
    let mut bench = Bench::new();
    for _ in 0..100 {
        assert_eq!(bench.tick(MS * 60_000, 50), None);
        assert_eq!(bench.tick(MS * 500, 50), None);
        assert_eq!(bench.tick(NOTHING, 50), None);
    }
}

const NOTHING: Duration = Duration::ZERO;

#[test]
fn a_busy_moment_sets_no_limit_and_two_seconds_do() {
    let mut bench = Bench::new();
    for _ in 0..20 {
        // 1.96 seconds.
        for _ in 0..29 {
            assert_eq!(bench.tick(MS * 60, 50), None);
        }
        assert_eq!(bench.tick(MS * 49, 50), None);
    }
    let ticks = (0..100).take_while(|_| bench.tick(MS * 60, 50).is_none());
    assert_eq!(ticks.count(), 29);
}

#[test]
fn a_long_queue_that_grows_is_overload_after_three_quarters_of_a_second() {
    let mut bench = Bench::new();
    for lag in [60, 120, 201, 310] {
        assert_eq!(bench.tick(MS * lag, 100), None, "{lag}");
    }
    // 0.88 seconds, but the queue is shorter; then it does not grow by half.
    assert_eq!(bench.tick(MS * 210, 100), None);
    assert_eq!(bench.tick(MS * 310, 100), None);
    assert!(bench.tick(MS * 465, 100).is_some());
}

/// Samples of a healthy service that started on a machine with other work to do.
#[test]
fn a_start_beside_other_programs_sets_no_limit() {
    let starts: [&[u32]; 3] = [
        &[
            116, 44, 177, 37, 132, 142, 60, 378, 92, 48, 113, 161, 433, 104, 51, 3,
        ],
        &[14, 93, 250, 204, 192, 119, 204, 97, 27, 122, 19, 37, 11, 30],
        &[310, 621, 255, 139, 172, 190, 18, 73, 13, 24, 46, 11, 55, 19],
    ];
    for lags in starts {
        let mut bench = Bench::new();
        for (at, lag) in lags.iter().enumerate() {
            assert_eq!(bench.tick(MS * *lag, 100), None, "{at} of {lags:?}");
        }
    }
}

#[test]
fn a_limit_follows_the_lag() {
    let mut bench = Bench::new();
    // 10 ms are a twentieth of 200.
    assert_eq!(bench.overload(400), Some(20));
    // It goes down while the lag stays, and up when it is gone.
    bench.shed += 1;
    assert_eq!(bench.tick(MS * 20, 20), Some(20), "one sample is none");
    assert_eq!(bench.tick(MS * 20, 20), Some(10));
    bench.shed += 1;
    assert_eq!(bench.tick(NOTHING, 10), Some(10), "not yet");
    assert_eq!(bench.tick(MS * 5, 10), Some(10));
    assert_eq!(bench.tick(MS * 5, 10), Some(11), "one more");
}

#[test]
fn the_cut_includes_the_growth_of_the_queue() {
    let mut bench = Bench::new();
    // The first late sample says nothing of the queue that is there by now.
    assert_eq!(bench.tick(MS * 60, 80), None);
    assert_eq!(bench.tick(MS * 500, 300), None);
    assert_eq!(bench.tick(MS * 1_000, 600), Some(12));
    // While ready tasks still wait, the limit does not grow.
    assert_eq!(bench.tick(MS * 800, 500), Some(12));
}

#[test]
fn calls_that_wait_are_not_limited() {
    let mut bench = Bench::new();
    bench.tick(NOTHING, 2_000);
    assert_eq!(bench.overload(2_400), Some(2_020));
    // More of them came: they have taken what there was, and give it back in a step.
    bench.now += STEP;
    bench.shed += 1;
    let limit = bench.tick(NOTHING, 2_020).unwrap();
    assert!(limit >= 2_040, "{limit}");
}

#[test]
fn it_is_lifted_when_nothing_is_shed_any_more() {
    let mut bench = Bench::new();
    assert!(bench.overload(100).is_some());
    for _ in 0..300 {
        bench.shed += 1;
        assert!(bench.tick(NOTHING, 10).is_some());
    }
    let since = bench.now;
    while bench.tick(NOTHING, 10).is_some() {}
    let lasted = bench.now - since;
    assert!((MS * 900..MS * 1_100).contains(&lasted), "{lasted:?}");
}

#[test]
fn one_runtime_that_has_time_is_enough() {
    let mut bench = Bench::new();
    for _ in 0..100 {
        bench.tick(MS * 200, 100);
        assert_eq!(bench.tick_of(2, NOTHING, 100), None);
    }
    // Unless it calls no more.
    bench.limit.forget(2);
    assert!(bench.tick(MS * 200, 100).is_some());
    bench.limit.forget(1);
    assert_eq!(bench.limit.limit(), None, "nobody would lift it");
}

proptest! {
    #[test]
    fn any_samples_are_survived(
        ticks in prop::collection::vec(
            (any::<Duration>(), 0..3_u64, any::<u32>(), any::<Duration>(), any::<u32>(), any::<u64>(), any::<u64>()),
            0..200,
        ),
    ) {
        let mut limit = SchedulerLag::new();
        for (now, runtime, workers, lag, in_flight, admitted, shed) in ticks {
            let tick = Tick { runtime, workers, lag, in_flight, admitted, shed };
            limit.tick(now, &tick);
            prop_assert!(limit.limit().is_none_or(|limit| limit >= LEAST));
        }
    }

    #[test]
    fn a_low_lag_sets_no_limit(
        ticks in prop::collection::vec((0..=25_u32, 0..10_000_u32), 0..500),
    ) {
        let mut bench = Bench::new();
        for (lag, in_flight) in ticks {
            prop_assert_eq!(bench.tick(MS * lag, in_flight), None);
        }
    }

    #[test]
    fn a_burst_that_ends_within_two_seconds_sets_no_limit(
        bursts in prop::collection::vec(
            prop::collection::vec((0..=300_u32, 0..10_000_u32), 0..100),
            0..10,
        ),
    ) {
        let mut bench = Bench::new();
        for burst in bursts {
            prop_assert_eq!(bench.tick(NOTHING, 10), None);
            let until = bench.now + MS * 1_990;
            for (lag, in_flight) in burst {
                if bench.now + MS * (10 + lag) < until {
                    prop_assert_eq!(bench.tick(MS * lag, in_flight), None);
                }
            }
        }
    }

    #[test]
    fn a_queue_that_grows_is_found(
        first in 51..200_u32, growth in 1.2..4.0_f64, in_flight in 1..10_000_u32,
    ) {
        let mut bench = Bench::new();
        let mut lag = f64::from(first);
        while bench.tick(MS * lag as u32, in_flight).is_none() {
            // Callers give up after a second.
            lag = (lag * growth).min(1_000.0);
            prop_assert!(bench.now < MS * 3_200);
        }
    }

    #[test]
    fn it_always_recovers(
        ticks in prop::collection::vec((0..2_000_u32, 0..10_000_u32), 0..200),
    ) {
        let mut bench = Bench::new();
        for (lag, in_flight) in ticks {
            bench.tick(MS * lag, in_flight);
        }
        for _ in 0..120 {
            bench.tick(NOTHING, 10);
        }
        prop_assert_eq!(bench.limit.limit(), None);
    }
}
