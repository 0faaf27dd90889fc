//! The right number of calls at once is not known when a service is configured, and changes with every
//! neighbour and deployment. An adaptive limit finds it from what it sees: calls that take longer than
//! they used to are waiting somewhere, and calls that are dropped waited too long.
//!
//! The algorithms are those of Netflix's concurrency-limits: AIMD as in TCP, and Gradient2, which follows
//! the ratio of long-term to short-term latency. Two things keep them honest. Samples are taken together
//! in windows of time, so that a burst of failures is one piece of evidence and not many; and a limit that
//! is not used does not grow, because nothing was learnt about it.
//!
//! What theirs lack is a quick beginning, which is TCP's: see [`slow_start`].

mod aimd;
mod gradient2;
mod samples;
mod slow_start;

use std::{fmt, time::Duration};

use self::samples::{Sample, Samples};
use self::{aimd::Aimd, gradient2::Gradient2};
pub use self::{aimd::AimdBuilder, gradient2::Gradient2Builder};
use crate::config::ConfigError;

const COMPONENT: &str = "limit";
const MAX_LIMIT: u32 = 1_000_000;
// Netflix's.
const DEFAULT_INITIAL: u32 = 20;
const DEFAULT_MIN: u32 = 20;
const DEFAULT_MAX: u32 = 200;

/// How many calls may be under way at once: a fixed number, or one that adapts.
///
/// ```
/// use mainstay::Limit;
///
/// let fixed = Limit::fixed(64);
/// let adaptive = Limit::adaptive();
/// let careful = Limit::aimd().initial(10).min(1).max(50).build()?;
/// # let _ = (fixed, adaptive, careful);
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
///
/// # How an adaptive limit begins
///
/// With a slow start, as TCP does (RFC 5681): while nothing has gone wrong since the start, the limit doubles, up to its maximum, so that a
/// healthy service does not shed for long. It doubles when at least half of it was used and nothing was wrong with that, and no
/// further than to twice the calls that were in flight. Wrong is a call that was dropped, and what the algorithm takes for too slow.
///
/// What a doubling does shows late. So it is judged by a round in which each place of the limit was used three times, and that comes after
/// another that is looked at for trouble only (rounds are those of `HyStart++`, RFC 9406). For calls of 10 ms that makes 0.2
/// seconds for each doubling, for calls of 100 ms 0.8 seconds.
///
/// The first trouble ends the slow start for good: from then on the limit moves in the small steps of its algorithm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit(Kind);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Fixed(u32),
    Aimd(AimdBuilder),
    Gradient2(Gradient2Builder),
}

impl Limit {
    /// Always `limit`: 1 to 1 000 000.
    #[must_use]
    pub const fn fixed(limit: u32) -> Self {
        Self(Kind::Fixed(limit))
    }

    /// One that adapts, with nothing to set: [`Limit::gradient2`] with its defaults.
    #[must_use]
    pub const fn adaptive() -> Self {
        Self(Kind::Gradient2(Gradient2Builder::new()))
    }

    /// One that adapts, up to this many.
    #[cfg(feature = "http")]
    pub(crate) fn up_to(most: u32) -> Self {
        let most = most.clamp(1, MAX_LIMIT);
        let least = DEFAULT_MIN.min(most);
        let gradient2 = Gradient2Builder::new().initial(least).min(least).max(most);
        Self(Kind::Gradient2(gradient2))
    }

    /// One that grows by one while it is used and shrinks by a tenth when calls are dropped or take too
    /// long (additive increase, multiplicative decrease). Until the first of these it [doubles](Limit#how-an-adaptive-limit-begins).
    ///
    /// It needs a time-out to tell it what too long is. Choose it where latency says little, because
    /// calls differ too much.
    #[must_use]
    pub const fn aimd() -> AimdBuilder {
        AimdBuilder::new()
    }

    /// One that follows the ratio of the usual latency to the present one.
    ///
    /// It needs no time-out, and reacts before calls are dropped. Until calls first take longer than usual, or are dropped, it
    /// [doubles](Limit#how-an-adaptive-limit-begins).
    #[must_use]
    pub const fn gradient2() -> Gradient2Builder {
        Gradient2Builder::new()
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        match &self.0 {
            Kind::Fixed(limit) => within("limit", *limit, 1, MAX_LIMIT),
            Kind::Aimd(aimd) => aimd.check(),
            Kind::Gradient2(gradient2) => gradient2.check(),
        }
    }

