use super::{model_tests::aimd, *};

const MS: Duration = Duration::from_millis(1);

/// A limit and a clock. A window has ten samples and uses each permit three times.
struct Bench {
    adaptive: Adaptive,
    now: Duration,
}

impl Bench {
    fn new(limit: Limit) -> Self {
        Self {
            adaptive: Adaptive::new(&limit, Duration::ZERO),
            now: Duration::ZERO,
        }
    }

    fn windows(&mut self, windows: u32, rtt: Duration, in_flight: impl Fn(u32) -> u32) -> u32 {
        for _ in 0..windows {
            self.now += MS * 1_000;
            let in_flight = in_flight(self.adaptive.limit());
            let weight = (in_flight * 3).div_ceil(10);
            for _ in 0..10 {
                self.adaptive.sample(self.now, rtt, in_flight, weight);
            }
        }
        self.adaptive.limit()
    }
}

fn both() -> [Limit; 2] {
    let aimd = Limit::aimd().initial(100).min(1).max(1_000);
    let gradient2 = Limit::gradient2().initial(100).min(1).max(1_000);
    [
        aimd.build().expect("valid"),
        gradient2.build().expect("valid"),
    ]
}

#[test]
fn a_limit_that_is_not_used_does_not_grow() {
    for limit in both() {
        assert_eq!(Bench::new(limit).windows(1_000, MS, |_| 1), 100);
        assert_eq!(Bench::new(limit).windows(1_200, MS, |limit| limit), 1_000);
    }
}

#[test]
fn dropped_calls_lower_a_limit_that_is_hardly_used() {
    for limit in both() {
        let mut bench = Bench::new(limit);
        let mut limits = vec![100];
        for _ in 0..30 {
            bench.now += MS * 5_000;
            for _ in 0..30 {
                bench.adaptive.dropped(bench.now, 30);
            }
            limits.push(bench.adaptive.limit());
        }
        assert!(limits.is_sorted_by(|a, b| a >= b), "{limits:?}");
        assert!(limits[30] < 10, "{limits:?}");
        // And the slow start is over.
        let before = bench.adaptive.limit();
        let after = bench.windows(3, MS, |limit| limit);
        assert!(after <= before + 15, "{before} {after}");
    }
}

#[test]
fn a_limit_without_samples_grows_and_tries() {
    for limit in both() {
        let mut adaptive = Adaptive::new(&limit, Duration::ZERO);
        // Something is in flight and says nothing for an hour.
        let mut limits = Vec::new();
        for second in 1..200_u32 {
            adaptive.shed(MS * 1_000 * second);
            adaptive.shed(MS * 1_000 * second + MS * 500);
            limits.push(adaptive.limit());
        }
        assert_eq!(limits[..2], [110, 121], "once a second");
        assert_eq!(limits.last(), Some(&1_000), "its maximum");
        // With samples it does not.
        let mut bench = Bench::new(limit);
        for _ in 0..100 {
            bench.windows(1, MS, |_| 1);
            assert!(!bench.adaptive.shed(bench.now + MS * 900));
        }
        assert_eq!(bench.adaptive.limit(), 100);
    }
}

#[test]
fn a_service_that_became_slower_is_followed_and_a_queue_is_not() {
    // 10 ms, then 40 ms at any number of calls.
    let mut bench = Bench::new(Limit::adaptive());
    assert_eq!(bench.windows(300, MS * 10, |limit| limit), 200);
    bench.windows(400, MS * 40, |limit| limit);
    assert_eq!(bench.windows(400, MS * 40, |limit| limit), 200);
    // 10 ms for each ten calls.
    let mut bench = Bench::new(Limit::adaptive());
    bench.windows(100, MS * 10, |limit| limit.min(10));
    let mut limit = 200;
    for _ in 0..2_000 {
        limit = bench.windows(1, MS * limit, |limit| limit);
    }
    assert!(limit < 40, "{limit}");
}

#[test]
fn a_burst_of_failures_is_one_piece_of_evidence() {
    for limit in both() {
        let mut bench = Bench::new(limit);
        bench.now += MS * 1_000;
        for _ in 0..19 {
            bench.adaptive.dropped(bench.now, 100);
        }
        assert_eq!(bench.adaptive.limit(), 90);
    }
}

