//! The latency limits against a model that keeps every call.

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

/// Keeps every call, and computes each limit from all of them.
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

    /// With the settings of [`aimd`].
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

    /// The published algorithm with its defaults, but for a minimum of 5 and the slow start. It
    /// rounds as the other does: a limit is used or not by a comparison, and a float that is off by
    /// nothing decides it.
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

/// The result of a window.
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
    /// The rounds since the limit changed.
    rounds: u32,
    so_far: Option<Duration>,
}

impl Beginning {
    /// Mean latency and most in flight of a round that this window ends, unless it is the first
    /// after a change.
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

pub(super) fn aimd() -> Limit {
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
