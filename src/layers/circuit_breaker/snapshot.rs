//! The snapshot of a circuit breaker.

use std::fmt;
use std::time::Duration;

use super::circuit::Circuit;
use super::history::Change;
use crate::layers::keyed::{Group, Instance as _, KeyCounts, NameAndKey, Target};
use crate::observe::snapshot::{
    InMode, InWords, Latency, Outcomes, Rejections, Words, WouldReject,
};
#[cfg(feature = "serde")]
use crate::observe::snapshot::{as_str, counts, optional_seconds, seconds};
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
    /// The key of the instance, or `None` without one.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub key: Option<String>,
    /// The keys of a layer with a circuit for each [key](crate::keyed). The snapshot of all keys
    /// has their most severe state, their highest `since`, `consecutive_failures`, `retry_after` and
    /// `failed_recoveries`, no `changes`, and the sum of all other counts.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub keys: Option<KeyCounts>,
    /// The number of keys in each state, without the states of none. Empty without keys.
    #[cfg_attr(
        feature = "serde",
        serde(skip_serializing_if = "Vec::is_empty", serialize_with = "counts")
    )]
    pub states: Vec<(State, u64)>,
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
    /// Latencies of the last minute. `None` if every call was answered at its first poll, and for
    /// a single key: all keys share one histogram.
    pub latency: Option<Latency>,
    /// The last eight state changes, the newest first.
    pub changes: Vec<Change>,
}

impl Snapshot {
    pub(super) fn of(target: &Target<Circuit>) -> Self {
        match target {
            Target::One(circuit) => Self::of_one(circuit),
            Target::Group(group) => Self::of_group(group),
        }
    }

    fn of_group(group: &Group<Circuit>) -> Self {
        let (common, emitter) = (group.common(), group.emitter());
        let mut all = Self {
            layer: emitter.layer(),
            name: emitter.name().to_owned(),
            key: None,
            keys: Some(KeyCounts::of(group)),
            states: common.states(),
            state: common.worst(),
            since: Duration::ZERO,
            mode: group.settings().mode,
            calls: 0,
            failures: 0,
            slow_calls: 0,
            failure_rate: None,
            slow_call_rate: None,
            consecutive_failures: 0,
            retry_after: None,
            failed_recoveries: 0,
            opened: 0,
            probes_in_flight: 0,
            outcomes: Outcomes::default(),
            rejections: Rejections::default(),
            would_reject: Rejections::default(),
            latency: common.latencies().last_minute(Moment::now()),
            changes: Vec::new(),
        };
        let totals = group.sum(|circuit, totals| {
            let (view, since, _) = circuit.inspect();
            totals.add(&circuit.totals());
            if view.state == all.state {
                all.since = all.since.max(since);
            }
            all.calls += view.calls;
            all.failures += view.failures;
            all.slow_calls += view.slow_calls;
            all.consecutive_failures = all.consecutive_failures.max(view.consecutive_failures);
            all.retry_after = all.retry_after.max(view.retry_after);
            all.failed_recoveries = all.failed_recoveries.max(view.failed_recoveries);
            all.probes_in_flight += view.probes_in_flight;
        });
        #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
        let rate = |of: u64| (all.calls > 0).then(|| of as f64 / all.calls as f64);
        Self {
            failure_rate: rate(all.failures),
            slow_call_rate: rate(all.slow_calls),
            opened: totals.opened,
            outcomes: totals.outcomes,
            rejections: totals.rejections,
            would_reject: totals.would_reject,
            ..all
        }
    }

    fn of_one(circuit: &Circuit) -> Self {
        let (view, since, changes) = circuit.inspect();
        let is_keyed = circuit.emitter.group().is_some();
        let latency = (!is_keyed).then(|| circuit.latencies.last_minute(Moment::now()));
        Self {
            layer: circuit.emitter.layer(),
            name: circuit.emitter.name().to_owned(),
            key: circuit.emitter.key().map(str::to_owned),
            keys: None,
            states: Vec::new(),
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
            latency: latency.flatten(),
            changes,
        }
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = InWords(self.since);
        let name = NameAndKey(&self.name, self.key.as_deref());
        write!(f, "{} {name}: ", self.layer)?;
        if let Some(keys) = &self.keys {
            let states = Words(
                self.states
                    .iter()
                    .map(|(state, count)| (state.as_str(), *count)),
            );
            write!(f, "{keys} ({states}); ")?;
        }
        write!(f, "{} for {since}", self.state)?;
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
