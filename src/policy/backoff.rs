//! The wait before a retry. Waits grow, because a call that failed is likely to fail again at once.
//! They are random, because callers that failed together would otherwise come back together.
//!
//! The kinds of jitter are those of Marc Brooker's "Exponential Backoff And Jitter" (AWS
//! Architecture Blog, 2015), which also measures the cost of having none.

use std::{fmt, time::Duration};

use super::{LONGEST, check::Check, scale, unit};
use crate::vocabulary::config::ConfigError;
#[cfg(feature = "serde")]
use crate::vocabulary::settings::parse_duration;
use crate::vocabulary::settings::text;

const CHECK: Check = Check("backoff");
const DEFAULT_BASE: Duration = Duration::from_millis(50);
const DEFAULT_CAP: Duration = Duration::from_secs(2);
const DEFAULT_FACTOR: f64 = 2.0;
const MAX_FACTOR: f64 = 1_000.0;

/// The wait before each retry.
///
/// The default is exponential with [full jitter](Jitter::Full): at most 50 ms before the first
/// retry, twice as much before each further one, and never more than 2 seconds. That spreads
/// retries widely and keeps the first wait short, which suits short failures.
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
#[derive(Debug, Clone, Copy)]
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

/// The random part of a wait. `c` stands for the wait without jitter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Jitter {
    /// The wait is `c`. Callers that failed together come back together.
    None,
    /// From 0 to `c`. The default.
    #[default]
    Full,
    /// From `c / 2` to `c`. No wait is close to zero.
    Equal,
    /// From the base to three times the previous wait, at most the cap. It grows without a factor,
    /// so it requires [`Backoff::exponential`] without a [`factor`](Backoff::factor).
    Decorrelated,
}

impl Backoff {
    /// Waits are `delay` each, which may be zero. The default cap is `delay`.
    ///
    /// The default jitter is full here too, so `delay` is the longest wait, not the only one.
    #[must_use]
    pub const fn constant(delay: Duration) -> Self {
        Self::new(Growth::Constant, delay)
    }

    /// Waits are `base`, 2 `base`, 3 `base`, ...
    #[must_use]
    pub const fn linear(base: Duration) -> Self {
        Self::new(Growth::Linear, base)
    }

    /// Waits are `base`, 2 `base`, 4 `base`, ..., or grow by another [`factor`](Self::factor).
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

    /// The ratio of each wait to the previous one. Default 2; range 1 to 1 000.
    ///
    /// Only an exponential back-off has a factor.
    #[must_use]
    pub const fn factor(mut self, factor: f64) -> Self {
        self.factor = Some(factor);
        self
    }

    /// The longest wait, jitter included. Default 2 seconds, or the base if that is longer; range
    /// from the base to 24 hours.
    #[must_use]
    pub const fn cap(mut self, cap: Duration) -> Self {
        self.cap = Some(cap);
        self
    }

    /// The random part of a wait. Default [`Jitter::Full`].
    #[must_use]
    pub const fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// The wait before a retry.
    ///
    /// - `attempt` is 1 before the first retry.
    /// - `previous` is the previous wait; only [`Jitter::Decorrelated`] needs it.
    /// - `random` is a number from 0 to 1, drawn anew for each wait.
    ///
    /// No argument causes a panic or a wait beyond the cap.
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

    /// The cap, set or default.
    pub(crate) fn longest(&self) -> Duration {
        self.cap.unwrap_or(match self.growth {
            Growth::Constant => self.base,
            Growth::Linear | Growth::Exponential => self.base.max(DEFAULT_CAP),
        })
    }

    pub(crate) const fn base(&self) -> Duration {
        self.base
    }

    /// The longest possible sum of the waits between this many attempts.
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
        let may_be_zero = self.growth == Growth::Constant;
        if self.base > LONGEST || (self.base.is_zero() && !may_be_zero) {
            let rule = "must be at most 24h, and more than 0 unless the back-off is constant";
            return Err(CHECK.refuse_duration("base", self.base, rule));
        }
        if let Some(cap) = self.cap {
            CHECK.duration("cap", cap, self.base)?;
        }
        if let Some(factor) = self.factor {
            if !(1.0..=MAX_FACTOR).contains(&factor) {
                let rule = format!("must be from 1 to {MAX_FACTOR}");
                return Err(CHECK.refuse("factor", factor, rule));
            }
            if !exponential {
                let rule = "only an exponential back-off has a factor";
                return Err(CHECK.refuse("factor", factor, rule));
            }
        }
        if self.jitter == Jitter::Decorrelated && (!exponential || self.factor.is_some()) {
            let rule = "requires an exponential back-off without a factor";
            return Err(CHECK.refuse("jitter", "decorrelated", rule));
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
                let (base, cap) = (self.base, self.longest());
                write!(f, "exponential from {base:?} to {cap:?}")?;
                if let Some(factor) = self.factor {
                    write!(f, ", factor {factor}")?;
                }
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

/// Equal if all waits are.
impl PartialEq for Backoff {
    fn eq(&self, other: &Self) -> bool {
        let of = |backoff: &Self| {
            let factor = backoff.factor.unwrap_or(DEFAULT_FACTOR);
            (
                backoff.growth,
                backoff.base,
                backoff.longest(),
                factor,
                backoff.jitter,
            )
        };
        of(self) == of(other)
    }
}

text! {
    Backoff,
    expects "a back-off such as `exponential from 50ms to 2s, full jitter`, `linear from 50ms to \
             2s, no jitter` or `constant 100ms, equal jitter`",
    pattern r"^(exponential|linear|constant) .*$",
    parse,
    Backoff::check
}

#[cfg(feature = "serde")]
fn parse(text: &str) -> Option<Backoff> {
    let mut parts = text.split(", ");
    let (kind, waits) = parts.next()?.split_once(' ')?;
    let mut backoff = if kind == "constant" {
        Backoff::constant(parse_duration(waits)?)
    } else {
        let waits = waits.strip_prefix("from ")?;
        let (base, cap) = match waits.split_once(" to ") {
            Some((base, cap)) => (base, Some(parse_duration(cap)?)),
            None => (waits, None),
        };
        let base = parse_duration(base)?;
        let mut backoff = match kind {
            "linear" => Backoff::linear(base),
            "exponential" => Backoff::exponential(base),
            _ => return None,
        };
        backoff.cap = cap;
        backoff
    };
    for part in parts {
        match part {
            "no jitter" => backoff.jitter = Jitter::None,
            "full jitter" => backoff.jitter = Jitter::Full,
            "equal jitter" => backoff.jitter = Jitter::Equal,
            "decorrelated jitter" => backoff.jitter = Jitter::Decorrelated,
            factor => backoff.factor = Some(factor.strip_prefix("factor ")?.parse().ok()?),
        }
    }
    Some(backoff)
}

impl Default for Backoff {
    fn default() -> Self {
        Self::exponential(DEFAULT_BASE)
    }
}

#[cfg(test)]
mod tests;
