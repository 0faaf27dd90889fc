//! Additive increase, multiplicative decrease, as congestion control does it (Chiu and Jain, 1989), after a slow start.

use std::time::Duration;

use super::{
    super::{LONGEST, SHORTEST},
    DEFAULT_INITIAL, DEFAULT_MAX, DEFAULT_MIN, Kind, Limit, Sample, check_range, refuse,
    slow_start::SlowStart,
};
use crate::vocabulary::config::ConfigError;

/// Settings of [`Limit::aimd`]. The defaults are those of Netflix's concurrency-limits.
///
/// # What it suits
///
/// Calls of one kind, where a time-out says what too slow is. It does not look for a queue: calls
/// may become as slow as the time-out allows. Calls that are dropped lower the limit, however much of it is used.
///
/// The limit begins with a slow start, which theirs does not: see [`Limit`](Limit#how-a-limit-by-latency-begins). It ends, too, where calls
/// take longer than half of the [time-out](Self::timeout), because twice the calls may take twice as long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AimdBuilder {
    initial: u32,
    min: u32,
    max: u32,
    backoff: f64,
    timeout: Duration,
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

    /// What is left of the limit after a window in which a call was dropped: 0.5 to less than 1; 0.9 if
    /// not set.
    #[must_use]
    pub const fn backoff(mut self, backoff: f64) -> Self {
        self.backoff = backoff;
        self
    }

    /// A mean latency above this counts as a dropped call: 1 ms to 24 hours; 5 seconds if not set.
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
            return Err(refuse(
                "backoff",
                self.backoff,
                "must be from 0.5 to less than 1",
            ));
        }
        if !(SHORTEST..=LONGEST).contains(&self.timeout) {
            let rule = "must last from 1 ms to 24 h";
            return Err(refuse("timeout", format!("{:?}", self.timeout), rule));
        }
        Ok(())
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
            // Only while at least half of it is used: otherwise nothing says that more would do.
            self.grow(sample);
        }
        self.limit = self.limit.min(self.config.max).max(self.config.min);
    }
    /// No window ended for a long time: more calls may bring samples.
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
            // Twice the calls may take twice as long, and that would be too long for all of them at once.
            self.slow_start.end();
        } else {
            self.limit = self
                .slow_start
                .doubled(self.limit, in_flight, self.config.max);
        }
    }
}
