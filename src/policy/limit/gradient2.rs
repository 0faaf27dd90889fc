//! Gradient2 of Netflix's concurrency-limits, after a slow start. While the short-term latency
//! equals the long-term latency, the limit grows by a small queue. As it rises, the limit shrinks
//! in proportion.

use std::time::Duration;

use super::{
    CHECK, DEFAULT_INITIAL, DEFAULT_MAX, DEFAULT_MIN, Kind, Limit, MAX_LIMIT, Sample, check_range,
    slow_start::SlowStart,
};
use crate::vocabulary::config::ConfigError;

/// The long-term latency is a plain mean of this many windows before it becomes a moving average.
const WARM_UP: u32 = 10;
const MAX_WINDOWS: u32 = 100_000;
/// A window asks for at least this part of the limit, however slow calls are.
const STEEPEST: f64 = 0.5;
/// A long-term latency this many times the short-term one is left over from an incident.
const STALE: f64 = 2.0;
const DECAY: f64 = 0.95;
/// The long-term latency counts up to this many times the one at few calls, until that is measured
/// again.
const DRIFT: f64 = 1.5;
/// The shortest time between two measurements.
const BETWEEN: Duration = Duration::from_secs(30);
/// The longest measurement.
const MAX_MEASUREMENT: Duration = Duration::from_secs(5);
/// For a measurement, the limit is the minimum divided by this.
const REDUCED: u32 = 4;

/// Settings of [`Limit::gradient2`]. The defaults are those of Netflix's concurrency-limits.
///
/// # When to use it
///
/// For calls of one kind, to one upstream or resource, whose latency grows with the calls in
/// flight. Put one layer around each kind of call. If fast and slow calls share a limit, a change
/// of the mix looks like overload, and healthy calls are rejected.
///
/// # Differences from the original
///
/// - The long-term latency is a moving average, so it would follow a queue that grows slowly. Here
///   it is capped at 1.5 times the shortest latency. At this cap, at most once in 30 seconds, the
///   limit is reduced to a quarter of its minimum for two windows, and the latency at few calls is
///   measured again, like `minRTT` in Envoy's gradient controller. A queue is gone then, while a
///   slower service is still slow. Excess calls are shed meanwhile.
/// - A dropped call lowers the limit even if little of it is used.
/// - The limit begins with a [slow start](Limit#how-a-limit-by-latency-begins).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gradient2Builder {
    pub(super) initial: u32,
    pub(super) min: u32,
    pub(super) max: u32,
    pub(super) smoothing: f64,
    pub(super) queue: u32,
    pub(super) long_window: u32,
    pub(super) tolerance: f64,
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

    /// The initial limit. Default 20; range `min` to `max`.
    #[must_use]
    pub const fn initial(mut self, initial: u32) -> Self {
        self.initial = initial;
        self
    }

    /// The lowest limit. Default 20; range 1 to `max`. While the latency at few calls is measured,
    /// the limit is a quarter of this.
    #[must_use]
    pub const fn min(mut self, min: u32) -> Self {
        self.min = min;
        self
    }

    /// The highest limit. Default 200; range `min` to 1 000 000.
    #[must_use]
    pub const fn max(mut self, max: u32) -> Self {
        self.max = max;
        self
    }

    /// The weight of the newest window in the limit. Default 0.2; range more than 0 to 1.
    #[must_use]
    pub const fn smoothing(mut self, smoothing: f64) -> Self {
        self.smoothing = smoothing;
        self
    }

    /// The calls that may queue at the upstream: a window without trouble raises the limit by this
    /// number. Default 4; range 1 to 1 000 000.
    #[must_use]
    pub const fn queue(mut self, queue: u32) -> Self {
        self.queue = queue;
        self
    }

    /// The number of windows in the long-term latency. Default 600; range 1 to 100 000.
    #[must_use]
    pub const fn long_window(mut self, windows: u32) -> Self {
        self.long_window = windows;
        self
    }

    /// The tolerated ratio of short-term to long-term latency. Default 1.5; range 1 to 1 000.
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
        CHECK.share("smoothing", self.smoothing)?;
        CHECK.count("queue", self.queue, 1, MAX_LIMIT)?;
        CHECK.count("long_window", self.long_window, 1, MAX_WINDOWS)?;
        if !(1.0..=1_000.0).contains(&self.tolerance) {
            let rule = "must be from 1 to 1000";
            return Err(CHECK.refuse("tolerance", self.tolerance, rule));
        }
        Ok(())
    }
}

