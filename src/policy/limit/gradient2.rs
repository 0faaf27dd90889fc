//! Gradient2 of Netflix's concurrency-limits: while calls take as long as they usually do, the limit
//! grows by a small queue; as they take longer, it shrinks in proportion. Until that happens for the first time, it doubles.

use std::time::Duration;

use super::{
    DEFAULT_INITIAL, DEFAULT_MAX, DEFAULT_MIN, Kind, Limit, MAX_LIMIT, Sample, check_range, refuse,
    slow_start::SlowStart, within,
};
use crate::vocabulary::config::ConfigError;

/// The plain mean of so many windows is the usual latency, before it becomes a moving one.
const WARM_UP: u32 = 10;
const MAX_WINDOWS: u32 = 100_000;
/// However slow calls have become, one window asks for no less than half of the limit.
const STEEPEST: f64 = 0.5;
/// Usual latency that is this many times the present one is left over from an incident.
const STALE: f64 = 2.0;
const DECAY: f64 = 0.95;
/// The usual latency is not followed beyond this many times the one at few calls, until that was measured anew.
const DRIFT: f64 = 1.5;
/// So much time is between two measurements, at least.
const BETWEEN: Duration = Duration::from_secs(30);
/// A measurement is given up after this time.
const LONGEST: Duration = Duration::from_secs(5);
/// The limit is reduced to this part of the minimum for a measurement.
const REDUCED: u32 = 4;

/// Settings of [`Limit::gradient2`]. The defaults are those of Netflix's concurrency-limits.
///
/// # What it suits
///
/// Calls of one kind, whose latency grows when too many of them run at once: calls to one upstream, or
/// to one resource. Put one layer around each kind of call, or key them by route. Where fast and slow calls share
/// the limit, it takes a change of the mix for overload, and rejects healthy calls.
///
/// # What differs from the original
///
/// The usual latency is a moving average, so a queue that grows slowly would become usual. It is not
/// followed beyond 1.5 times the shortest latency that was seen. When it would be, the limit is reduced to
/// a quarter of its minimum for two windows, at most once in 30 seconds, and the latency at few calls is
/// measured anew, as Envoy's gradient controller measures `minRTT`: a queue is gone then, a service that
/// became slower is still slow. Calls that come meanwhile are shed.
///
/// Calls that are dropped lower the limit, however much of it is used.
///
/// The limit begins with a slow start, which theirs does not: see [`Limit`](Limit#how-a-limit-by-latency-begins).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gradient2Builder {
    initial: u32,
    min: u32,
    max: u32,
    smoothing: f64,
    queue: u32,
    long_window: u32,
    tolerance: f64,
}

impl Gradient2Builder {
    pub(super) const fn new() -> Self {
        Self {
            initial: DEFAULT_INITIAL,
            min: DEFAULT_MIN,
            max: DEFAULT_MAX,
            smoothing: 0.2,
            queue: 4,
            long_window: 600,
            tolerance: 1.5,
        }
    }

    /// The limit to begin with, from `min` to `max`; 20 if not set.
    #[must_use]
    pub const fn initial(mut self, initial: u32) -> Self {
        self.initial = initial;
        self
    }

    /// The limit does not fall below this, which is at least 1; 20 if not set. While the latency at few
    /// calls is measured, it is a quarter of this.
    #[must_use]
    pub const fn min(mut self, min: u32) -> Self {
        self.min = min;
        self
    }

    /// The limit does not rise above this, which is at most 1 000 000; 200 if not set.
    #[must_use]
    pub const fn max(mut self, max: u32) -> Self {
        self.max = max;
        self
    }

    /// How much of what a window asks for is done: more than 0, at most 1; 0.2 if not set.
    #[must_use]
    pub const fn smoothing(mut self, smoothing: f64) -> Self {
        self.smoothing = smoothing;
        self
    }

    /// How many calls may wait further in: a window without trouble asks for so many more. 1 to
    /// 1 000 000; 4 if not set.
    #[must_use]
    pub const fn queue(mut self, queue: u32) -> Self {
        self.queue = queue;
        self
    }

