//! The settings of a circuit breaker and their checks.

use std::fmt;
use std::time::Duration;

use super::super::{LONGEST, SHORTEST, check::Check, scale, unit, window::Window};
#[cfg(feature = "serde")]
use crate::vocabulary::settings::parse_duration;
use crate::vocabulary::settings::{Fields as _, settings, text};
use crate::vocabulary::{config::ConfigError, mode::Mode};

const CHECK: Check = Check("circuit_breaker");
const MAX_PROBES: u32 = 10_000;
const MAX_MIN_CALLS: u32 = 1_000_000;
const MAX_FACTOR: f64 = 1_000.0;
const MAX_STEPS: u32 = 1_000;
const PROBE_LIFE: Duration = Duration::from_secs(10);

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

settings! {
    /// The settings of a circuit breaker: see [`mainstay::settings`](crate::settings).
    #[derive(Copy)]
    pub struct Settings of "circuit_breaker" {
        /// Whether the circuit breaker rejects calls, only reports, or is off. Default `enforce`.
        mode: Mode = Mode::Enforce;
        /// The share of failed calls in the window that opens the circuit, or no such rule. Default
        /// 0.5; range above 0 to 1.
        failure_rate: Option<f64> = Some(0.5);
        /// The rule for slow calls. Default none.
        slow_calls: Option<SlowCalls> = None;
        /// The number of consecutive failures that opens the circuit, or no such rule. Default none.
        consecutive_failures: Option<u32> = None;
        /// The fewest calls in the window with which a rate can open the circuit. Default 20; range 1
        /// to 1 000 000.
        min_calls: u32 = 20;
        /// The window over which rates are computed: `10s`, `60s in 30 buckets` or `100 calls`.
        /// Default 10 seconds.
        window: Window = Window::default();
        /// How long the circuit first stays open. Default 5 seconds; range 1 ms to 24 hours.
        open_for: Duration = Duration::from_secs(5);
        /// The factor by which each failed recovery extends the open time. Default 2; range 1 to
        /// 1 000.
        open_factor: f64 = 2.0;
        /// The longest open time. Default 1 minute; at most 24 hours.
        open_max: Duration = Duration::from_secs(60);
        /// The share of the open time that varies at random. Default 0.1; range 0 to below 1.
        jitter: f64 = 0.1;
        /// The number of probes while half-open. Default 3; range 1 to 10 000.
        probes: u32 = 3;
        /// The time after which an unfinished probe counts as failed. Default 10 seconds or the
        /// threshold for slow calls, whichever is longer; in a stack at least the time limit of an
        /// attempt.
        probe_life: Option<Duration> as Auto = None;
        /// How the circuit closes after successful probes: `at_once` (the default) or
        /// `3 steps over 30s`.
        recovery: Recovery = Recovery::AtOnce;
        /// How a cancelled call counts: `failure_if_slow`, `ignore`, or a duration from which on it
        /// is a failure. Default `failure_if_slow`, in a stack with a time limit for attempts that
        /// limit.
        on_cancel: Option<OnCancel> as Auto = None;
    }
}

settings! {
    /// A rule that opens a circuit by slow calls.
    #[derive(Copy)]
    pub struct SlowCalls of "circuit_breaker" {
        /// The time from which on a call is slow: 1 ms to 24 hours.
        threshold: Duration = Duration::ZERO;
        /// The share of slow calls in the window that opens the circuit: above 0 to 1.
        rate: f64 = 0.5;
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::initial()
    }
}

impl SlowCalls {
    /// Opens the circuit when this share of the calls takes longer than `threshold`.
    #[must_use]
    pub const fn new(threshold: Duration, rate: f64) -> Self {
        Self { threshold, rate }
    }

    fn checked(&self) -> Result<(), ConfigError> {
        CHECK.duration("threshold", self.threshold, SHORTEST)?;
        CHECK.share("rate", self.rate)
    }
}

text! {
    Recovery,
    expects "`at_once`, or steps and their time, such as `3 steps over 30s`",
    pattern r"^(at_once|\d+ steps over .+)$",
    parse_recovery
}

#[cfg(feature = "serde")]
fn parse_recovery(text: &str) -> Option<Recovery> {
    if text == "at_once" {
        return Some(Recovery::AtOnce);
    }
    let (steps, over) = text.split_once(" steps over ")?;
    let (steps, over) = (steps.parse().ok()?, parse_duration(over)?);
    Some(Recovery::Stepwise { steps, over })
}

/// `at_once` or `3 steps over 30s`.
impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtOnce => f.write_str("at_once"),
            Self::Stepwise { steps, over } => write!(f, "{steps} steps over {over:?}"),
        }
    }
}

text! {
    OnCancel,
    expects "`failure_if_slow`, `ignore`, or a duration such as `2s`",
    pattern r"^(failure_if_slow|ignore|\d.*)$",
    parse_on_cancel
}

#[cfg(feature = "serde")]
fn parse_on_cancel(text: &str) -> Option<OnCancel> {
    match text {
        "failure_if_slow" => Some(OnCancel::FailureIfSlow),
        "ignore" => Some(OnCancel::Ignore),
        after => parse_duration(after).map(OnCancel::FailureAfter),
    }
}

/// `failure_if_slow`, `ignore`, or the time from which on a cancelled call is a failure.
impl fmt::Display for OnCancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FailureIfSlow => f.write_str("failure_if_slow"),
            Self::Ignore => f.write_str("ignore"),
            Self::FailureAfter(after) => write!(f, "{after:?}"),
        }
    }
}

impl Settings {
    #[inline]
    pub(crate) fn probe_life(&self) -> Duration {
        match (self.probe_life, self.slow_calls) {
            (Some(life), _) => life,
            // A probe that is not slow must not fail.
            (None, Some(slow)) => slow.threshold.max(PROBE_LIFE),
            (None, None) => PROBE_LIFE,
        }
    }

    /// The rule for cancelled calls, and the threshold for slow calls.
    pub(super) fn cancel_rules(&self) -> (OnCancel, Option<Duration>) {
        (self.on_cancel.unwrap_or_default(), self.slow_after())
    }

    /// The slow-call threshold.
    pub(crate) fn slow_after(&self) -> Option<Duration> {
        self.slow_calls.map(|slow| slow.threshold)
    }

    /// The same, with the values of settings that were not set.
    pub(crate) fn in_force(mut self) -> Self {
        self.probe_life = Some(self.probe_life());
        self.on_cancel = Some(self.on_cancel.unwrap_or_default());
        self
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

    pub(super) fn checked(&self) -> Result<(), ConfigError> {
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
        if let Some(slow) = self.slow_calls {
            CHECK.duration("slow_calls", slow.threshold, SHORTEST)?;
            CHECK.share("slow_calls", slow.rate)?;
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
        if let Some(threshold) = self.slow_after()
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
