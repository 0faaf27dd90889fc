//! Concurrency limits, fixed and adaptive. The right limit is not known in advance and changes with
//! every deployment. An adaptive limit finds it from scheduler lag (see [`lag`]) or from latencies
//! and dropped calls.
//!
//! The latency algorithms are those of Netflix's concurrency-limits: AIMD as in TCP, and Gradient2,
//! which follows the ratio of long-term to short-term latency. Samples are grouped in windows of
//! time, so that a burst of failures counts once. A limit that is not used does not grow, because a
//! higher one was not tested. A slow start as in TCP is added (see [`slow_start`]).

mod aimd;
mod gradient2;
mod lag;
mod samples;
mod slow_start;
mod text;

use std::{fmt, time::Duration};

pub(crate) use self::lag::Tick;
use self::samples::{Sample, Samples};
use self::{aimd::Aimd, gradient2::Gradient2, lag::SchedulerLag};
pub use self::{aimd::AimdBuilder, gradient2::Gradient2Builder};
use super::check::Check;
use crate::vocabulary::config::ConfigError;

const CHECK: Check = Check("limit");
const MAX_LIMIT: u32 = 1_000_000;
/// A limit by latency that sheds grows after this time without a sample.
const SILENCE: Duration = Duration::from_secs(1);
// The defaults of Netflix's concurrency-limits.
const DEFAULT_INITIAL: u32 = 20;
const DEFAULT_MIN: u32 = 20;
const DEFAULT_MAX: u32 = 200;

/// A limit on the calls in flight, fixed or adaptive. Default [`Limit::scheduler_lag`].
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
/// It begins with a slow start, as TCP does (RFC 5681), so that a healthy service does not shed for
/// long. The limit doubles, up to its maximum, when at least half of it is used without trouble. It
/// grows to at most twice the calls in flight. Slow start ends for good at the first dropped call
/// or the first latency that the algorithm considers too high. From then on the limit moves in the
/// small steps of its algorithm.
///
/// The effect of a doubling shows late. So each doubling is followed by two rounds, in each of
/// which every permit is used three times; only the second one can double the limit again
/// (`HyStart++`, RFC 9406, has such rounds). With calls of 10 ms, a doubling takes 0.2 seconds;
/// with calls of 100 ms, 0.8 seconds.
///
/// A limit by latency is opt-in: the default, [`Limit::scheduler_lag`], has no slow start.
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
    /// A limit that is always `limit`; range 1 to 1 000 000.
    #[must_use]
    pub const fn fixed(limit: u32) -> Self {
        Self(Kind::Fixed(limit))
    }

    /// No limit while the process keeps pace, and an adaptive one once ready tasks wait too long
    /// for a worker of the tokio runtime. This is the default.
    ///
    /// This wait is the scheduler lag. It grows when a process gets more work than its workers can
    /// do. It does not grow when calls are only slow: a slow route, a slow database, long polls. So
    /// no call is shed because other calls take longer, and any mix of routes may share the limit.
    ///
    /// # How the lag is measured
    ///
    /// In each runtime that calls the layer, a task wakes every 10 ms and measures how late it
    /// runs. Every ready task has this delay: in a runtime with several workers, all of them are
    /// busy. One blocked worker among idle ones is no overload. The task starts with the first
    /// call. It ends when the layer is dropped or was not called for ten seconds, and keeps no
    /// runtime alive.
    ///
    /// # How the limit moves
    ///
    /// A limit is set when the lag stays above 50 ms for two seconds. After 750 ms, a lag above
    /// 200 ms that grows by half from one sample to the next suffices. A start, a page load or many
    /// new connections at once are over sooner, and a suspended process is late only once. From
    /// then on, the limit is updated every 30 ms. While the lag stays above 10 ms, the
    /// limit falls to the number of calls that would cause a lag of 10 ms, and by at least 15 %.
    /// Otherwise it grows by 4 %, at least by one. When no call was shed for a second, the limit is
    /// lifted.
    ///
    /// The limit applies to the calls that load the process. It is at least 4, and at least two for
    /// each worker. Calls that wait for something other than a worker are added to it, so that
    /// thousands of long polls take no permits from other calls. While a limit is set, an admitted
    /// call goes to the end of the run queue before it starts, so that calls waiting for a worker
    /// are counted.
    ///
    /// # When to use it
    ///
    /// For servers of any kind. It does not see work outside of the runtime's workers:
    /// `spawn_blocking` threads, other processes, an overloaded database. To limit calls to one
    /// upstream, use [`Limit::fixed`] or [`Limit::gradient2`].
    ///
    /// Runtimes that share a layer share the limit, which is set only when all of them lag. For
    /// separate limits, build a layer for each runtime.
    ///
    /// There is no lag, and so no limit, under a paused test clock, outside of tokio, and in a
    /// runtime without a time driver.
    #[must_use]
    pub const fn scheduler_lag() -> Self {
        Self(Kind::SchedulerLag)
    }

    /// A limit that adapts to latency: [`Limit::gradient2`] with its defaults, for calls of one
    /// kind.
    #[must_use]
    pub const fn adaptive() -> Self {
        Self(Kind::Gradient2(Gradient2Builder::new()))
    }

    /// A limit that grows by one while it is used, and shrinks by a tenth when calls are dropped or
    /// take too long (additive increase, multiplicative decrease). Before the first of these it
    /// [doubles](Limit#how-a-limit-by-latency-begins).
    ///
    /// The time-out defines what takes too long. Use it if calls differ too much for their latency
    /// to mean much.
    #[must_use]
    pub const fn aimd() -> AimdBuilder {
        AimdBuilder::new()
    }

    /// A limit that follows the ratio of long-term to short-term latency.
    ///
    /// It needs no time-out, and reacts before calls are dropped. Until calls first take longer
    /// than usual or are dropped, it [doubles](Limit#how-a-limit-by-latency-begins).
    #[must_use]
    pub const fn gradient2() -> Gradient2Builder {
        Gradient2Builder::new()
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        match &self.0 {
            Kind::Fixed(limit) => CHECK.count("limit", *limit, 1, MAX_LIMIT),
            Kind::Aimd(aimd) => aimd.check(),
            Kind::Gradient2(gradient2) => gradient2.check(),
            Kind::SchedulerLag => Ok(()),
        }
    }

    /// Whether the limit ever changes.
    pub(crate) const fn is_adaptive(&self) -> bool {
        !matches!(self.0, Kind::Fixed(_))
    }

    /// Whether it adapts to the scheduler's lag. Other adaptive limits adapt to latency.
    pub(crate) const fn is_by_lag(&self) -> bool {
        matches!(self.0, Kind::SchedulerLag)
    }

    /// The minimum and maximum; `None` if no settings bound the limit.
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