    /// Over how many windows of calls the usual latency is averaged: 1 to 100 000; 600 if not set.
    #[must_use]
    pub const fn long_window(mut self, windows: u32) -> Self {
        self.long_window = windows;
        self
    }

    /// How many times the usual latency is still no trouble: 1 to 1 000; 1.5 if not set.
    #[must_use]
    pub const fn tolerance(mut self, tolerance: f64) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// The limit with these settings.
    ///
    /// # Errors
    ///
    /// If a setting is out of its range, or `initial` is not between `min` and `max`.
    pub fn build(self) -> Result<Limit, ConfigError> {
        self.check().map(|()| Limit(Kind::Gradient2(self)))
    }

    pub(super) const fn range(&self) -> (u32, u32) {
        (self.min, self.max)
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        check_range(self.initial, self.min, self.max)?;
        if !(self.smoothing > 0.0 && self.smoothing <= 1.0) {
            return Err(refuse(
                "smoothing",
                self.smoothing,
                "must be more than 0 and at most 1",
            ));
        }
        within("queue", self.queue, 1, MAX_LIMIT)?;
        within("long_window", self.long_window, 1, MAX_WINDOWS)?;
        if !(1.0..=1_000.0).contains(&self.tolerance) {
            return Err(refuse(
                "tolerance",
                self.tolerance,
                "must be from 1 to 1000",
            ));
        }
        Ok(())
    }
}

#[derive(Debug, Clone)]
pub(super) struct Gradient2 {
    config: Gradient2Builder,
    limit: f64,
    usual: Usual,
    slow_start: SlowStart,
    /// So many calls at once are known to take no longer than fewer do.
    harmless: u32,
    /// The shortest latency since the last measurement, in seconds.
    shortest: Option<f64>,
    measurement: Option<Measurement>,
    /// When the last one ended.
    measured: Option<Duration>,
}

/// A measurement of the latency at few calls.
#[derive(Debug, Clone, Copy)]
struct Measurement {
    since: Duration,
    /// No more calls are under way than the reduced limit allows: the next window tells.
    settled: bool,
}

impl Gradient2 {
    pub(super) fn new(config: Gradient2Builder) -> Self {
        Self {
            limit: f64::from(config.initial),
            usual: Usual::new(config.long_window),
            slow_start: SlowStart::new(),
            harmless: config.initial,
            shortest: None,
            measurement: None,
            measured: None,
            config,
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rounds down, and a cast from a float saturates"
    )]
    pub(super) fn limit(&self) -> u32 {
        match self.measurement {
            Some(_) => self.reduced(),
            None => self.limit as u32,
        }
    }

    fn reduced(&self) -> u32 {
        (self.config.min / REDUCED).max(1)
    }

    /// No window ended for a long time: more calls may bring samples.
    pub(super) fn grow_without_samples(&mut self) {
        let more = (self.limit * 1.1).max(self.limit + 1.0);
        self.limit = more.min(f64::from(self.config.max));
        self.measurement = None;
    }

    pub(super) fn update(&mut self, now: Duration, sample: &Sample) {
        if let Some(measurement) = self.measurement {
            return self.measure(now, measurement, sample);
        }
        if sample.dropped {
            self.slow_start.end();
        }
        let used = f64::from(sample.in_flight) >= self.limit / 2.0;
        if used && !self.slow_start.is_over() && self.begin(sample) {
            return;
        }
        let gradient = sample.rtt.map(|rtt| {
            let short = seconds(rtt);
            // The queue of a slow start that went too far must not become the usual latency. Where so many calls at once
            // were fine before, it is no queue.
            let long = self.usual.add(short, sample.in_flight <= self.harmless);
            if long / short > STALE {
                self.usual.decay();
            }
            let shortest = *self
                .shortest
                .insert(self.shortest.map_or(short, |shortest| shortest.min(short)));
            // A queue that grows slowly would become the usual latency.
            self.gradient(long.min(shortest * DRIFT), short)
        });
        let drifts = self
            .usual
            .value()
            .zip(self.shortest)
            .is_some_and(|(long, shortest)| long > shortest * DRIFT);
        if drifts && self.slow_start.is_over() && self.may_measure(now) {
            self.measurement = Some(Measurement {
                since: now,
                settled: false,
            });
            return;
        }
        if !used && !sample.dropped {
            // So nothing was learnt about it.
            return;
        }
        let asked = match gradient {
            // The original does not look at dropped calls. They say more than any latency does, so they
            // count as the steepest gradient, and leave no room for a queue.
            _ if sample.dropped => self.limit * STEEPEST,
            Some(gradient) => self.limit.mul_add(gradient, f64::from(self.config.queue)),
            None => return,
        };
        let smoothing = self.config.smoothing;
        let limit = self.limit.mul_add(1.0 - smoothing, asked * smoothing);
        self.limit = limit
            .min(f64::from(self.config.max))
            .max(f64::from(self.config.min));
    }

