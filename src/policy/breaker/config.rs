//! The settings of a circuit breaker and their checks.

use std::{fmt, time::Duration};

use super::super::{
    LONGEST, SHORTEST, check::Check, evidence::Evidence, scale, unit, window::Window,
};
use crate::vocabulary::config::ConfigError;

const CHECK: Check = Check("circuit_breaker");
const MAX_PROBES: u32 = 10_000;
const MAX_MIN_CALLS: u32 = 1_000_000;
const MAX_FACTOR: f64 = 1_000.0;
const MAX_STEPS: u32 = 1_000;

/// Whether a circuit breaker rejects calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// It rejects calls. The default.
    #[default]
    Enforce,
    /// It changes its state as usual, but admits every call. Use it to try settings on real
    /// traffic.
    ///
    /// A call that would have been rejected is reported as `would_reject` in events, metrics, the
    /// log and the snapshot. Its outcome does not influence the state.
    Shadow,
    /// It admits every call and counts nothing.
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

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Whether a call that was cancelled before its answer is a failure or is ignored.
///
/// A call is cancelled when
/// - its caller drops it,
/// - the caller's deadline passes, or
/// - the service only answers that this deadline passed (504, 408, 499, `DEADLINE_EXCEEDED`,
///   `CANCELLED`, within the last tenth of the call's time, or within its last 25 ms).
///
/// The cancellation itself says nothing about the service; the time that the call ran without an
/// answer does. An ignored call counts for no rule, and an ignored probe releases its permit.
///
/// In every variant but [`Ignore`](Self::Ignore), a call that reached one of the program's own time
/// limits is a failure: 200 hung calls ended by an outer [`TimeoutLayer`](crate::TimeoutLayer) are
/// an outage.
///
/// A response head is an answer, so a caller that drops a stream after it does not produce a
/// failure. An incomplete request does not either: within `mainstay::http::timeout`, the running
/// time counts from the last piece of the request's body, and is zero while the next piece is
/// missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnCancel {
    /// The call is a failure if it ran for longer than successful calls do. The default.
    ///
    /// The threshold is the slow-call threshold if one is set. Otherwise it is the time of the
    /// slowest success of the last minute, and at least one second.
    #[default]
    FailureIfSlow,
    /// The call is ignored.
    Ignore,
    /// The call is a failure if it ran for at least this long, or for longer than the slow-call
    /// threshold. At most 24 hours; zero makes every cancelled call a failure.
    ///
    /// A client stack sets it to the attempt time limit, if one is set explicitly.
    FailureAfter(Duration),
}

impl OnCancel {
    pub(crate) fn check(self, component: &'static str) -> Result<(), ConfigError> {
        match self {
            Self::FailureAfter(after) if after > LONGEST => {
                Err(Check(component).refuse_duration("on_cancel", after, "must be at most 24h"))
            }
            _ => Ok(()),
        }
    }
}

/// How a circuit breaker closes after its probes succeeded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Recovery {
    /// It closes at once. The default.
    #[default]
    AtOnce,
    /// It first admits a growing share of the calls, so that an upstream that has just recovered
    /// does not get all the traffic at once.
    ///
    /// With 3 steps over 30 seconds, it admits 1/4 of the calls for 10 seconds, then 2/4, then 3/4,
    /// then all. The trip rules apply to a new window meanwhile. If one trips, the circuit opens,
    /// and the recovery counts as failed.
    Stepwise {
        /// The number of steps before the breaker closes: 1 to 1 000.
        steps: u32,
        /// The duration of all steps together: at least 1 ms for each step, at most 24 hours.
        over: Duration,
    },
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Config {
    pub(crate) failure_rate: Option<f64>,
    pub(crate) min_calls: u32,
    pub(crate) consecutive_failures: Option<u32>,
    /// The slow-call threshold, and the share of slow calls that trips.
    pub(crate) slow_calls: Option<(Duration, f64)>,
    pub(crate) window: Window,
    pub(crate) open_for: Duration,
    pub(crate) open_factor: f64,
    pub(crate) open_max: Duration,
    pub(crate) jitter: f64,
    pub(crate) probes: u32,
    /// `None`: not set.
    pub(crate) probe_life: Option<Duration>,
    pub(crate) recovery: Recovery,
    pub(crate) mode: Mode,
    /// `None`: not set.
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
            probe_life: None,
            recovery: Recovery::default(),
            mode: Mode::default(),
            on_cancel: None,
        }
    }
}

