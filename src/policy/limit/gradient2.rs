//! Gradient2 of Netflix's concurrency-limits: while calls take as long as they usually do, the limit
//! grows by a small queue; as they take longer, it shrinks in proportion. Until that happens for the first time, it doubles.

use std::time::Duration;

use super::{
    DEFAULT_INITIAL, DEFAULT_MAX, DEFAULT_MIN, Kind, Limit, MAX_LIMIT, Sample, check_range, refuse,
    slow_start::SlowStart, within,
};
use crate::config::ConfigError;

/// The plain mean of so many windows is the usual latency, before it becomes a moving one.
const WARM_UP: u32 = 10;
const MAX_WINDOWS: u32 = 100_000;
/// However slow calls have become, one window asks for no less than half of the limit.
const STEEPEST: f64 = 0.5;
/// Usual latency that is this many times the present one is left over from an incident.
const STALE: f64 = 2.0;
const DECAY: f64 = 0.95;

/// Settings of [`Limit::gradient2`]. The defaults are those of Netflix's concurrency-limits.
///
/// The limit begins with a slow start, which theirs does not: see [`Limit`](Limit#how-an-adaptive-limit-begins).
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

    /// The limit does not fall below this, which is at least 1; 20 if not set.
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
}

impl Gradient2 {
    pub(super) fn new(config: Gradient2Builder) -> Self {
        Self {
            limit: f64::from(config.initial),
            usual: Usual::new(config.long_window),
            slow_start: SlowStart::new(),
            harmless: config.initial,
            config,
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rounds down, and a cast from a float saturates"
    )]
    pub(super) const fn limit(&self) -> u32 {
        self.limit as u32
    }

    pub(super) fn update(&mut self, sample: &Sample) {
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
            self.gradient(long, short)
        });
        if !used {
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
