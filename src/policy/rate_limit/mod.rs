//! The generic cell rate algorithm (ITU-T Recommendation I.371, annex A). The whole state of a rate
//! limit is one point in time, the theoretical arrival time (TAT).
//!
//! A limit of n permits per period with a burst of b admits at most b calls at once, and one more
//! for each interval of period / n. At the TAT, the whole burst is available again. Each admitted
//! call moves the TAT ahead by one interval. A call is rejected while the TAT is more than b - 1
//! intervals ahead. This equals a bucket of b tokens that gains one token each interval, without a
//! timer and in a single number.
//!
//! All arithmetic is in whole nanoseconds. The interval is rounded up, so the rate is never higher
//! than set, and at most 0.1 % lower.

use std::fmt;
use std::time::Duration;

use super::{SHORTEST, check::Check, nanos};
use crate::runtime::sync::atomic::{AtomicU64, Ordering};
use crate::vocabulary::config::ConfigError;

const CHECK: Check = Check("rate_limit");

/// The shortest interval, in nanoseconds: rounding bounds the error to 0.1 %.
const SHORTEST_INTERVAL: u64 = 1_000;

/// The longest refill time of a burst.
const LONGEST_REFILL: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Permits per period, and the burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) permits: u32,
    pub(crate) per: Duration,
    /// Default `permits`.
    pub(crate) burst: Option<u32>,
}

impl Rate {
    pub(crate) const fn new(permits: u32, per: Duration) -> Self {
        Self {
            permits,
            per,
            burst: None,
        }
    }

    pub(crate) fn burst(&self) -> u32 {
        self.burst.unwrap_or(self.permits)
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        CHECK.duration("per", self.per, SHORTEST)?;
        let most = saturated(nanos(self.per) / SHORTEST_INTERVAL);
        if !(1..=most).contains(&self.permits) {
            let rule = format!("must be from 1 to {most} in {:?}", self.per);
            return Err(CHECK.refuse("permits", self.permits, rule));
        }
        let most = saturated(nanos(LONGEST_REFILL) / self.interval());
        if !(1..=most).contains(&self.burst()) {
            let rule = format!("must be from 1 to {most}, which refills in a year");
            return Err(CHECK.refuse("burst", self.burst(), rule));
        }
        Ok(())
    }

    /// Nanoseconds per permit, rounded up.
    fn interval(&self) -> u64 {
        let interval = nanos(self.per).div_ceil(u64::from(self.permits.max(1)));
        interval.max(1)
    }

    /// Whole permits, and the seconds of the shortest whole-second window that covers the period.
    #[cfg(any(feature = "http", test))]
    pub(crate) fn in_whole_seconds(&self) -> (u64, u64) {
        let seconds = self.per.as_nanos().div_ceil(SECOND).max(1);
        let permits = u128::from(self.permits) * seconds * SECOND / self.per.as_nanos().max(1);
        let saturated = |number| u64::try_from(number).unwrap_or(u64::MAX);
        (saturated(permits), saturated(seconds))
    }
}

/// `100 per 60s, burst 20`
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} per {:?}", self.permits, self.per)?;
        match self.burst {
            Some(burst) if burst != self.permits => write!(f, ", burst {burst}"),
            _ => Ok(()),
        }
    }
}

#[cfg(any(feature = "http", test))]
const SECOND: u128 = 1_000_000_000;

fn saturated(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The decision on a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checked {
    /// With the new theoretical arrival time.
    Admit { tat: u64 },
    /// With the exact time until the next call is admitted.
    Refuse { wait: Duration },
}

/// The algorithm. Points in time are nanoseconds since the origin. At a TAT of 0, the whole burst
/// is available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gcra {
    interval: u64,
    /// How far the TAT may be ahead of an admitted call.
    tolerance: u64,
}

impl Gcra {
    pub(crate) fn new(rate: &Rate) -> Self {
        let interval = rate.interval();
        let further = u64::from(rate.burst().max(1) - 1);
        Self {
            interval,
            tolerance: interval.saturating_mul(further),
        }
    }

    /// Decides on a call at `now`.
    #[inline]
    pub(crate) const fn check(&self, tat: u64, now: u64) -> Checked {
        let ahead = tat.saturating_sub(now);
        if ahead > self.tolerance {
            return Checked::Refuse {
                wait: Duration::from_nanos(ahead - self.tolerance),
            };
        }
        let from = if tat > now { tat } else { now };
        Checked::Admit {
            tat: from.saturating_add(self.interval),
        }
    }

    /// The TAT at which as many permits are in use as at `tat` under the old rate, at most all.
    fn of_rate(&self, old: &Self, tat: u64, now: u64) -> u64 {
        let ahead = u128::from(tat.saturating_sub(now));
        let scaled = ahead * u128::from(self.interval) / u128::from(old.interval.max(1));
        let scaled = u64::try_from(scaled).unwrap_or(u64::MAX);
        now.saturating_add(scaled).min(self.latest(now))
    }

    /// The latest possible TAT: no permit is left.
    const fn latest(&self, now: u64) -> u64 {
        now.saturating_add(self.tolerance)
            .saturating_add(self.interval)
    }

