//! A call that failed is likely to fail again at once, and callers that all failed together and wait
//! equally long all come back together. So waits grow from one retry to the next, and are random.
//!
//! The kinds of jitter are those of Marc Brooker's "Exponential Backoff And Jitter" (AWS Architecture
//! Blog, 2015), which also measures why none is the wrong choice.

use std::{fmt, time::Duration};

use super::{LONGEST, scale, unit};
use crate::vocabulary::config::ConfigError;

const COMPONENT: &str = "backoff";
const DEFAULT_BASE: Duration = Duration::from_millis(50);
const DEFAULT_CAP: Duration = Duration::from_secs(2);
const DEFAULT_FACTOR: f64 = 2.0;
const MAX_FACTOR: f64 = 1_000.0;

/// How long to wait before each retry.
///
/// The default is exponential: at most 50 ms before the first retry, twice that before each further one,
/// never more than 2 seconds, with [full jitter](Jitter::Full). That spreads retries widely and keeps the
/// first one short, which is what most short hiccups need.
///
/// ```
/// use mainstay::{Backoff, Jitter};
/// use std::time::Duration;
///
/// let backoff = Backoff::exponential(Duration::from_millis(100))
///     .cap(Duration::from_secs(5))
///     .jitter(Jitter::None);
/// assert_eq!(backoff.delay(3, None, 0.0), Duration::from_millis(400));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    growth: Growth,
    base: Duration,
    factor: Option<f64>,
    cap: Option<Duration>,
    jitter: Jitter,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Growth {
    Constant,
    Linear,
    Exponential,
}

/// What part of a wait is random. `c` is the wait that the back-off comes to without jitter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Jitter {
    /// Nothing: the wait is `c`. Callers that failed together come back together.
    None,
    /// Everything: from 0 to `c`. The default.
    #[default]
    Full,
    /// Half: from `c / 2` to `c`. No wait is close to zero.
    Equal,
    /// From the base to three times the wait before, at most the cap. It grows by itself, so it goes with
    /// [`Backoff::exponential`] only, and without a factor.
    Decorrelated,
}

impl Backoff {
    /// Every wait comes to `delay`, which may be zero. The cap is `delay` too, if not set.
    ///
    /// Like the others it has full jitter unless told otherwise, so that `delay` is the longest wait and
    /// not the only one.
    #[must_use]
    pub const fn constant(delay: Duration) -> Self {
        Self::new(Growth::Constant, delay)
    }

    /// Waits come to `base`, 2 `base`, 3 `base`, ...
    #[must_use]
    pub const fn linear(base: Duration) -> Self {
        Self::new(Growth::Linear, base)
    }

    /// Waits come to `base`, 2 `base`, 4 `base`, ..., or grow by another [`factor`](Self::factor).
    #[must_use]
    pub const fn exponential(base: Duration) -> Self {
        Self::new(Growth::Exponential, base)
    }

    const fn new(growth: Growth, base: Duration) -> Self {
        Self {
            growth,
            base,
            factor: None,
            cap: None,
            jitter: Jitter::Full,
        }
    }

    /// How much longer each wait of an exponential back-off is than the one before: 1 to 1 000; 2 if not
    /// set.
    #[must_use]
    pub const fn factor(mut self, factor: f64) -> Self {
        self.factor = Some(factor);
        self
    }

    /// The longest wait, jitter included: at least the base, at most 24 hours. If not set, 2 seconds, or
    /// the base if that is longer.
    #[must_use]
    pub const fn cap(mut self, cap: Duration) -> Self {
        self.cap = Some(cap);
        self
    }

