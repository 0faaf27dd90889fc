//! What a circuit breaker can be told, and what it refuses to be told.

use std::{fmt, time::Duration};

use super::super::{LONGEST, SHORTEST, evidence::Evidence, scale, unit, window::Window};
use crate::vocabulary::config::ConfigError;

const COMPONENT: &str = "circuit_breaker";
const MAX_PROBES: u32 = 10_000;
const MAX_MIN_CALLS: u32 = 1_000_000;
const MAX_FACTOR: f64 = 1_000.0;
const MAX_STEPS: u32 = 1_000;

/// Whether a circuit breaker acts on what it finds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// It rejects calls. The default.
    #[default]
    Enforce,
    /// It goes through its states as if it did, and rejects nothing: to try out settings on real traffic.
    ///
    /// A call that would have been rejected is admitted and reported as `would_reject`: in events, metrics, the log and the
    /// snapshot. Its outcome has no influence on the state.
    Shadow,
    /// It lets every call through and counts nothing.
    Off,
}

impl Mode {
    /// The name in snake case.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Shadow => "shadow",
            Self::Off => "off",
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// How a call counts that somebody ended before it had an answer of its own.
///
/// There are three ways: its caller dropped it; the caller's deadline ran out; or the service answered only that this deadline ran
/// out (504, 408, 499, `DEADLINE_EXCEEDED`, `CANCELLED`, within a tenth of the call's time, at least 25 ms, before the end). None of
/// them says anything about the service, whatever the caller's deadline was. How long the call ran without an answer does. Such a
/// call either is a failure or is ignored: it counts for no rule, and a probe gives its permit back.
///
/// In every variant but [`Ignore`](Self::Ignore), a call that one of the program's own time limits ended in full is a failure: 200
/// hung calls that a [`TimeoutLayer`](crate::TimeoutLayer) further out ends are an outage. The head of a response is an answer:
/// whoever drops a stream did not wait for it in vain, and the call is ignored. So is one whose request is not complete: within
/// `mainstay::http::timeout`, a call has run since the last piece of its request's body was taken, and not at all while the next one is
/// missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnCancel {
    /// It is a failure if it ran for longer than calls that go well do, and is ignored otherwise. The default.
    ///
    /// The threshold is the one for slow calls, where one is set. Else it is the time of the slowest call that succeeded
    /// within the last minute, and at least one second.
    #[default]
    FailureIfSlow,
    /// It is ignored.
    Ignore,
    /// It is a failure if it ran for at least this long, or for longer than the threshold for slow calls, where one is set. It
    /// is ignored otherwise. At most 24 hours; zero makes a failure of every call without an answer.
    ///
    /// The stack of a client sets it to the time limit of an attempt, where somebody set one.
    FailureAfter(Duration),
}

impl OnCancel {
    pub(crate) fn check(self, component: &'static str) -> Result<(), ConfigError> {
        match self {
            Self::FailureAfter(after) if after > LONGEST => {
                let rule = format!("must be at most {LONGEST:?}");
                Err(ConfigError::new(
                    component,
                    "on_cancel",
                    format!("{after:?}"),
                    rule,
                ))
            }
            _ => Ok(()),
        }
    }
}

/// How a circuit breaker goes from probes that were well to closed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Recovery {
    /// It closes at once. The default.
    #[default]
    AtOnce,
    /// It lets a growing share of the calls through first, so that the whole traffic does not fall on
    /// an upstream that has just got up.
    ///
    /// With 3 steps over 30 seconds, 1/4 of the calls is let through for 10 seconds, then 2/4, then
    /// 3/4, then all. The trip rules apply throughout, with a window of its own; when one trips, the
    /// recovery has failed.
    Stepwise {
        /// How many steps there are before the breaker is closed: 1 to 1 000.
        steps: u32,
        /// How long they take together: at least 1 ms each, at most 24 hours.
        over: Duration,
    },
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Config {
    pub(crate) failure_rate: Option<f64>,
    pub(crate) min_calls: u32,
    pub(crate) consecutive_failures: Option<u32>,
    /// Calls longer than this are slow; this share of slow calls trips.
    pub(crate) slow_calls: Option<(Duration, f64)>,
    pub(crate) window: Window,
    pub(crate) open_for: Duration,
    pub(crate) open_factor: f64,
    pub(crate) open_max: Duration,
    pub(crate) jitter: f64,
    pub(crate) probes: u32,
    pub(crate) probe_life: Duration,
    pub(crate) recovery: Recovery,
    pub(crate) mode: Mode,
    /// `None`: not chosen.
    pub(crate) on_cancel: Option<OnCancel>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            failure_rate: Some(0.5),
            min_calls: 20,
            consecutive_failures: None,
            slow_calls: None,
            window: Window::default(),
            open_for: Duration::from_secs(5),
            open_factor: 2.0,
            open_max: Duration::from_secs(60),
            jitter: 0.1,
            probes: 3,
            probe_life: Duration::from_secs(10),
            recovery: Recovery::default(),
            mode: Mode::default(),
            on_cancel: None,
        }
    }
}

