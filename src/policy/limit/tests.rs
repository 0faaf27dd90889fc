use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

/// Keeps every call it was told of, and makes each limit anew from all of them.
struct Model {
    limit: Limit,
    calls: Vec<Call>,
}

#[derive(Debug, Clone, Copy)]
struct Call {
    at: Duration,
    rtt: Option<Duration>,
    in_flight: u32,
    weight: u32,
}

impl Model {
    /// Cuts the history into windows.
    fn windows(&self) -> Vec<&[Call]> {
        let (mut windows, mut from, mut since) = (Vec::new(), 0, Duration::ZERO);
        for to in 1..=self.calls.len() {
            let window = &self.calls[from..to];
            let quickest = window.iter().filter_map(|call| call.rtt).min();
            let lasts = (quickest.unwrap_or_default() * 2)
                .max(MS * 100)
                .min(MS * 1_000);
            let calls: u32 = window.iter().map(|call| call.weight).sum();
            let now = window[window.len() - 1].at;
            if now.saturating_sub(since) >= lasts && calls >= 10 {
                windows.push(window);
                (from, since) = (to, now);
            }
        }
        windows
    }

    fn samples(&self) -> Vec<Window> {
        let summed_up = self.windows().into_iter().map(|window| {
            let timed = window
                .iter()
                .filter_map(|call| Some((call.rtt?, call.weight)));
            // Whole numbers: a mean that is exactly the time-out is not above it.
            let (sum, weights) = timed
                .fold((Duration::ZERO, 0), |(sum, weights), (rtt, weight)| {
                    (sum + rtt * weight, weights + weight)
                });
            let in_flight = window.iter().map(|call| call.in_flight).max().unwrap_or(0);
            Window {
                at: window[window.len() - 1].at,
                rtt: (weights > 0).then(|| sum / weights),
                timed: weights,
                in_flight: f64::from(in_flight),
                dropped: window.iter().any(|call| call.rtt.is_none()),
            }
        });
        summed_up.collect()
    }

    fn limit(&self) -> f64 {
        match self.limit.0 {
            Kind::Fixed(limit) => f64::from(limit),
            Kind::Aimd(_) => self.aimd(),
            Kind::Gradient2(_) => self.gradient2(),
            Kind::SchedulerLag => unreachable!("it takes no latencies"),
        }
    }

    /// With the settings that [`aimd`] gives it.
    fn aimd(&self) -> f64 {
        let (mut limit, mut slow_start, mut beginning) = (10.0_f64, true, Beginning::default());
        for window in self.samples() {
            if window.dropped || window.rtt.is_some_and(|rtt| rtt > MS * 200) {
                limit = (limit * 0.9).floor();
                slow_start = false;
            } else if window.in_flight * 2.0 >= limit {
                if !slow_start {
                    limit += 1.0;
                } else if let Some((rtt, in_flight)) = beginning.judged(&window) {
                    slow_start = rtt <= MS * 100;
                    if slow_start {
                        limit = beginning.doubled(limit, in_flight, 30.0);
                    }
                }
            }
            limit = limit.clamp(2.0, 30.0);
        }
        limit
    }

    /// The published algorithm with its defaults, but for a minimum of 5 and the slow start. It rounds as the other does: a limit is used or not by
    /// a comparison, and a float that is off by nothing decides it.
    fn gradient2(&self) -> f64 {
        let (mut limit, mut usual, mut harmless) = (20.0_f64, Usual::default(), 20.0_f64);
        let (mut slow_start, mut beginning) = (true, Beginning::default());
        let seconds = |rtt: Duration| rtt.as_secs_f64().max(1e-9);
        let (mut shortest, mut measuring, mut measured) = (None, None, None);
        for window in self.samples() {
            // A quarter of the minimum, rounded down.
            let few = window.in_flight <= 1.0;
            if let Some((since, settled)) = measuring {
                let told = window.rtt.filter(|_| settled && few);
                if let Some(rtt) = told {
                    shortest = Some(seconds(rtt));
                }
                measuring = Some((since, few));
                if told.is_some() || window.at - since >= MS * 5_000 {
                    (measuring, measured) = (None, Some(window.at));
                }
                continue;
            }
            slow_start &= !window.dropped;
            let used = window.in_flight >= limit / 2.0;
            if used && slow_start {
                let judged = beginning.judged(&window);
                let slower = beginning
                    .so_far
                    .is_some_and(|rtt| usual.seen > 0 && 1.5 * usual.long / seconds(rtt) < 1.0);
                if !window.dropped && !slower {
                    if let Some((rtt, in_flight)) = judged {
                        if usual.seen > 0 && usual.long > 1.5 * seconds(rtt) {
                            usual.seen = 0;
                        }
                        usual.learn(seconds(rtt), true);
                        harmless = harmless.max(in_flight);
                        limit = beginning.doubled(limit, in_flight, 200.0);
                    }
                    continue;
                }
                slow_start = false;
            }
            let mut gradient = None;
            if let Some(rtt) = window.rtt {
                let short = seconds(rtt);
                usual.learn(short, window.in_flight <= harmless);
                let least = shortest.map_or(short, |shortest: f64| shortest.min(short));
                shortest = Some(least);
                let known = usual.long.min(least * 1.5);
                gradient = Some((1.5 * known / short).clamp(0.5, 1.0));
                if usual.long / short > 2.0 {
                    usual.long *= 0.95;
                }
            }
            let waited = measured.is_none_or(|measured| window.at - measured >= MS * 30_000);
            if usual.seen > 0
                && shortest.is_some_and(|shortest| usual.long > shortest * 1.5)
                && !slow_start
                && waited
            {
                measuring = Some((window.at, false));
                continue;
            }
            if !used && !window.dropped {
                continue;
            }
            let asked = match gradient {
                _ if window.dropped => limit * 0.5,
                Some(gradient) => limit.mul_add(gradient, 4.0),
                None => continue,
            };
            limit = limit.mul_add(0.8, asked * 0.2).clamp(5.0, 200.0);
        }
        if measuring.is_some() { 1.0 } else { limit }
    }
}

