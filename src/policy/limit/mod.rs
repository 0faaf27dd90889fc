//! The right number of calls at once is not known when a service is configured, and changes with every
//! neighbour and deployment. An adaptive limit finds it from what it sees: that ready tasks wait for a
//! worker (see [`lag`]); or that calls take longer than they used to, and are dropped.
//!
//! The algorithms for latencies are those of Netflix's concurrency-limits: AIMD as in TCP, and Gradient2, which follows
//! the ratio of long-term to short-term latency. Two things keep them honest. Samples are taken together
//! in windows of time, so that a burst of failures is one piece of evidence and not many; and a limit that
//! is not used does not grow, because nothing was learnt about it.
//!
//! What theirs lack is a quick beginning, which is TCP's: see [`slow_start`].

mod aimd;
mod gradient2;
mod lag;
mod samples;
mod slow_start;

use std::{fmt, time::Duration};

pub(crate) use self::lag::Tick;
use self::samples::{Sample, Samples};
use self::{aimd::Aimd, gradient2::Gradient2, lag::SchedulerLag};
pub use self::{aimd::AimdBuilder, gradient2::Gradient2Builder};
use crate::vocabulary::config::ConfigError;

const COMPONENT: &str = "limit";
const MAX_LIMIT: u32 = 1_000_000;
/// A limit by latency that has had no sample for so long grows.
const SILENCE: Duration = Duration::from_secs(1);
// Netflix's.
const DEFAULT_INITIAL: u32 = 20;
const DEFAULT_MIN: u32 = 20;
const DEFAULT_MAX: u32 = 200;

/// How many calls may be under way at once: a fixed number, or one that adapts.
///
/// ```
/// use mainstay::Limit;
///
/// let default = Limit::scheduler_lag();
/// let fixed = Limit::fixed(64);
/// let by_latency = Limit::aimd().initial(10).min(1).max(50).build()?;
/// # let _ = (default, fixed, by_latency);
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
///
/// # How a limit by latency begins
///
/// With a slow start, as TCP does (RFC 5681): while nothing has gone wrong since the start, the
/// limit doubles, up to its maximum, so that a healthy service does not shed for long. It doubles
/// when at least half of it was used and nothing was wrong with that, and no further than to twice
/// the calls that were in flight. Slow start ends at the first dropped call or the first latency
/// that the algorithm considers too high.
///
/// What a doubling does shows late. So it is judged by a round in which each permit of the limit
/// was used three times, and that comes after another that is looked at for trouble only (rounds
/// are those of `HyStart++`, RFC 9406). For calls of 10 ms that makes 0.2 seconds for each
/// doubling, for calls of 100 ms 0.8 seconds.
///
/// It ends for good: from then on the limit moves in the small steps of its algorithm. A limit by
/// latency is opt-in: servers have [`Limit::scheduler_lag`] by default, which has no slow start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit(Kind);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Fixed(u32),
    Aimd(AimdBuilder),
    Gradient2(Gradient2Builder),
    SchedulerLag,
}

impl Limit {
    /// Always `limit`: 1 to 1 000 000.
    #[must_use]
    pub const fn fixed(limit: u32) -> Self {
        Self(Kind::Fixed(limit))
    }