impl Config {
    #[inline]
    pub(crate) fn probe_life(&self) -> Duration {
        self.probe_life.unwrap_or(Duration::from_secs(10))
    }

    pub(super) fn evidence(&self, now: Duration) -> Evidence {
        let slow_after = self.slow_calls.map(|(threshold, _)| threshold);
        Evidence::new(self.on_cancel.unwrap_or_default(), slow_after, now)
    }

    /// The open time: it grows with each failed recovery in a row; the cap applies after the
    /// jitter.
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
            CHECK.share("failure_rate", rate)?;
        }
        CHECK.count("min_calls", self.min_calls, 1, MAX_MIN_CALLS)?;
        if let Some(failures) = self.consecutive_failures {
            CHECK.count("consecutive_failures", failures, 1, u32::MAX)?;
        }
        if let Some((threshold, rate)) = self.slow_calls {
            CHECK.duration("slow_calls", threshold, SHORTEST)?;
            CHECK.share("slow_calls", rate)?;
        }
        self.window.check(CHECK.0)?;
        let by_rate = self.failure_rate.is_some() || self.slow_calls.is_some();
        if !by_rate && self.consecutive_failures.is_none() {
            let rule = "a breaker needs at least one of failure_rate, slow_calls and \
                        consecutive_failures, or it would never trip";
            return Err(CHECK.refuse("failure_rate", "none", rule));
        }
        match self.window.capacity() {
            Some(size) if by_rate && self.min_calls > size => {
                let rule = format!("must be at most the window, which is {size} calls");
                Err(CHECK.refuse("min_calls", self.min_calls, rule))
            }
            _ => Ok(()),
        }
    }

    fn check_open(&self) -> Result<(), ConfigError> {
        CHECK.duration("open_for", self.open_for, SHORTEST)?;
        CHECK.duration("open_max", self.open_max, SHORTEST)?;
        if self.open_max < self.open_for {
            let rule = format!("must be at least open_for, which is {:?}", self.open_for);
            return Err(CHECK.refuse_duration("open_max", self.open_max, rule));
        }
        if !(1.0..=MAX_FACTOR).contains(&self.open_factor) {
            let rule = format!("must be from 1 to {MAX_FACTOR}");
            return Err(CHECK.refuse("open_factor", self.open_factor, rule));
        }
        if !(0.0..1.0).contains(&self.jitter) {
            let rule = "must be a fraction of the open time, from 0 to less than 1";
            return Err(CHECK.refuse("jitter", self.jitter, rule));
        }
        Ok(())
    }

    fn check_probes(&self) -> Result<(), ConfigError> {
        CHECK.count("probes", self.probes, 1, MAX_PROBES)?;
        CHECK.duration("probe_life", self.probe_life(), SHORTEST)?;
        if let Some((threshold, _)) = self.slow_calls
            && self.probe_life() < threshold
        {
            let rule = format!(
                "must be at least the slow-call threshold, which is {threshold:?}, or a probe that \
                 is not slow would fail"
            );
            return Err(CHECK.refuse_duration("probe_life", self.probe_life(), rule));
        }
        if let Recovery::Stepwise { steps, over } = self.recovery {
            CHECK.count("recovery", steps, 1, MAX_STEPS)?;
            CHECK.duration("recovery", over, SHORTEST.saturating_mul(steps))?;
        }
        self.on_cancel.unwrap_or_default().check(CHECK.0)
    }
}

#[cfg(test)]
mod tests;