impl Config {
    /// Which calls without an answer are failures.
    pub(super) fn evidence(&self, now: Duration) -> Evidence {
        let slow_after = self.slow_calls.map(|(threshold, _)| threshold);
        Evidence::new(self.on_cancel.unwrap_or_default(), slow_after, now)
    }

    /// The base, longer for each failed recovery in a row; the cap holds after the jitter.
    pub(super) fn open_time(&self, failed_recoveries: u32, random: f64) -> Duration {
        let exponent = i32::try_from(failed_recoveries).unwrap_or(i32::MAX);
        let grown = scale(
            self.open_for,
            self.open_factor.powi(exponent),
            self.open_max,
        );
        let jitter = self.jitter * (2.0 * unit(random) - 1.0);
        scale(grown, 1.0 + jitter, self.open_max)
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        self.check_rules()?;
        self.check_open()?;
        self.check_probes()
    }

    fn check_rules(&self) -> Result<(), ConfigError> {
        if let Some(rate) = self.failure_rate {
            share("failure_rate", rate)?;
        }
        within("min_calls", self.min_calls, 1, MAX_MIN_CALLS)?;
        if let Some(failures) = self.consecutive_failures {
            within("consecutive_failures", failures, 1, u32::MAX)?;
        }
        if let Some((threshold, rate)) = self.slow_calls {
            lasting("slow_calls", threshold, SHORTEST, LONGEST)?;
            share("slow_calls", rate)?;
        }
        self.window.check(COMPONENT)?;
        let by_rate = self.failure_rate.is_some() || self.slow_calls.is_some();
        if !by_rate && self.consecutive_failures.is_none() {
            let rule = "a breaker without a failure rate, a slow-call rate and a number of \
                        consecutive failures would never trip";
            return Err(refuse("failure_rate", "none", rule));
        }
        match self.window.capacity() {
            Some(size) if by_rate && self.min_calls > size => {
                let rule = format!("a window of {size} calls never holds that many");
                Err(refuse("min_calls", self.min_calls, rule))
            }
            _ => Ok(()),
        }
    }

    fn check_open(&self) -> Result<(), ConfigError> {
        lasting("open_for", self.open_for, SHORTEST, LONGEST)?;
        lasting("open_max", self.open_max, SHORTEST, LONGEST)?;
        if self.open_max < self.open_for {
            let rule = format!("must be at least open_for, which is {:?}", self.open_for);
            return Err(refuse("open_max", format!("{:?}", self.open_max), rule));
        }
        if !(1.0..=MAX_FACTOR).contains(&self.open_factor) {
            let rule = format!("must be from 1 to {MAX_FACTOR}");
            return Err(refuse("open_factor", self.open_factor, rule));
        }
        if !(0.0..1.0).contains(&self.jitter) {
            let rule = "must be a fraction of the open time, from 0 to less than 1";
            return Err(refuse("jitter", self.jitter, rule));
        }
        Ok(())
    }

    fn check_probes(&self) -> Result<(), ConfigError> {
        within("probes", self.probes, 1, MAX_PROBES)?;
        lasting("probe_life", self.probe_life, SHORTEST, LONGEST)?;
        if let Some((threshold, _)) = self.slow_calls
            && self.probe_life < threshold
        {
            let rule = format!(
                "must be at least the slow-call threshold, which is {threshold:?}, or a call that is \
                 not even slow would fail as a probe"
            );
            return Err(refuse("probe_life", format!("{:?}", self.probe_life), rule));
        }
        if let Recovery::Stepwise { steps, over } = self.recovery {
            within("recovery", steps, 1, MAX_STEPS)?;
            lasting("recovery", over, SHORTEST.saturating_mul(steps), LONGEST)?;
        }
        self.on_cancel.unwrap_or_default().check(COMPONENT)
    }
}

fn refuse(field: &'static str, value: impl fmt::Display, rule: impl Into<String>) -> ConfigError {
    ConfigError::new(COMPONENT, field, value, rule)
}

fn share(field: &'static str, value: f64) -> Result<(), ConfigError> {
    if value > 0.0 && value <= 1.0 {
        return Ok(());
    }
    let rule = "must be a share of the calls, more than 0 and at most 1";
    Err(refuse(field, value, rule))
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

fn lasting(
    field: &'static str,
    value: Duration,
    least: Duration,
    most: Duration,
) -> Result<(), ConfigError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    let rule = format!("must last from {least:?} to {most:?}");
    Err(refuse(field, format!("{value:?}"), rule))
}

#[cfg(test)]
mod tests;