    /// No limit while the process keeps pace; one that adapts once tasks that are ready to run wait
    /// for a worker of the tokio runtime. This is the default.
    ///
    /// This wait is called scheduler lag. A process that is given more work than its workers can do
    /// has it; one whose calls are only slow (a slow route, a slow database, long polls) does not.
    /// So no call is shed because other calls take longer, and any mix of routes may share the
    /// limit.
    ///
    /// # How the lag is measured
    ///
    /// A task in each runtime in which the layer is called wakes every 10 ms, and sees how much
    /// later it runs than it should. It sees what every ready task sees: in a runtime with several
    /// workers, that all of them are busy. One worker that is blocked while others are idle is
    /// no overload. The task begins with the first call, ends when the layer is gone or was
    /// not called for ten seconds, and keeps no runtime alive.
    ///
    /// # How the limit moves
    ///
    /// A limit is set when the lag stayed above 50 ms for three quarters of a second; a process that was
    /// suspended is late only once. From then on, every 30 ms:
    /// where the lag stays above 10 ms, the limit falls to the number of calls that would make
    /// a lag of 10 ms, and by at least 15 %; else it grows by 4 %, at least by one. When nothing was
    /// shed for a second, the limit is lifted.
    ///
    /// What is limited is the number of calls that load the process: at least 4, or two for each
    /// worker. Calls that wait for something other than a worker are added to the limit, so
    /// that thousands of long polls take nothing from other calls. While there is a limit, an admitted
    /// call takes a turn of the run queue before it starts, so that calls that wait for a
    /// worker are counted.
    ///
    /// # What it suits
    ///
    /// Servers of any kind. It does not see work outside of the runtime's workers: threads of
    /// `spawn_blocking`, other processes, a database that is overloaded. A limit for
    /// one overloaded upstream is [`Limit::fixed`] or [`Limit::gradient2`].
    ///
    /// Several runtimes that share one layer share the limit, which is set only when all of them
    /// lag. If each is to have its own, build a layer for each.
    ///
    /// There is no lag under a paused test clock, outside of tokio, or in a runtime
    /// without a time driver, and so no limit.
    #[must_use]
    pub const fn scheduler_lag() -> Self {
        Self(Kind::SchedulerLag)
    }

    /// One that adapts to latency, with nothing to set: [`Limit::gradient2`] with its defaults, for
    /// calls of one kind.
    #[must_use]
    pub const fn adaptive() -> Self {
        Self(Kind::Gradient2(Gradient2Builder::new()))
    }

    /// One that grows by one while it is used and shrinks by a tenth when calls are dropped or take too
    /// long (additive increase, multiplicative decrease). Until the first of these it [doubles](Limit#how-a-limit-by-latency-begins).
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
    /// [doubles](Limit#how-a-limit-by-latency-begins).
    #[must_use]
    pub const fn gradient2() -> Gradient2Builder {
        Gradient2Builder::new()
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        match &self.0 {
            Kind::Fixed(limit) => within("limit", *limit, 1, MAX_LIMIT),
            Kind::Aimd(aimd) => aimd.check(),
            Kind::Gradient2(gradient2) => gradient2.check(),
            Kind::SchedulerLag => Ok(()),
        }
    }

    /// Whether the limit ever changes.
    pub(crate) const fn is_adaptive(&self) -> bool {
        !matches!(self.0, Kind::Fixed(_))
    }

    /// Whether it needs to know of the scheduler's lag; if not, and it adapts, of latencies.
    pub(crate) const fn is_by_lag(&self) -> bool {
        matches!(self.0, Kind::SchedulerLag)
    }
}

impl Limit {
    /// The least and the most that it can be; `None` where it follows from nothing that is set.
    pub(crate) const fn range(&self) -> Option<(u32, u32)> {
        match &self.0 {
            Kind::Fixed(limit) => Some((*limit, *limit)),
            Kind::Aimd(aimd) => Some(aimd.range()),
            Kind::Gradient2(gradient2) => Some(gradient2.range()),
            Kind::SchedulerLag => None,
        }
    }
}

/// `fixed at 64`, `adaptive (Gradient2), 20 to 200` or `adaptive (scheduler lag)`
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, (min, max)) = match &self.0 {
            Kind::Fixed(limit) => return write!(f, "fixed at {limit}"),
            Kind::Aimd(aimd) => ("AIMD", aimd.range()),
            Kind::Gradient2(gradient2) => ("Gradient2", gradient2.range()),
            Kind::SchedulerLag => return f.write_str("adaptive (scheduler lag)"),
        };
        write!(f, "adaptive ({name}), {min} to {max}")
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self::scheduler_lag()
    }
}

