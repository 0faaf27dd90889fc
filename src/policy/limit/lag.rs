//! Load shedding by scheduler lag: the time that a ready task waits for a worker.
//!
//! Latency cannot tell a slow route from an overloaded process; lag can. While it is low there is no limit at all. When it stays high, a
//! limit is set that leaves a short run queue; it moves with the lag, and is lifted when nothing has been shed for a second.
//!
//! Calls that only wait (for a database, or long polls for news) load nothing, and must not fill the limit. Whenever the lag is next to
//! nothing, all calls in flight wait for something other than a worker. So many are added to the limit (`waiting`), and only the number of
//! the others is limited (`room`).
//!
//! What moves the limit is the lower one of the last two samples, in the manner of CoDel (Nichols and Jacobson, 2012), which takes the lowest
//! delay of an interval: a queue that drains now and then is no overload, only one that stays.

use std::time::Duration;

/// Ready tasks of a healthy process wait for less.
const HIGH: Duration = Duration::from_millis(10);
/// No task is ready but those that run.
const LOW: Duration = Duration::from_millis(2);
/// Samples that are above this for the whole of that time are overload. A busy moment is none, nor are a few callers who keep a worker busy,
/// nor a neighbour that takes the processor for a moment.
const LONG: Duration = Duration::from_millis(50);
///
/// Not longer: the queue of a server without a limit grows all the while, and with it the time between two samples.
const SUSTAINED: Duration = Duration::from_millis(750);
/// So many high samples in a row lower a limit.
const IN_A_ROW: u32 = 2;
/// The limit moves at most once in this time.
const STEP: Duration = Duration::from_millis(30);
const GROWTH: f64 = 1.04;
/// A cut leaves at most this much of the limit, and at least that.
const CUT: f64 = 0.85;
const STEEPEST_CUT: f64 = 0.01;
/// Of the limit there are always so many calls that may load the process, or two for each worker: with fewer it would be idle.
const LEAST: u32 = 4;
/// The limit is lifted when nothing was shed for so long.
const LIFT: Duration = Duration::from_secs(1);
/// What the newest step counts in the rate at which calls end.
const WEIGHT: f64 = 0.3;
/// A runtime that was silent for so long is not asked.
const SILENT: Duration = Duration::from_secs(2);
/// Of runtimes that share a limit, no more than so many are looked at.
const MOST_RUNTIMES: usize = 256;

/// What the ticker of a runtime saw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tick {
    /// Which runtime.
    pub(crate) runtime: u64,
    /// How many workers it has.
    pub(crate) workers: u32,
    /// How much later than it should the ticker ran.
    pub(crate) lag: Duration,
    /// Calls in flight, without those that only stream.
    pub(crate) in_flight: u32,
    /// How many calls were ever admitted.
    pub(crate) admitted: u64,
    /// How many calls were ever shed.
    pub(crate) shed: u64,
}

/// A limit by scheduler lag at work.
#[derive(Debug, Clone)]
pub(crate) struct SchedulerLag {
    runtimes: Vec<Runtime>,
    /// How many calls may load the process at once; `None`: there is no limit.
    room: Option<f64>,
    /// Calls in flight that wait for something other than a worker.
    waiting: u32,
    /// When the limit was last thought over, and what was known then.
    decided: Option<Duration>,
    shed: u64,
    ended: u64,
    /// How many calls end in a second.
    rate: f64,
    /// When a call was last shed, or the limit set.
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
    /// When the first of the samples was taken that were all long. Its own lag does not count: a process that was suspended gives one.
    long_since: Option<Duration>,
    /// High samples since the limit was last lowered, if none was low since.
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

    /// Whether its tasks have waited for too long, for so long that a limit is needed.
    fn is_overloaded(&self) -> bool {
        self.long_since
            .is_some_and(|since| self.seen.saturating_sub(since) >= SUSTAINED)
    }

    /// The lag that does not go away.
    fn standing(&self) -> Duration {
        if self.high >= IN_A_ROW {
            self.last.min(self.before)
        } else {
            Duration::ZERO
        }
    }
}

/// What all runtimes that share a limit say together.
struct Together {
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
            room: None,
            waiting: 0,
            decided: None,
            shed: 0,
            ended: 0,
            rate: 0.0,
            needed: Duration::ZERO,
        }
    }

    /// `None`: there is no limit.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rounds down, and a cast from a float saturates"
    )]
    pub(super) fn limit(&self) -> Option<u32> {
        let room = self.room? as u32;
        Some(self.waiting.saturating_add(room))
    }

    /// A runtime calls no more. Without any there is no limit, because nothing would lift it.
    pub(super) fn forget(&mut self, runtime: u64) {
        self.runtimes.retain(|of| of.id != runtime);
        if self.runtimes.is_empty() {
            self.room = None;
        }
    }

    /// Takes a sample of the lag.
    pub(super) fn tick(&mut self, now: Duration, tick: &Tick) {
        self.runtimes
            .retain(|of| of.id == tick.runtime || now.saturating_sub(of.seen) < SILENT);
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
        let known = self.runtimes.iter().position(|of| of.id == tick.runtime);
        let at = known.unwrap_or(self.runtimes.len());
        if known.is_none() {
            if at == MOST_RUNTIMES {
                return;
            }
            self.runtimes.push(Runtime::new(tick.runtime));
        }
        self.runtimes[at].add(now, tick);
    }

    /// How many calls ended since the last step, and whether any was shed.
    #[expect(
        clippy::cast_precision_loss,
        reason = "so many calls do not end in a step"
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

    /// Of several runtimes the best one counts, as of the workers of one: while one of them has time, the process is not overloaded.
    fn together(&self) -> Together {
        let mut all = Together {
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
        let all = self.together();
        self.waiting = if all.last <= LOW {
            tick.in_flight
        } else {
            self.waiting.min(tick.in_flight)
        };
        let least = f64::from(all.workers.saturating_mul(2).max(LEAST));
        let loading = f64::from(tick.in_flight - self.waiting);
        self.room = match self.room {
            None if all.overloaded => {
                self.needed = now;
                Some(self.lower(loading, least, all.standing))
            }
            None => None,
            Some(room) if !all.standing.is_zero() => {
                Some(self.lower(room.min(loading), least, all.standing))
            }
            Some(room) if all.high => Some(room),
            Some(_) if now.saturating_sub(self.needed) >= LIFT => None,
            Some(room) => Some((room * GROWTH).max(room + 1.0).max(least)),
        };
    }

    /// So many calls at once make this lag: how many make less than [`HIGH`].
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
        let room = calls * (HIGH.as_secs_f64() / lag).clamp(STEEPEST_CUT, CUT);
        if room <= least {
            // Then too many were taken for waiting: as many as the queue is too long for, at the rate at which it moves.
            let queue = self.rate * (lag - HIGH.as_secs_f64());
            self.waiting = self.waiting.saturating_sub(queue.max(1.0) as u32);
        }
        room.max(least)
    }
}

#[cfg(test)]
#[path = "lag_tests.rs"]
mod tests;