#[test]
fn the_long_term_latency_recovers_after_an_incident() {
    let mut bench = Bench::new(Limit::adaptive());
    bench.windows(100, MS * 10, |limit| limit);
    // Ten times slower for so long that this is the usual latency.
    bench.windows(3_000, MS * 100, |limit| limit);
    bench.windows(60, MS * 10, |limit| limit);
    // Were it still, three times the true usual latency would seem quick.
    let slow = bench.windows(60, MS * 50, |limit| limit);
    assert_eq!(slow, 20, "down to its minimum");
}

#[test]
fn a_limit_shrinks_while_calls_are_slower_and_comes_back() {
    let mut bench = Bench::new(Limit::adaptive());
    let well = bench.windows(300, MS * 10, |limit| limit);
    assert_eq!(well, 200);
    let ill = bench.windows(20, MS * 40, |limit| limit);
    assert!(ill < 60, "{ill}");
    assert_eq!(bench.windows(300, MS * 10, |limit| limit), 200);
}

#[test]
fn ten_calls_are_waited_for_and_a_weight_stands_for_that_many() {
    let limit = Limit::aimd().initial(23).min(1).build().expect("valid");
    let mut adaptive = Adaptive::new(&limit, Duration::ZERO);
    for _ in 0..10 {
        adaptive.dropped(MS * 100, 23);
    }
    assert_eq!(adaptive.limit(), 20, "the slow start is over");
    let late = MS * 10_000;
    for _ in 0..9 {
        assert!(!adaptive.sample(late, MS, 20, 1));
    }
    assert!(adaptive.sample(late, MS, 20, 1));
    assert!(!adaptive.sample(late * 2, MS, 20, 9));
    assert!(adaptive.sample(late * 2, MS, 20, 1));
    assert!(
        !adaptive.sample(late * 2 + MS * 99, MS, 20, 100),
        "less than 100 ms"
    );
}

#[test]
fn aimd_never_falls_to_nothing() {
    let limit = Limit::aimd().initial(3).min(1).build().expect("valid");
    let mut bench = Bench::new(limit);
    assert_eq!(bench.windows(50, MS * 6_000, |_| 1), 1);
}

#[test]
fn invalid_limits_are_refused() {
    fn field(limit: Result<Limit, ConfigError>) -> String {
        let error = limit.expect_err("refused");
        assert_eq!(error.component(), "limit");
        error.field().to_owned()
    }
    for limit in [0, 1_000_001, u32::MAX] {
        assert_eq!(
            Limit::fixed(limit).check().expect_err("refused").field(),
            "limit"
        );
        assert_eq!(field(Limit::aimd().max(limit).build()), "max");
        assert_eq!(field(Limit::gradient2().min(limit).build()), "min");
        assert_eq!(field(Limit::gradient2().queue(limit).build()), "queue");
        assert_eq!(
            field(Limit::gradient2().long_window(limit).build()),
            "long_window"
        );
    }
    assert_eq!(field(Limit::aimd().min(201).build()), "min");
    assert_eq!(field(Limit::aimd().initial(19).build()), "initial");
    assert_eq!(field(Limit::gradient2().initial(201).build()), "initial");
    for value in [-1.0, 0.0, f64::NAN, f64::INFINITY] {
        assert_eq!(field(Limit::aimd().backoff(value).build()), "backoff");
        assert_eq!(
            field(Limit::gradient2().smoothing(value).build()),
            "smoothing"
        );
        assert_eq!(
            field(Limit::gradient2().tolerance(value).build()),
            "tolerance"
        );
    }
    assert_eq!(field(Limit::aimd().backoff(1.0).build()), "backoff");
    for value in [Duration::ZERO, Duration::MAX] {
        assert_eq!(field(Limit::aimd().timeout(value).build()), "timeout");
    }
    for limit in [Limit::default(), aimd(), Limit::fixed(1)] {
        assert_eq!(limit.check(), Ok(()));
        assert_eq!(limit.is_adaptive(), limit != Limit::fixed(1));
    }
}
