//! Additive increase, multiplicative decrease, as in congestion control (Chiu and Jain, 1989),
//! after a slow start.

use std::time::Duration;

use super::{
    super::SHORTEST, CHECK, DEFAULT_INITIAL, DEFAULT_MAX, DEFAULT_MIN, Kind, Limit, Sample,
    check_range, slow_start::SlowStart,
};
use crate::vocabulary::config::ConfigError;

/// Settings of [`Limit::aimd`]. The defaults are those of Netflix's concurrency-limits.
///
/// # When to use it
///
/// For calls of one kind with a known time-out. It does not detect a queue: calls may become as
/// slow as the time-out permits. A dropped call lowers the limit even if little of it is used.
///
/// Unlike the original, it begins with a [slow start](Limit#how-a-limit-by-latency-begins). Slow
/// start also ends when calls take longer than half of the [time-out](Self::timeout), because twice
/// the calls may take twice as long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AimdBuilder {
    pub(super) initial: u32,
    pub(super) min: u32,
    pub(super) max: u32,
    pub(super) backoff: f64,
    pub(super) timeout: Duration,
}

impl AimdBuilder {
    pub(super) const fn new() -> Self {
        Self {
            initial: DEFAULT_INITIAL,
            min: DEFAULT_MIN,
            max: DEFAULT_MAX,
            backoff: 0.9,
            timeout: Duration::from_secs(5),
        }
    }

    /// The initial limit. Default 20; range `min` to `max`.
    #[must_use]
    pub const fn initial(mut self, initial: u32) -> Self {
        self.initial = initial;
        self
    }

    /// The lowest limit. Default 20; range 1 to `max`.
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

    /// The factor for the limit after a window with a dropped call. Default 0.9; range 0.5 to less
    /// than 1.
    #[must_use]
    pub const fn backoff(mut self, backoff: f64) -> Self {
        self.backoff = backoff;
        self
    }

    /// The mean latency above which a window counts as dropped. Default 5 seconds; range 1 ms to 24
    /// hours.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The limit with these settings.
    ///
    /// # Errors
    ///
    /// If a setting is out of its range, or `initial` is not between `min` and `max`.
    pub fn build(self) -> Result<Limit, ConfigError> {
        self.check().map(|()| Limit(Kind::Aimd(self)))
    }

    pub(super) const fn range(&self) -> (u32, u32) {
        (self.min, self.max)
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        check_range(self.initial, self.min, self.max)?;
        if !(0.5..1.0).contains(&self.backoff) {
            let rule = "must be from 0.5 to less than 1";
            return Err(CHECK.refuse("backoff", self.backoff, rule));
        }
        CHECK.duration("timeout", self.timeout, SHORTEST)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Aimd {
    config: AimdBuilder,
    limit: u32,
    slow_start: SlowStart,
}

impl Aimd {
    pub(super) fn new(config: AimdBuilder) -> Self {
        Self {
            limit: config.initial,
            slow_start: SlowStart::new(),
            config,
        }
    }

    pub(super) const fn limit(&self) -> u32 {
        self.limit
    }

    pub(super) fn update(&mut self, sample: &Sample) {
        let too_slow = sample.rtt.is_some_and(|rtt| rtt > self.config.timeout);
        if sample.dropped || too_slow {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "rounds down, and a cast from a float saturates"
            )]
            let less = (f64::from(self.limit) * self.config.backoff) as u32;
            self.limit = less;
            self.slow_start.end();
        } else if sample.in_flight.saturating_mul(2) >= self.limit {
            // Growth requires that at least half of the limit is used, which shows that it is safe.
            self.grow(sample);
        }
        self.limit = self.limit.min(self.config.max).max(self.config.min);
    }

    /// Grows when no window has ended for a long time, because more calls may give samples.
    pub(super) fn grow_without_samples(&mut self) {
        let more = self.limit.saturating_add((self.limit / 10).max(1));
        self.limit = more.min(self.config.max);
    }

    fn grow(&mut self, sample: &Sample) {
        if self.slow_start.is_over() {
            self.limit = self.limit.saturating_add(1);
            return;
        }
        self.slow_start.add(sample);
        let Some((rtt, in_flight)) = self.slow_start.ended() else {
            return;
        };
        if rtt > self.config.timeout / 2 {
            // Twice the calls may take twice as long, which would be too long.
            self.slow_start.end();
        } else {
            self.limit = self
                .slow_start
                .doubled(self.limit, in_flight, self.config.max);
        }
    }
}