    fn may_measure(&self, now: Duration) -> bool {
        self.measured
            .is_none_or(|measured| now.saturating_sub(measured) >= BETWEEN)
    }

    /// Is it a queue, or is the service slower than it was? The latency at few calls tells (as in Envoy's gradient controller, `minRTT`).
    fn measure(&mut self, now: Duration, measurement: Measurement, sample: &Sample) {
        let settled = sample.in_flight <= self.reduced();
        if measurement.settled
            && settled
            && let Some(rtt) = sample.rtt
        {
            self.shortest = Some(seconds(rtt));
        } else if now.saturating_sub(measurement.since) < LONGEST {
            self.measurement = Some(Measurement {
                settled,
                ..measurement
            });
            return;
        }
        self.measurement = None;
        self.measured = Some(now);
    }

    /// Takes a window of the slow start; false if that is over now, and the window is one like any other.
    fn begin(&mut self, sample: &Sample) -> bool {
        self.slow_start.add(sample);
        let slower = self.slow_start.so_far().is_some_and(|rtt| {
            let long = self.usual.value();
            long.is_some_and(|long| self.gradient(long, seconds(rtt)) < 1.0)
        });
        if sample.dropped || slower {
            self.slow_start.end();
            return false;
        }
        if let Some((rtt, in_flight)) = self.slow_start.ended() {
            let short = seconds(rtt);
            if self
                .usual
                .value()
                .is_some_and(|long| long > self.config.tolerance * short)
            {
                // It was learnt when everything was cold.
                self.usual.forget();
            }
            self.usual.add(short, true);
            self.harmless = self.harmless.max(in_flight);
            let doubled = self
                .slow_start
                .doubled(self.limit(), in_flight, self.config.max);
            self.limit = f64::from(doubled);
        }
        true
    }

    fn gradient(&self, long: f64, short: f64) -> f64 {
        (self.config.tolerance * long / short).clamp(STEEPEST, 1.0)
    }
}

/// A latency of nothing has no ratio to anything.
fn seconds(rtt: Duration) -> f64 {
    rtt.as_secs_f64().max(1e-9)
}

/// The latency as it usually is, in seconds: an exponential moving average, after a warm-up as a plain one.
#[derive(Debug, Clone)]
struct Usual {
    value: f64,
    seen: u32,
    weight: f64,
}

impl Usual {
    fn new(windows: u32) -> Self {
        Self {
            value: 0.0,
            seen: 0,
            weight: 2.0 / (f64::from(windows) + 1.0),
        }
    }

    /// None before the first window.
    fn value(&self) -> Option<f64> {
        (self.seen > 0).then_some(self.value)
    }

    /// Takes the latency of a window. `harmless` says that no more calls than it takes were under way.
    fn add(&mut self, short: f64, harmless: bool) -> f64 {
        let weight = if self.seen == 0 || (harmless && self.seen < WARM_UP) {
            self.seen = self.seen.saturating_add(1);
            1.0 / f64::from(self.seen)
        } else {
            self.weight
        };
        self.value += (short - self.value) * weight;
        self.value
    }

    fn decay(&mut self) {
        self.value *= DECAY;
    }

    fn forget(&mut self) {
        self.seen = 0;
    }
}