    /// What part of a wait is random; [`Jitter::Full`] if not set.
    #[must_use]
    pub const fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// How long to wait before a retry.
    ///
    /// `attempt` is 1 before the first retry; `previous` is the wait before the previous one, which only
    /// [`Jitter::Decorrelated`] needs; `random` is a number from 0 to 1, drawn anew for each wait. There is
    /// no value of these that panics or leads over the cap.
    #[must_use]
    pub fn delay(&self, attempt: u32, previous: Option<Duration>, random: f64) -> Duration {
        let random = unit(random);
        let cap = self.longest();
        let whole = self.without_jitter(attempt, cap);
        match self.jitter {
            Jitter::None => whole,
            Jitter::Full => scale(whole, random, cap),
            Jitter::Equal => {
                let half = whole / 2;
                half.saturating_add(scale(whole.saturating_sub(half), random, cap))
                    .min(cap)
            }
            Jitter::Decorrelated => {
                let base = self.base.min(cap);
                let to = previous.unwrap_or(base).max(base).saturating_mul(3);
                base.saturating_add(scale(to.saturating_sub(base), random, cap))
                    .min(cap)
            }
        }
    }

    fn without_jitter(&self, attempt: u32, cap: Duration) -> Duration {
        let attempt = attempt.max(1);
        match self.growth {
            Growth::Constant => self.base.min(cap),
            Growth::Linear => self.base.saturating_mul(attempt).min(cap),
            Growth::Exponential => {
                let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
                let factor = self.factor.unwrap_or(DEFAULT_FACTOR);
                scale(self.base, factor.powi(exponent), cap)
            }
        }
    }

    /// The cap, as it was set or by default.
    pub(crate) fn longest(&self) -> Duration {
        self.cap.unwrap_or(match self.growth {
            Growth::Constant => self.base,
            Growth::Linear | Growth::Exponential => self.base.max(DEFAULT_CAP),
        })
    }

    pub(crate) const fn base(&self) -> Duration {
        self.base
    }

    /// The longest that the waits between so many attempts can come to.
    pub(crate) fn worst(&self, attempts: u32) -> Duration {
        let waits = 1..attempts;
        let (sum, _) = waits.fold((Duration::ZERO, None), |(sum, previous), attempt| {
            let wait = self.delay(attempt, previous, 1.0);
            (wait.saturating_add(sum), Some(wait))
        });
        sum
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let exponential = self.growth == Growth::Exponential;
        let zero_is_fine = self.growth == Growth::Constant;
        if self.base > LONGEST || (self.base.is_zero() && !zero_is_fine) {
            let rule =
                "must last more than nothing (a constant one may last nothing), at most 24 h";
            return Err(refuse("base", format!("{:?}", self.base), rule));
        }
        if let Some(cap) = self.cap
            && !(self.base..=LONGEST).contains(&cap)
        {
            let rule = format!("must be from the base, which is {:?}, to 24 h", self.base);
            return Err(refuse("cap", format!("{cap:?}"), rule));
        }
        if let Some(factor) = self.factor {
            if !(1.0..=MAX_FACTOR).contains(&factor) {
                let rule = format!("must be from 1 to {MAX_FACTOR}");
                return Err(refuse("factor", factor, rule));
            }
            if !exponential {
                let rule = "only an exponential back-off has a factor";
                return Err(refuse("factor", factor, rule));
            }
        }
        if self.jitter == Jitter::Decorrelated && (!exponential || self.factor.is_some()) {
            let rule = "grows by itself: it goes with an exponential back-off without a factor";
            return Err(refuse("jitter", "decorrelated", rule));
        }
        Ok(())
    }
}

/// `exponential from 50ms to 2s, full jitter`
impl fmt::Display for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.growth {
            Growth::Constant => write!(f, "constant {:?}", self.base)?,
            Growth::Linear => write!(f, "linear from {:?} to {:?}", self.base, self.longest())?,
            Growth::Exponential => {
                write!(
                    f,
                    "exponential from {:?} to {:?}",
                    self.base,
                    self.longest()
                )?;
            }
        }
        f.write_str(match self.jitter {
            Jitter::None => ", no jitter",
            Jitter::Full => ", full jitter",
            Jitter::Equal => ", equal jitter",
            Jitter::Decorrelated => ", decorrelated jitter",
        })
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::exponential(DEFAULT_BASE)
    }
}

fn refuse(field: &'static str, value: impl fmt::Display, rule: impl Into<String>) -> ConfigError {
    ConfigError::new(COMPONENT, field, value, rule)
}

#[cfg(test)]
mod tests;