#[derive(Debug, Clone)]
pub(super) struct Gradient2 {
    config: Gradient2Builder,
    limit: f64,
    long_term: LongTerm,
    slow_start: SlowStart,
    /// The most calls in flight without an effect on latency.
    harmless: u32,
    /// The shortest latency since the last measurement, in seconds.
    shortest: Option<f64>,
    measurement: Option<Measurement>,
    /// The end of the last measurement.
    measured: Option<Duration>,
}

/// A measurement of the latency at few calls.
#[derive(Debug, Clone, Copy)]
struct Measurement {
    since: Duration,
    /// The calls in flight fit the reduced limit, so the next window is the measurement.
    settled: bool,
}

impl Gradient2 {
    pub(super) fn new(config: Gradient2Builder) -> Self {
        Self {
            limit: f64::from(config.initial),
            long_term: LongTerm::new(config.long_window),
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

    /// Grows when no window has ended for a long time, because more calls may give samples.
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
        if used && !self.slow_start.is_over() && self.start_slowly(sample) {
            return;
        }
        let gradient = sample.rtt.map(|rtt| {
            let short = seconds(rtt);
            // The warm-up must not include the queue of a slow start that went too far.
            let long = self.long_term.add(short, sample.in_flight <= self.harmless);
            if long / short > STALE {
                self.long_term.decay();
            }
            let shortest = *self
                .shortest
                .insert(self.shortest.map_or(short, |shortest| shortest.min(short)));
            // Otherwise the long-term latency would follow a queue that grows slowly.
            self.gradient(long.min(shortest * DRIFT), short)
        });
        let drifts = self
            .long_term
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
            // An unused limit was not tested.
            return;
        }
        let asked = match gradient {
            // The original ignores dropped calls. They are stronger evidence than any latency, so
            // they count as the steepest gradient, without a queue.
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

    /// Measures the latency at few calls, which distinguishes a queue from a slower service.
    fn measure(&mut self, now: Duration, measurement: Measurement, sample: &Sample) {
        let settled = sample.in_flight <= self.reduced();
        if measurement.settled
            && settled
            && let Some(rtt) = sample.rtt
        {
            self.shortest = Some(seconds(rtt));
        } else if now.saturating_sub(measurement.since) < MAX_MEASUREMENT {
            self.measurement = Some(Measurement {
                settled,
                ..measurement
            });
            return;
        }
        self.measurement = None;
        self.measured = Some(now);
    }

    /// Adds a window to slow start; false if slow start ends with it.
    fn start_slowly(&mut self, sample: &Sample) -> bool {
        self.slow_start.add(sample);
        let slower = self.slow_start.so_far().is_some_and(|rtt| {
            let long = self.long_term.value();
            long.is_some_and(|long| self.gradient(long, seconds(rtt)) < 1.0)
        });
        if sample.dropped || slower {
            self.slow_start.end();
            return false;
        }
        if let Some((rtt, in_flight)) = self.slow_start.ended() {
            let short = seconds(rtt);
            if self
                .long_term
                .value()
                .is_some_and(|long| long > self.config.tolerance * short)
            {
                // It was measured with cold caches.
                self.long_term.reset();
            }
            self.long_term.add(short, true);
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

/// Never zero, because it is a divisor.
fn seconds(rtt: Duration) -> f64 {
    rtt.as_secs_f64().max(1e-9)
}

/// The long-term latency in seconds: a plain mean at first, then an exponential moving average.
#[derive(Debug, Clone)]
struct LongTerm {
    value: f64,
    windows: u32,
    weight: f64,
}

impl LongTerm {
    fn new(windows: u32) -> Self {
        Self {
            value: 0.0,
            windows: 0,
            weight: 2.0 / (f64::from(windows) + 1.0),
        }
    }

    /// `None` before the first window.
    fn value(&self) -> Option<f64> {
        (self.windows > 0).then_some(self.value)
    }

    /// Adds the latency of a window. Only a window with a `harmless` load counts for the warm-up.
    fn add(&mut self, short: f64, harmless: bool) -> f64 {
        let weight = if self.windows == 0 || (harmless && self.windows < WARM_UP) {
            self.windows = self.windows.saturating_add(1);
            1.0 / f64::from(self.windows)
        } else {
            self.weight
        };
        self.value += (short - self.value) * weight;
        self.value
    }

    fn decay(&mut self) {
        self.value *= DECAY;
    }

    fn reset(&mut self) {
        self.windows = 0;
    }
}