    /// Whether the limit ever changes: if not, nobody needs to measure anything.
    pub(crate) const fn is_adaptive(&self) -> bool {
        !matches!(self.0, Kind::Fixed(_))
    }
}

impl Limit {
    /// The least and the most that it can be.
    #[cfg(feature = "http")]
    pub(crate) const fn range(&self) -> (u32, u32) {
        match &self.0 {
            Kind::Fixed(limit) => (*limit, *limit),
            Kind::Aimd(aimd) => aimd.range(),
            Kind::Gradient2(gradient2) => gradient2.range(),
        }
    }
}

/// `fixed at 64` or `adaptive (Gradient2), 20 to 200`
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, (min, max)) = match &self.0 {
            Kind::Fixed(limit) => return write!(f, "fixed at {limit}"),
            Kind::Aimd(aimd) => ("AIMD", aimd.range()),
            Kind::Gradient2(gradient2) => ("Gradient2", gradient2.range()),
        };
        write!(f, "adaptive ({name}), {min} to {max}")
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self::adaptive()
    }
}

/// A limit at work.
#[derive(Debug, Clone)]
pub(crate) struct Adaptive {
    algorithm: Algorithm,
    samples: Samples,
}

#[derive(Debug, Clone)]
enum Algorithm {
    Fixed(u32),
    Aimd(Aimd),
    Gradient2(Gradient2),
}

impl Adaptive {
    pub(crate) fn new(limit: &Limit, now: Duration) -> Self {
        Self {
            algorithm: match limit.0 {
                Kind::Fixed(limit) => Algorithm::Fixed(limit),
                Kind::Aimd(config) => Algorithm::Aimd(Aimd::new(config)),
                Kind::Gradient2(config) => Algorithm::Gradient2(Gradient2::new(config)),
            },
            samples: Samples::new(now),
        }
    }

    /// How many calls may be under way at once now; at least 1, unless it was fixed at 0.
    pub(crate) fn limit(&self) -> u32 {
        match &self.algorithm {
            Algorithm::Fixed(limit) => *limit,
            Algorithm::Aimd(aimd) => aimd.limit().max(1),
            Algorithm::Gradient2(gradient2) => gradient2.limit().max(1),
        }
    }

    /// Takes the latency of a call, which stands for `weight` calls. `in_flight` is how many were under
    /// way when it ended, itself included. Whether the limit changed.
    pub(crate) fn sample(
        &mut self,
        now: Duration,
        rtt: Duration,
        in_flight: u32,
        weight: u32,
    ) -> bool {
        let sample = self.samples.add(now, Some(rtt), in_flight, weight);
        self.update(sample)
    }

    /// Takes that a call was dropped: it timed out, or was refused for lack of room further in. Whether the
    /// limit changed.
    pub(crate) fn dropped(&mut self, now: Duration, in_flight: u32) -> bool {
        let sample = self.samples.add(now, None, in_flight, 1);
        self.update(sample)
    }

    fn update(&mut self, sample: Option<Sample>) -> bool {
        let Some(sample) = sample else {
            return false;
        };
        let before = self.limit();
        match &mut self.algorithm {
            Algorithm::Fixed(_) => {}
            Algorithm::Aimd(aimd) => aimd.update(&sample),
            Algorithm::Gradient2(gradient2) => gradient2.update(&sample),
        }
        self.limit() != before
    }
}

fn refuse(field: &'static str, value: impl fmt::Display, rule: impl Into<String>) -> ConfigError {
    ConfigError::new(COMPONENT, field, value, rule)
}

fn within(field: &'static str, value: u32, least: u32, most: u32) -> Result<(), ConfigError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(refuse(
        field,
        value,
        format!("must be from {least} to {most}"),
    ))
}

/// The three numbers that every adaptive limit has.
fn check_range(initial: u32, min: u32, max: u32) -> Result<(), ConfigError> {
    within("max", max, 1, MAX_LIMIT)?;
    within("min", min, 1, MAX_LIMIT)?;
    if min > max {
        return Err(refuse(
            "min",
            min,
            format!("must not be more than max, which is {max}"),
        ));
    }
    if !(min..=max).contains(&initial) {
        let rule = format!("must be from min to max, which are {min} and {max}");
        return Err(refuse("initial", initial, rule));
    }
    Ok(())
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