/// What a window came to.
#[derive(Debug, Clone, Copy)]
struct Window {
    at: Duration,
    rtt: Option<Duration>,
    timed: u32,
    in_flight: f64,
    dropped: bool,
}

/// A slow start that remembers its rounds.
#[derive(Default)]
struct Beginning {
    round: Vec<Window>,
    /// How many rounds there were since the limit changed.
    rounds: u32,
    so_far: Option<Duration>,
}

impl Beginning {
    /// Mean latency and most in flight of a round that this window ends, unless it is the first after a change.
    fn judged(&mut self, window: &Window) -> Option<(Duration, f64)> {
        self.round.push(*window);
        let in_flight = self.round.iter().map(|window| window.in_flight);
        let in_flight = in_flight.fold(0.0, f64::max);
        let calls: u32 = self.round.iter().map(|window| window.timed).sum();
        let times = self
            .round
            .iter()
            .filter_map(|window| Some(window.rtt? * window.timed));
        let mean = times.sum::<Duration>().checked_div(calls);
        self.so_far = mean.filter(|_| f64::from(calls) >= in_flight);
        let mean = mean.filter(|_| f64::from(calls) >= in_flight * 3.0)?;
        self.round.clear();
        self.rounds += 1;
        (self.rounds > 1).then_some((mean, in_flight))
    }

    fn doubled(&mut self, limit: f64, in_flight: f64, max: f64) -> f64 {
        let doubled = (in_flight.min(limit) * 2.0).min(max);
        if doubled > limit {
            self.rounds = 0;
        }
        doubled.max(limit)
    }
}

#[derive(Default)]
struct Usual {
    long: f64,
    seen: u32,
}

impl Usual {
    fn learn(&mut self, short: f64, harmless: bool) {
        let weight = if self.seen == 0 || (harmless && self.seen < 10) {
            // The warm-up starts from what decay has left of the mean so far.
            self.seen += 1;
            1.0 / f64::from(self.seen)
        } else {
            2.0 / 601.0
        };
        self.long += (short - self.long) * weight;
    }
}

fn aimd() -> Limit {
    let builder = Limit::aimd().initial(10).min(2).max(30).timeout(MS * 200);
    builder.build().expect("valid")
}

fn calls() -> impl Strategy<Value = Vec<(u32, Option<u32>, u32, u32)>> {
    // Phases of like calls, so that there are incidents to get into and out of.
    let phase = (
        1..600_u32,
        1..60_u32,
        prop_oneof![3 => Just(0.001), 1 => 0.0..0.3],
        1..40_usize,
    );
    let phase = phase.prop_flat_map(|(rtt, in_flight, drops, n)| {
        let rtt = prop::option::weighted(1.0 - drops, rtt / 2..=rtt);
        prop::collection::vec((0..40_u32, rtt, 1..=in_flight, 1..4_u32), n * 5)
    });
    prop::collection::vec(phase, 0..8).prop_map(|phases| phases.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_a_model_that_keeps_everything(calls in calls()) {
        let gradient2 = Limit::gradient2().min(5).build().expect("valid");
        for limit in [Limit::fixed(7), aimd(), gradient2] {
            let mut adaptive = Adaptive::new(&limit, Duration::ZERO);
            let mut model = Model { limit, calls: Vec::new() };
            let mut now = Duration::ZERO;
            for (n, (passed, rtt, in_flight, weight)) in calls.iter().enumerate() {
                now += MS * *passed;
                let rtt = rtt.map(|ms| MS * ms);
                let weight = if rtt.is_some() { *weight } else { 1 };
                let before = adaptive.limit();
                let changed = match rtt {
                    Some(rtt) => adaptive.sample(now, rtt, *in_flight, weight),
                    None => adaptive.dropped(now, *in_flight),
                };
                prop_assert_eq!(changed, adaptive.limit() != before);
                model.calls.push(Call { at: now, rtt, in_flight: *in_flight, weight });
                if n % 25 == 0 || n + 1 == calls.len() {
                    prop_assert_eq!(model.limit().floor(), f64::from(adaptive.limit()));
                }
            }
        }
    }

    #[test]
    fn any_numbers_are_survived(
        calls in prop::collection::vec(
            (any::<Duration>(), any::<Duration>(), any::<u32>(), any::<u32>(), any::<bool>()),
            0..200,
        ),
    ) {
        let lowest = Limit::gradient2().initial(1).min(1).build().expect("valid");
        for limit in [Limit::adaptive(), aimd(), lowest, Limit::fixed(7)] {
            let mut adaptive = Adaptive::new(&limit, Duration::MAX / 3);
            for (now, rtt, in_flight, weight, dropped) in &calls {
                if *dropped {
                    adaptive.dropped(*now, *in_flight);
                } else {
                    adaptive.sample(*now, *rtt, *in_flight, *weight);
                }
                prop_assert!((1..=200).contains(&adaptive.limit()));
            }
        }
    }
}

/// A limit and a clock, told of windows of ten samples, in which each place of the limit is used three times.
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
fn calls_that_are_dropped_are_heard_however_little_of_the_limit_is_used() {
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
fn the_usual_latency_of_an_incident_is_forgotten_after_it() {
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
fn what_a_limit_cannot_be_is_refused() {
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
