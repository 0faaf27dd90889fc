//! What a circuit breaker says about itself.

use std::{fmt, time::Duration};

use super::{Breaker, Mode, Phase};
use crate::policy::window::Counts;

/// What a circuit breaker does with calls at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Every call is let through, and its outcome is counted.
    Closed,
    /// No call is let through until the open time is over.
    Open,
    /// A few calls are let through as probes, to find out whether the trouble is over.
    HalfOpen,
    /// The probes were well; a growing share of the calls is let through.
    Recovering,
    /// Held open by hand: no call is let through.
    ForcedOpen,
    /// Held closed by hand: every call is let through and counted, and no rule trips.
    ForcedClosed,
}

impl State {
    /// The name in snake case, as it is used for metrics and tracing.
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

/// Why a circuit breaker changed its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// Too large a share of the calls in the window failed.
    FailureRate,
    /// Too large a share of the calls in the window was slow.
    SlowCallRate,
    /// Too many calls failed one after the other.
    ConsecutiveFailures,
    /// The open time is over; probes are let through.
    OpenTimeOver,
    /// Enough probes were well.
    ProbesSucceeded,
    /// The probes were judged bad by the trip rules.
    ProbesFailed,
    /// A probe did not report in its life time, which decided against the rest of them.
    ProbeTimedOut,
    /// The last step of a stepwise recovery is over.
    Recovered,
    /// Somebody forced the state.
    Forced,
    /// Somebody reset the breaker.
    Reset,
}

impl Cause {
    /// The name in snake case, as it is used for metrics and tracing.
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

/// A change of a circuit breaker's state.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transition {
    /// The state before.
    pub from: State,
    /// The state after.
    pub to: State,
    /// Why.
    pub cause: Cause,
    /// How many calls the state before had in its window (the probes that reported, if it was
    /// half-open) when it ended.
    pub calls: u64,
    /// How many of them failed.
    pub failures: u64,
    /// How many of them were slow, failed or not.
    pub slow_calls: u64,
    /// How long the breaker stays open now, if it does for a set time.
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

/// A circuit breaker at one moment: what its fields mean, its handle's snapshot says.
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

/// The little that a caller needs to know in order to do without the breaker itself for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Front {
    pub(crate) state: State,
    pub(crate) epoch: u64,
    pub(crate) mode: Mode,
    /// Whether plain successes of this epoch may be merely credited until `bucket_ends`.
    pub(crate) counts_free: bool,
    pub(crate) bucket_ends: Duration,
    /// Until when an open breaker rejects everything.
    pub(crate) open_until: Duration,
}

impl Breaker {
    /// What may be done without this breaker until it is next changed.
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

    /// The breaker now. Nothing changes its state here: nobody would hear of it.
    pub(crate) fn snapshot(&mut self, now: Duration) -> View {
        let now = self.pass(now);
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
