//! The generic cell rate algorithm (ITU-T Recommendation I.371, annex A): one point in time, the
//! theoretical arrival time, says everything about the past of a rate limit.
//!
//! A limit of n permits a period, with a burst of b, admits at most b calls at once, and one more
//! for each interval of period / n. The theoretical arrival time is the time at which the whole
//! burst is available again. Each admitted call moves it on by one interval, and a call is refused
//! while it lies more than b - 1 intervals ahead. That is the same as a bucket of b tokens into
//! which one token falls each interval, without a timer and without a second number to keep.
//!
//! All arithmetic is in whole nanoseconds. An interval that is none is rounded up: the rate is never
//! higher than it was set, and lower by at most 0.1 %.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{LONGEST, SHORTEST, nanos};
use crate::vocabulary::config::ConfigError;

const COMPONENT: &str = "rate_limit";

/// The shortest interval, in nanoseconds. Rounding a shorter one up would make a large difference.
const SHORTEST_INTERVAL: u64 = 1_000;

/// The longest time that a burst may take to become available again.
const LONGEST_REFILL: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Permits for each period, and the permits that may be used at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) permits: u32,
    pub(crate) per: Duration,
    /// As many as `permits`, if not set.
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
        if !(SHORTEST..=LONGEST).contains(&self.per) {
            let rule = format!("must last from {SHORTEST:?} to 24 h");
            return Err(refuse("per", format!("{:?}", self.per), rule));
        }
        let most = saturated(nanos(self.per) / SHORTEST_INTERVAL);
        if !(1..=most).contains(&self.permits) {
            let rule = format!("must be from 1 to {most} in {:?}", self.per);
            return Err(refuse("permits", self.permits, rule));
        }
        let most = saturated(nanos(LONGEST_REFILL) / self.interval());
        if !(1..=most).contains(&self.burst()) {
            let rule =
                format!("must be from 1 to {most}, which takes a year to be available again");
            return Err(refuse("burst", self.burst(), rule));
        }
        Ok(())
    }

    /// Nanoseconds for each permit, rounded up.
    fn interval(&self) -> u64 {
        let interval = nanos(self.per).div_ceil(u64::from(self.permits.max(1)));
        interval.max(1)
    }

    #[cfg(any(feature = "http", test))]
    /// The permits of a window of whole seconds: the shortest that is no shorter than the period.
    /// Fractions of a permit are left out.
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

fn refuse(field: &'static str, value: impl fmt::Display, rule: impl Into<String>) -> ConfigError {
    ConfigError::new(COMPONENT, field, value, rule)
}

/// The decision on a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checked {
    /// The call is admitted, and this is the theoretical arrival time from now on.
    Admit { tat: u64 },
    /// The call is refused. One that comes after exactly this time, before any other, is admitted.
    Refuse { wait: Duration },
}

/// The algorithm. Points in time are nanoseconds since the origin of the caller's clock, and 0 is a
/// theoretical arrival time at which everything is available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gcra {
    /// Between two permits.
    interval: u64,
    /// How far ahead the theoretical arrival time may be of a call that is admitted.
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

    /// Decides on a call that comes now.
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

    /// The latest theoretical arrival time that there can be now: no permit is left.
    const fn latest(&self, now: u64) -> u64 {
        now.saturating_add(self.tolerance)
            .saturating_add(self.interval)
    }

    /// The time until a call is admitted that has `ahead` others before it, if nothing else comes.
    pub(crate) fn wait(&self, tat: u64, now: u64, ahead: u32) -> Duration {
        let theirs = self.interval.saturating_mul(u64::from(ahead));
        let tat = tat.max(now).saturating_add(theirs);
        Duration::from_nanos((tat - now).saturating_sub(self.tolerance))
    }

    /// The calls that would be admitted now.
    pub(crate) fn available(&self, tat: u64, now: u64) -> u32 {
        let whole = self.tolerance.saturating_add(self.interval);
        saturated(whole.saturating_sub(tat.saturating_sub(now)) / self.interval)
    }

    /// The time until one more call than now would be admitted; `None` where the whole burst is
    /// available.
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

/// A rate limit at work: the theoretical arrival time in one word, which all callers move on.
#[derive(Debug)]
pub(crate) struct RateLimit {
    gcra: Gcra,
    tat: AtomicU64,
}

impl RateLimit {
    /// The whole burst is available.
    pub(crate) fn new(rate: &Rate) -> Self {
        Self {
            gcra: Gcra::new(rate),
            tat: AtomicU64::new(0),
        }
    }

    /// Takes a permit. Each is taken once, however many threads ask for it.
    ///
    /// # Errors
    ///
    /// There is none now; the time until there is one.
    #[inline]
    pub(crate) fn try_acquire(&self, now: u64) -> Result<(), Duration> {
        let mut tat = self.tat.load(Ordering::Relaxed);
        loop {
            let next = match self.gcra.check(tat, now) {
                Checked::Admit { tat } => tat,
                Checked::Refuse { wait } => return Err(wait),
            };
            // Nothing but this word depends on it, so no other memory is ordered by it.
            let exchanged =
                self.tat
                    .compare_exchange_weak(tat, next, Ordering::Relaxed, Ordering::Relaxed);
            match exchanged {
                Ok(_) => return Ok(()),
                Err(current) => tat = current,
            }
        }
    }

    /// The theoretical arrival time.
    #[inline]
    pub(crate) fn tat(&self) -> u64 {
        self.tat.load(Ordering::Relaxed)
    }

    /// `tat` was loaded before the clock was read. If it is later than any can be by then, the clock went
    /// back, as it does from one test with a paused clock to the next. The limit goes on without a permit.
    #[inline]
    pub(crate) fn catch_up(&self, tat: u64, now: u64) {
        let latest = self.gcra.latest(now);
        if tat > latest {
            // If it fails, another caller has moved it.
            let _ = self
                .tat
                .compare_exchange(tat, latest, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// The time until a call is admitted that has `ahead` others before it.
    pub(crate) fn wait(&self, now: u64, ahead: u32) -> Duration {
        let tat = self.tat.load(Ordering::Relaxed);
        self.gcra.wait(tat, now, ahead)
    }

    /// The calls that would be admitted now, and the time until it is one more: `None` where the whole
    /// burst is available.
    pub(crate) fn available(&self, now: u64) -> (u32, Option<Duration>) {
        let tat = self.tat.load(Ordering::Relaxed);
        let available = self.gcra.available(tat, now);
        (available, self.gcra.until_more(tat, now))
    }
}

#[cfg(test)]
mod tests;
