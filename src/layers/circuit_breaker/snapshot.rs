//! What a circuit breaker looks like at one moment.

use std::fmt;
use std::time::Duration;

use super::circuit::Circuit;
use super::history::Change;
use crate::observe::snapshot::{InWords, Latency, Outcomes, Rejections};
#[cfg(feature = "serde")]
use crate::observe::snapshot::{as_str, optional_seconds, seconds};
use crate::policy::breaker::{Mode, State};
use crate::runtime::Moment;
use crate::vocabulary::reason::Reason;

/// A circuit breaker at one moment: see [`snapshot`](crate::snapshot).
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// `circuit_breaker`.
    pub layer: &'static str,
    /// The name of the instance.
    pub name: String,
    /// What the breaker does with calls. An open breaker stays open until a call comes after its open
    /// time.
    #[cfg_attr(feature = "serde", serde(serialize_with = "as_str"))]
    pub state: State,
    /// For how long it has been in that state.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "since_seconds", serialize_with = "seconds")
    )]
    pub since: Duration,
    /// Whether it enforces that.
    #[cfg_attr(feature = "serde", serde(serialize_with = "as_str"))]
    pub mode: Mode,
    /// Calls in the window; in the half-open state, the probes that reported.
    pub calls: u64,
    /// How many of them failed.
    pub failures: u64,
    /// How many of them were slow, failed or not.
    pub slow_calls: u64,
    /// `failures / calls`, if there was a call.
    pub failure_rate: Option<f64>,
    /// `slow_calls / calls`, if there was a call.
    pub slow_call_rate: Option<f64>,
    /// How many of the latest calls failed in a row.
    pub consecutive_failures: u64,
    /// In the open state, the time that is left of it.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "retry_after_seconds", serialize_with = "optional_seconds")
    )]
    pub retry_after: Option<Duration>,
    /// How many recoveries failed since the breaker was last closed. Each made the open time longer.
    pub failed_recoveries: u32,
    /// How many times the breaker has opened by itself.
    pub opened: u64,
    /// Probes that were let through, have not reported and still may.
    pub probes_in_flight: u64,
    /// How the calls went that were let through, in all states.
    pub outcomes: Outcomes,
    /// What was not let through.
    pub rejections: Rejections,
    /// What would not have been let through, had the breaker not been in [shadow mode](Mode::Shadow). These calls were
    /// admitted, and are in `outcomes`.
    pub would_reject: Rejections,
    /// How long calls took in the last minute, if any had to wait.
    pub latency: Option<Latency>,
    /// The newest eight changes of state, the newest first.
    pub changes: Vec<Change>,
}

impl Snapshot {
    pub(super) fn of(circuit: &Circuit) -> Self {
        let (view, since, changes) = circuit.look();
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
            would_reject: Rejections::one(Reason::CircuitOpen, circuit.emitter.would_reject()),
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
        if self.mode != Mode::Enforce {
            write!(f, " ({})", self.mode)?;
        }
        if let Some(left) = self.retry_after {
            write!(f, ", {} left", InWords(left))?;
        }
        write!(
            f,
            ", {} of {} calls failed, {} slow; {}; {}",
            self.failures, self.calls, self.slow_calls, self.outcomes, self.rejections
        )?;
        let would_reject = self.would_reject.total();
        if would_reject > 0 {
            write!(f, "; {would_reject} would be rejected")?;
        }
        if let Some(latency) = &self.latency {
            write!(f, "; {latency}")?;
        }
        if let Some(newest) = self.changes.first() {
            write!(f, "; {newest}")?;
        }
        Ok(())
    }
}