/// A limit at work.
#[derive(Debug, Clone)]
pub(crate) struct Adaptive {
    algorithm: Algorithm,
    samples: Samples,
    /// When there was a sample, or the limit grew without any.
    grown: Duration,
}

#[derive(Debug, Clone)]
enum Algorithm {
    Fixed(u32),
    Aimd(Aimd),
    Gradient2(Gradient2),
    SchedulerLag(SchedulerLag),
}

impl Adaptive {
    pub(crate) fn new(limit: &Limit, now: Duration) -> Self {
        Self {
            algorithm: match limit.0 {
                Kind::Fixed(limit) => Algorithm::Fixed(limit),
                Kind::Aimd(config) => Algorithm::Aimd(Aimd::new(config)),
                Kind::Gradient2(config) => Algorithm::Gradient2(Gradient2::new(config)),
                Kind::SchedulerLag => Algorithm::SchedulerLag(SchedulerLag::new()),
            },
            samples: Samples::new(now),
            grown: now,
        }
    }

    /// How many calls may be under way at once now; at least 1, unless it was fixed at 0. The highest number is no limit.
    pub(crate) fn limit(&self) -> u32 {
        match &self.algorithm {
            Algorithm::Fixed(limit) => *limit,
            Algorithm::Aimd(aimd) => aimd.limit().max(1),
            Algorithm::Gradient2(gradient2) => gradient2.limit().max(1),
            Algorithm::SchedulerLag(lag) => lag.limit().unwrap_or(u32::MAX),
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
        self.grown = now;
        let sample = self.samples.add(now, Some(rtt), in_flight, weight);
        self.update(now, sample)
    }

    /// Takes that a call was dropped: it timed out, or was refused for lack of room further in. Whether the
    /// limit changed.
    pub(crate) fn dropped(&mut self, now: Duration, in_flight: u32) -> bool {
        self.grown = now;
        let sample = self.samples.add(now, None, in_flight, 1);
        self.update(now, sample)
    }

    /// Takes a sample of the scheduler's lag. Whether the limit changed.
    pub(crate) fn tick(&mut self, now: Duration, tick: &Tick) -> bool {
        let before = self.limit();
        if let Algorithm::SchedulerLag(lag) = &mut self.algorithm {
            lag.tick(now, tick);
        }
        self.limit() != before
    }

    /// A runtime has no more samples. Whether the limit changed.
    pub(crate) fn forget(&mut self, runtime: u64) -> bool {
        let before = self.limit();
        if let Algorithm::SchedulerLag(lag) = &mut self.algorithm {
            lag.forget(runtime);
        }
        self.limit() != before
    }

    /// A call was shed. A limit by latency that has had no sample for a second grows by a tenth: what is in flight may say nothing for
    /// hours. Whether the limit changed.
    pub(crate) fn shed(&mut self, now: Duration) -> bool {
        if now.saturating_sub(self.grown) < SILENCE {
            return false;
        }
        self.grown = now;
        let before = self.limit();
        match &mut self.algorithm {
            Algorithm::Fixed(_) | Algorithm::SchedulerLag(_) => {}
            Algorithm::Aimd(aimd) => aimd.grow_without_samples(),
            Algorithm::Gradient2(gradient2) => gradient2.grow_without_samples(),
        }
        self.limit() != before
    }

    fn update(&mut self, now: Duration, sample: Option<Sample>) -> bool {
        let Some(sample) = sample else {
            return false;
        };
        let before = self.limit();
        match &mut self.algorithm {
            Algorithm::Fixed(_) | Algorithm::SchedulerLag(_) => {}
            Algorithm::Aimd(aimd) => aimd.update(&sample),
            Algorithm::Gradient2(gradient2) => gradient2.update(now, &sample),
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
mod cpu_simulation;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
