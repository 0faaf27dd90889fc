//! A limit by scheduler lag: the time that a ready task waits for a worker.
//!
//! Latency cannot distinguish a slow route from an overloaded process; lag can. While lag is low,
//! there is no limit. When it stays high, a limit is set that leaves a short run queue. The limit
//! follows the lag, and is lifted when no call was shed for a second.
//!
//! Calls that only wait, for a database or in a long poll, do not load the process. When the lag is
//! almost zero, all calls in flight are such calls. Their number (`waiting`) is added to the limit,
//! so that only the number of other calls is limited (`load_limit`).
//!
//! The limit moves with the lower one of the last two samples. CoDel (Nichols and Jacobson, 2012)
//! likewise takes the lowest delay of an interval: only a queue that never drains is overload.

use std::time::Duration;

/// A higher lag is too high for a healthy process.
const HIGH: Duration = Duration::from_millis(10);
/// Up to this lag, only running tasks are ready.
const LOW: Duration = Duration::from_millis(2);
/// Samples above `LONG` for all of `LASTING` are overload. Less is a burst that ends without help: a
/// start, a page load, many connections at once. Such a burst takes a second, and longer if other
/// programs take the processors meanwhile.
const LONG: Duration = Duration::from_millis(50);
const LASTING: Duration = Duration::from_secs(2);
/// A lag above `SEVERE` that still grows by half after `GROWING` is overload already: the next
/// samples would be later than callers wait.
const SEVERE: Duration = Duration::from_millis(200);
const GROWING: Duration = Duration::from_millis(750);
/// This many high samples in a row lower the limit.
const IN_A_ROW: u32 = 2;
/// The limit moves at most once in this time.
const STEP: Duration = Duration::from_millis(30);
const GROWTH: f64 = 1.04;
/// The factors of the mildest and the steepest cut of the limit.
const CUT: f64 = 0.85;
const STEEPEST_CUT: f64 = 0.01;
/// The lowest load limit, unless two for each worker are more. With less, workers would be idle.
const LEAST: u32 = 4;
/// The limit is lifted after this time without a shed call.
const LIFT: Duration = Duration::from_secs(1);
/// The weight of the newest step in the rate at which calls end.
const WEIGHT: f64 = 0.3;
/// A runtime without a sample for this time does not count.
const SILENT: Duration = Duration::from_secs(2);
/// Further runtimes that share a limit are ignored.
const MOST_RUNTIMES: usize = 256;

/// A sample from the ticker of a runtime.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tick {
    /// The number of the runtime.
    pub(crate) runtime: u64,
    pub(crate) workers: u32,
    pub(crate) lag: Duration,
    /// Calls in flight, without those that only stream.
    pub(crate) in_flight: u32,
    /// All calls admitted so far.
    pub(crate) admitted: u64,
    /// All calls shed so far.
    pub(crate) shed: u64,
}

/// The state of a limit by scheduler lag.
#[derive(Debug, Clone)]
pub(crate) struct SchedulerLag {
    runtimes: Vec<Runtime>,
    /// The most calls that may load the process; `None` for no limit.
    load_limit: Option<f64>,
    /// Calls in flight that wait for something other than a worker.
    waiting: u32,
    /// The time of the last decision, and the totals at that time.
    decided: Option<Duration>,
    shed: u64,
    ended: u64,
    /// Calls that end per second.
    rate: f64,
    /// The last time that a call was shed or the limit set.
    needed: Duration,
}

/// The lag of one runtime.
#[derive(Debug, Clone)]
struct Runtime {
    id: u64,
    workers: u32,
    seen: Duration,
    last: Duration,
    before: Duration,
    /// The time of the first of the latest long samples. Its own lag does not count: a suspended
    /// process gives one long sample.
    long_since: Option<Duration>,
    /// High samples in a row since the limit was last lowered.
    high: u32,
}

impl Runtime {
    const fn new(id: u64) -> Self {
        Self {
            id,
            workers: 1,
            seen: Duration::ZERO,
            last: Duration::ZERO,
            before: Duration::ZERO,
            long_since: None,
            high: 0,
        }
    }

    fn add(&mut self, now: Duration, tick: &Tick) {
        self.seen = now;
        self.workers = tick.workers;
        self.before = std::mem::replace(&mut self.last, tick.lag);
        self.high = if self.is_high() {
            self.high.saturating_add(1)
        } else {
            0
        };
        if tick.lag > LONG {
            self.long_since.get_or_insert(now);
        } else {
            self.long_since = None;
        }
    }

    fn is_high(&self) -> bool {
        self.last > HIGH
    }

    fn is_overloaded(&self) -> bool {
        let more = self.before.saturating_add(self.before / 2);
        let grows = self.before > SEVERE && self.last >= more;
        let least = if grows { GROWING } else { LASTING };
        self.long_since
            .is_some_and(|since| self.seen.saturating_sub(since) >= least)
    }

    /// The lag of a standing queue.
    fn standing(&self) -> Duration {
        if self.high >= IN_A_ROW {
            self.last.min(self.before)
        } else {
            Duration::ZERO
        }
    }
}

