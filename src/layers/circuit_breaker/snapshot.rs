//! The snapshot of a circuit breaker.

use std::fmt;
use std::time::Duration;

use super::circuit::Circuit;
use super::history::Change;
use crate::observe::snapshot::{InMode, InWords, Latency, Outcomes, Rejections, WouldReject};
#[cfg(feature = "serde")]
use crate::observe::snapshot::{as_str, optional_seconds, seconds};
use crate::policy::breaker::State;
use crate::runtime::Moment;
use crate::vocabulary::mode::Mode;

/// The state of a circuit breaker: see [`snapshot`](crate::snapshot).
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// `circuit_breaker`.
    pub layer: &'static str,
    /// The name of the instance.
    pub name: String,
    /// The state. An open circuit stays open until the first call after its open time.
    #[cfg_attr(feature = "serde", serde(serialize_with = "as_str"))]
    pub state: State,
    /// Time in this state.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "since_seconds", serialize_with = "seconds")
    )]
    pub since: Duration,
    /// Whether the circuit breaker rejects calls, only reports, or is off.
    #[cfg_attr(feature = "serde", serde(serialize_with = "as_str"))]
    pub mode: Mode,
    /// Calls in the window. While half-open: the probes with a known outcome.
    pub calls: u64,
    /// Failed calls among them.
    pub failures: u64,
    /// Slow calls among them, failed or not.
    pub slow_calls: u64,
    /// `failures / calls`. `None` without calls.
    pub failure_rate: Option<f64>,
    /// `slow_calls / calls`. `None` without calls.
    pub slow_call_rate: Option<f64>,
    /// Consecutive failures up to the newest call.
    pub consecutive_failures: u64,
    /// The remaining open time. `None` unless open.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "retry_after_seconds", serialize_with = "optional_seconds")
    )]
    pub retry_after: Option<Duration>,
    /// Failed recoveries since the circuit was last closed. Each extended the open time.
    pub failed_recoveries: u32,
    /// How many times a rule or a failed recovery opened the circuit.
    pub opened: u64,
    /// Admitted probes whose outcome is not known and can still count.
    pub probes_in_flight: u64,
    /// Outcomes of admitted calls that are over, in all states.
    pub outcomes: Outcomes,
    /// Rejected calls.
    pub rejections: Rejections,
    /// Calls that only [shadow mode](Mode::Shadow) admitted. Their outcomes are in `outcomes`.
    pub would_reject: Rejections,
    /// Latencies of the last minute. `None` if every call was answered at its first poll.
    pub latency: Option<Latency>,
    /// The last eight state changes, the newest first.
    pub changes: Vec<Change>,
}

impl Snapshot {
    pub(super) fn of(circuit: &Circuit) -> Self {
        let (view, since, changes) = circuit.inspect();
        Self {
            layer: circuit.emitter.layer(),
            name: circuit.emitter.name().to_owned(),
            state: view.state,
            since,
            mode: view.mode,
            calls: view.calls,
            failures: view.failures,
            slow_calls: view.slow_calls,
            failure_rate: view.failure_rate,
            slow_call_rate: view.slow_call_rate,
            consecutive_failures: view.consecutive_failures,
            retry_after: view.retry_after,
            failed_recoveries: view.failed_recoveries,
            opened: view.opened,
            probes_in_flight: view.probes_in_flight,
            outcomes: circuit.outcomes(),
            rejections: circuit.emitter.rejections(),
            would_reject: circuit.emitter.would_reject(),
            latency: circuit.latencies.last_minute(Moment::now()),
            changes,
        }
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = InWords(self.since);
        write!(
            f,
            "{} {}: {} for {since}",
            self.layer, self.name, self.state
        )?;
        write!(f, "{}", InMode(self.mode))?;
        if let Some(left) = self.retry_after {
            write!(f, ", {} left", InWords(left))?;
        }
        write!(
            f,
            ", {} of {} calls failed, {} slow; {}; {}{}",
            self.failures,
            self.calls,
            self.slow_calls,
            self.outcomes,
            self.rejections,
            WouldReject(&self.would_reject)
        )?;
        if let Some(latency) = &self.latency {
            write!(f, "; {latency}")?;
        }
        if let Some(newest) = self.changes.first() {
            write!(f, "; {newest}")?;
        }
        Ok(())
    }
}