/// The state of a limit.
#[derive(Debug, Clone)]
pub(crate) struct Adaptive {
    algorithm: Algorithm,
    samples: Samples,
    /// The time of the last sample, or of the last growth without one.
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

    /// The current limit: at least 1, unless fixed at 0; `u32::MAX` for no limit.
    pub(crate) fn limit(&self) -> u32 {
        match &self.algorithm {
            Algorithm::Fixed(limit) => *limit,
            Algorithm::Aimd(aimd) => aimd.limit().max(1),
            Algorithm::Gradient2(gradient2) => gradient2.limit().max(1),
            Algorithm::SchedulerLag(lag) => lag.limit().unwrap_or(u32::MAX),
        }
    }

    /// Adds the latency of a call that represents `weight` calls. `in_flight` includes the call
    /// itself. Returns whether the limit changed.
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

    /// Adds a dropped call: it timed out, or an inner service shed it. Returns whether the limit
    /// changed.
    pub(crate) fn dropped(&mut self, now: Duration, in_flight: u32) -> bool {
        self.grown = now;
        let sample = self.samples.add(now, None, in_flight, 1);
        self.update(now, sample)
    }

    /// Adds a sample of the scheduler's lag. Returns whether the limit changed.
    pub(crate) fn tick(&mut self, now: Duration, tick: &Tick) -> bool {
        let before = self.limit();
        if let Algorithm::SchedulerLag(lag) = &mut self.algorithm {
            lag.tick(now, tick);
        }
        self.limit() != before
    }

    /// Removes a runtime that sends no more samples. Returns whether the limit changed.
    pub(crate) fn forget(&mut self, runtime: u64) -> bool {
        let before = self.limit();
        if let Algorithm::SchedulerLag(lag) = &mut self.algorithm {
            lag.forget(runtime);
        }
        self.limit() != before
    }

    /// Records a shed call. A limit by latency grows by a tenth after a second without a sample,
    /// because the calls in flight may not end for hours. Returns whether the limit changed.
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

/// Checks the settings that all limits by latency share.
fn check_range(initial: u32, min: u32, max: u32) -> Result<(), ConfigError> {
    CHECK.count("max", max, 1, MAX_LIMIT)?;
    CHECK.count("min", min, 1, MAX_LIMIT)?;
    if min > max {
        let rule = format!("must be at most max, which is {max}");
        return Err(CHECK.refuse("min", min, rule));
    }
    if !(min..=max).contains(&initial) {
        let rule = format!("must be from min to max, which are {min} and {max}");
        return Err(CHECK.refuse("initial", initial, rule));
    }
    Ok(())
}

#[cfg(test)]
mod cpu_simulation;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