    /// The time until a call is admitted that has `ahead` calls before it and no other.
    pub(crate) fn wait(&self, tat: u64, now: u64, ahead: u32) -> Duration {
        let theirs = self.interval.saturating_mul(u64::from(ahead));
        let tat = tat.max(now).saturating_add(theirs);
        Duration::from_nanos((tat - now).saturating_sub(self.tolerance))
    }

    /// The number of calls that would be admitted now.
    pub(crate) fn available(&self, tat: u64, now: u64) -> u32 {
        let whole = self.tolerance.saturating_add(self.interval);
        saturated(whole.saturating_sub(tat.saturating_sub(now)) / self.interval)
    }

    /// The time until one more permit is available; `None` if the whole burst is.
    pub(crate) fn until_more(&self, tat: u64, now: u64) -> Option<Duration> {
        let ahead = tat.saturating_sub(now);
        if ahead == 0 {
            return None;
        }
        let used = u64::from(self.available(tat, now)).saturating_mul(self.interval);
        let then = self.tolerance.saturating_sub(used);
        Some(Duration::from_nanos(ahead.saturating_sub(then)))
    }
}

/// The shared state of a rate limit: the TAT in one atomic word, and the rate, which can change.
///
/// A call that is decided while the rate changes may see one number of each rate.
#[derive(Debug)]
pub(crate) struct RateLimit {
    interval: AtomicU64,
    tolerance: AtomicU64,
    tat: AtomicU64,
}

impl RateLimit {
    pub(crate) fn new(rate: &Rate) -> Self {
        let Gcra {
            interval,
            tolerance,
        } = Gcra::new(rate);
        Self {
            interval: AtomicU64::new(interval),
            tolerance: AtomicU64::new(tolerance),
            tat: AtomicU64::new(0),
        }
    }

    #[inline]
    fn gcra(&self) -> Gcra {
        Gcra {
            interval: self.interval.load(Ordering::Relaxed),
            tolerance: self.tolerance.load(Ordering::Relaxed),
        }
    }

    /// Changes the rate. The permits that are in use now remain in use: each is returned after one
    /// interval of the new rate.
    pub(crate) fn set_rate(&self, rate: &Rate, now: u64) {
        let (old, new) = (self.gcra(), Gcra::new(rate));
        self.interval.store(new.interval, Ordering::Relaxed);
        self.tolerance.store(new.tolerance, Ordering::Relaxed);
        let mut tat = self.tat();
        loop {
            let next = new.of_rate(&old, tat, now);
            let exchanged =
                self.tat
                    .compare_exchange_weak(tat, next, Ordering::Relaxed, Ordering::Relaxed);
            match exchanged {
                Ok(_) => return,
                Err(current) => tat = current,
            }
        }
    }

    /// Acquires a permit.
    ///
    /// # Errors
    ///
    /// The time until a permit is available, if none is.
    #[inline]
    pub(crate) fn try_acquire(&self, now: u64) -> Result<(), Duration> {
        let gcra = self.gcra();
        let mut tat = self.tat.load(Ordering::Relaxed);
        loop {
            let next = match gcra.check(tat, now) {
                Checked::Admit { tat } => tat,
                Checked::Refuse { wait } => return Err(wait),
            };
            // Relaxed: no other memory depends on this word.
            let exchanged =
                self.tat
                    .compare_exchange_weak(tat, next, Ordering::Relaxed, Ordering::Relaxed);
            match exchanged {
                Ok(_) => return Ok(()),
                Err(current) => tat = current,
            }
        }
    }

    /// Whether the TAT is later than any that is possible at this time: another caller read the clock
    /// later, or the clock went back.
    #[inline]
    pub(crate) fn is_ahead_of(&self, now: u64) -> bool {
        self.tat() > self.gcra().latest(now)
    }

    #[inline]
    pub(crate) fn tat(&self) -> u64 {
        self.tat.load(Ordering::Relaxed)
    }

    /// Corrects a TAT later than any possible one. Then the clock went back, as from one test with
    /// a paused clock to the next; the limit continues with no permit. `tat` must have been loaded
    /// before `now` was read.
    #[inline]
    pub(crate) fn catch_up(&self, tat: u64, now: u64) {
        let latest = self.gcra().latest(now);
        if tat > latest {
            // On failure another caller has changed it.
            let _ = self
                .tat
                .compare_exchange(tat, latest, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// See [`Gcra::wait`].
    pub(crate) fn wait(&self, now: u64, ahead: u32) -> Duration {
        let tat = self.tat.load(Ordering::Relaxed);
        self.gcra().wait(tat, now, ahead)
    }

    /// The available permits, and the time until one more; `None` if the whole burst is available.
    pub(crate) fn available(&self, now: u64) -> (u32, Option<Duration>) {
        let tat = self.tat.load(Ordering::Relaxed);
        let available = self.gcra().available(tat, now);
        (available, self.gcra().until_more(tat, now))
    }
}

#[cfg(mainstay_loom)]
pub(crate) mod models;

#[cfg(test)]
mod tests;