/// The runtimes that share a limit, as one.
struct Aggregate {
    standing: Duration,
    high: bool,
    last: Duration,
    overloaded: bool,
    workers: u32,
}

impl SchedulerLag {
    pub(super) const fn new() -> Self {
        Self {
            runtimes: Vec::new(),
            load_limit: None,
            waiting: 0,
            decided: None,
            shed: 0,
            ended: 0,
            rate: 0.0,
            needed: Duration::ZERO,
        }
    }

    /// `None` for no limit.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rounds down, and a cast from a float saturates"
    )]
    pub(super) fn limit(&self) -> Option<u32> {
        let load_limit = self.load_limit? as u32;
        Some(self.waiting.saturating_add(load_limit))
    }

    /// Removes a runtime. Without any there is no limit, because nothing would lift it.
    pub(super) fn forget(&mut self, runtime: u64) {
        self.runtimes.retain(|other| other.id != runtime);
        if self.runtimes.is_empty() {
            self.load_limit = None;
        }
    }

    pub(super) fn tick(&mut self, now: Duration, tick: &Tick) {
        self.runtimes
            .retain(|other| other.id == tick.runtime || now.saturating_sub(other.seen) < SILENT);
        self.sample(now, tick);
        let elapsed = self.decided.map(|decided| now.saturating_sub(decided));
        if elapsed.is_some_and(|elapsed| elapsed < STEP) {
            return;
        }
        self.decided = Some(now);
        self.count(now, elapsed.unwrap_or_default(), tick);
        self.decide(now, tick);
    }

    fn sample(&mut self, now: Duration, tick: &Tick) {
        let known = self
            .runtimes
            .iter()
            .position(|other| other.id == tick.runtime);
        let at = known.unwrap_or(self.runtimes.len());
        if known.is_none() {
            if at == MOST_RUNTIMES {
                return;
            }
            self.runtimes.push(Runtime::new(tick.runtime));
        }
        self.runtimes[at].add(now, tick);
    }

    /// Updates the rate at which calls end, and notes shed calls.
    #[expect(
        clippy::cast_precision_loss,
        reason = "fewer than 2^53 calls end in a step"
    )]
    fn count(&mut self, now: Duration, elapsed: Duration, tick: &Tick) {
        if std::mem::replace(&mut self.shed, tick.shed) != tick.shed {
            self.needed = now;
        }
        let ended = tick.admitted.saturating_sub(tick.in_flight.into());
        let newly = ended.saturating_sub(std::mem::replace(&mut self.ended, ended));
        if !elapsed.is_zero() {
            let rate = newly as f64 / elapsed.as_secs_f64();
            self.rate += (rate - self.rate) * WEIGHT;
        }
    }

    /// The least loaded runtime counts: while one has idle workers, the process is not overloaded.
    fn aggregate(&self) -> Aggregate {
        let mut all = Aggregate {
            standing: Duration::MAX,
            high: true,
            last: Duration::ZERO,
            overloaded: true,
            workers: 0,
        };
        for runtime in &self.runtimes {
            all.standing = all.standing.min(runtime.standing());
            all.high &= runtime.is_high();
            all.last = all.last.max(runtime.last);
            all.overloaded &= runtime.is_overloaded();
            all.workers = all.workers.saturating_add(runtime.workers);
        }
        all
    }

    fn decide(&mut self, now: Duration, tick: &Tick) {
        let all = self.aggregate();
        self.waiting = if all.last <= LOW {
            tick.in_flight
        } else {
            self.waiting.min(tick.in_flight)
        };
        let least = f64::from(all.workers.saturating_mul(2).max(LEAST));
        let loading = f64::from(tick.in_flight - self.waiting);
        self.load_limit = match self.load_limit {
            None if all.overloaded => {
                self.needed = now;
                Some(self.lower(loading, least, all.standing))
            }
            None => None,
            Some(limit) if !all.standing.is_zero() => {
                Some(self.lower(limit.min(loading), least, all.standing))
            }
            Some(limit) if all.high => Some(limit),
            Some(_) if now.saturating_sub(self.needed) >= LIFT => None,
            Some(limit) => Some((limit * GROWTH).max(limit + 1.0).max(least)),
        };
    }

    /// The number of calls that would cause a lag of [`HIGH`], if `calls` cause this `lag`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast from a float saturates"
    )]
    fn lower(&mut self, calls: f64, least: f64, lag: Duration) -> f64 {
        for runtime in &mut self.runtimes {
            runtime.high = 0;
        }
        let lag = lag.max(HIGH).as_secs_f64();
        let limit = calls * (HIGH.as_secs_f64() / lag).clamp(STEEPEST_CUT, CUT);
        if limit <= least {
            // Too many calls were counted as waiting: by the excess of the queue, as `rate` drains
            // it.
            let queue = self.rate * (lag - HIGH.as_secs_f64());
            self.waiting = self.waiting.saturating_sub(queue.max(1.0) as u32);
        }
        limit.max(least)
    }
}

#[cfg(test)]
#[path = "lag_tests.rs"]
mod tests;
