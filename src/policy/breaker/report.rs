//! The states of a circuit breaker, its transitions and its snapshot.

use std::{fmt, time::Duration};

use super::{Breaker, Mode, Phase};
use crate::policy::window::Counts;

/// The state of a circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Every call is admitted, and its outcome is counted.
    Closed,
    /// Every call is rejected until the open time is over.
    Open,
    /// A few calls are admitted as probes, to see whether the upstream has recovered.
    HalfOpen,
    /// The probes succeeded; a growing share of the calls is admitted.
    Recovering,
    /// Forced open through the handle: every call is rejected.
    ForcedOpen,
    /// Forced closed through the handle: every call is admitted and counted, and no rule trips.
    ForcedClosed,
}

impl State {
    /// The name in snake case, as in metrics and logs.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::Recovering => "recovering",
            Self::ForcedOpen => "forced_open",
            Self::ForcedClosed => "forced_closed",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The cause of a state transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The failure rate of the window reached its threshold.
    FailureRate,
    /// The slow-call rate of the window reached its threshold.
    SlowCallRate,
    /// The number of consecutive failures reached its threshold.
    ConsecutiveFailures,
    /// The open time is over; probes are admitted.
    OpenTimeOver,
    /// Enough probes succeeded.
    ProbesSucceeded,
    /// The probes met a trip rule.
    ProbesFailed,
    /// A probe did not finish in time; counted as a failure, it made the probes meet a trip rule.
    ProbeTimedOut,
    /// The last step of a stepwise recovery is over.
    Recovered,
    /// The state was forced through the handle.
    Forced,
    /// The breaker was reset through the handle.
    Reset,
}

impl Cause {
    /// The name in snake case, as in metrics and logs.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::FailureRate => "failure_rate",
            Self::SlowCallRate => "slow_call_rate",
            Self::ConsecutiveFailures => "consecutive_failures",
            Self::OpenTimeOver => "open_time_over",
            Self::ProbesSucceeded => "probes_succeeded",
            Self::ProbesFailed => "probes_failed",
            Self::ProbeTimedOut => "probe_timed_out",
            Self::Recovered => "recovered",
            Self::Forced => "forced",
            Self::Reset => "reset",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A change of state of a circuit breaker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transition {
    /// The state before.
    pub from: State,
    /// The state after.
    pub to: State,
    /// The cause.
    pub cause: Cause,
    /// The calls in the window at the end of the state before: after half-open, the settled probes.
    pub calls: u64,
    /// The failures among `calls`.
    pub failures: u64,
    /// The slow calls among `calls`, failed or not.
    pub slow_calls: u64,
    /// The open time; `None` unless `to` is [`State::Open`].
    pub open_for: Option<Duration>,
}

impl Transition {
    pub(super) fn new(from: State, to: State, cause: Cause, counts: Counts) -> Self {
        Self {
            from,
            to,
            cause,
            calls: counts.calls,
            failures: counts.failures,
            slow_calls: counts.slow,
            open_for: None,
        }
    }
}

/// A snapshot; the handle's public snapshot documents the fields.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct View {
    pub(crate) state: State,
    pub(crate) mode: Mode,
    pub(crate) calls: u64,
    pub(crate) failures: u64,
    pub(crate) slow_calls: u64,
    pub(crate) failure_rate: Option<f64>,
    pub(crate) slow_call_rate: Option<f64>,
    pub(crate) consecutive_failures: u64,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) failed_recoveries: u32,
    pub(crate) opened: u64,
    pub(crate) probes_in_flight: u64,
}

/// The state that lets callers admit, reject and count calls without the breaker's lock, until the
/// breaker next changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Front {
    pub(crate) state: State,
    pub(crate) epoch: u64,
    pub(crate) mode: Mode,
    /// Whether successes of this epoch that are not slow may be credited in bulk until
    /// `bucket_ends`.
    pub(crate) counts_free: bool,
    pub(crate) bucket_ends: Duration,
    /// The end of the open time; zero unless open.
    pub(crate) open_until: Duration,
}

impl Breaker {
    pub(crate) fn front(&self) -> Front {
        let capacity = self.config.window.capacity().map(u64::from);
        let off = self.config.mode == Mode::Off;
        Front {
            state: self.state(),
            epoch: self.epoch,
            mode: self.config.mode,
            counts_free: match self.phase {
                _ if off => true,
                Phase::Closed => !self
                    .rules()
                    .success_could_trip(&self.window.counts(), capacity),
                Phase::ForcedClosed => true,
                _ => false,
            },
            bucket_ends: if off {
                Duration::MAX
            } else {
                self.window.ends()
            },
            open_until: match self.phase {
                Phase::Open { until } => until,
                _ => Duration::ZERO,
            },
        }
    }

    /// Whether the circuit is still open only because no call came: its open time has been over for
    /// the longest open time.
    pub(crate) fn is_abandoned(&self, now: Duration) -> bool {
        match self.phase {
            Phase::Open { until } => now.saturating_sub(until) > self.config.open_max,
            _ => false,
        }
    }

    /// A snapshot. It changes no state, because no caller would emit the transition.
    pub(crate) fn snapshot(&mut self, now: Duration) -> View {
        let now = self.advance(now);
        self.window.roll(now);
        let counts = self.counts();
        let (consecutive_failures, probes_in_flight) = match &self.phase {
            Phase::HalfOpen(probes) => (probes.consecutive_failures(), probes.in_flight(now)),
            _ => (self.consecutive_failures, 0),
        };
        View {
            state: self.state(),
            mode: self.config.mode,
            calls: counts.calls,
            failures: counts.failures,
            slow_calls: counts.slow,
            failure_rate: counts.failure_rate(),
            slow_call_rate: counts.slow_rate(),
            consecutive_failures,
            retry_after: match self.phase {
                Phase::Open { until } => until.checked_sub(now).filter(|left| !left.is_zero()),
                _ => None,
            },
            failed_recoveries: self.failed_recoveries,
            opened: self.opened,
            probes_in_flight,
        }
    }
}
