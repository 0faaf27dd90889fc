//! What the calls of a run add up to.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use serde::{Serialize, Serializer};

use crate::{
    gateway::Meter,
    phase::{Phase, Timeline},
};

/// One call of the load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// The phase in which it was due. That is the phase it counts in, whenever it ended.
    pub(crate) phase: Phase,
    /// When it was due, from the start of the run.
    pub(crate) offset: Duration,
    /// From when it was due until it was over, well or not.
    pub(crate) latency: Duration,
    pub(crate) ok: bool,
}

/// Calls that are over, counted while the run goes on. Only for the progress bar.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    done: [AtomicUsize; Phase::COUNT],
    ok: [AtomicUsize; Phase::COUNT],
}

impl Tally {
    pub(crate) fn record(&self, phase: Phase, ok: bool) {
        self.done[phase.index()].fetch_add(1, Ordering::Relaxed);
        if ok {
            self.ok[phase.index()].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Calls that succeeded, and calls that are over, of those that were due in `phase`.
    pub(crate) fn read(&self, phase: Phase) -> (usize, usize) {
        let read =
            |counts: &[AtomicUsize; Phase::COUNT]| counts[phase.index()].load(Ordering::Relaxed);
        let ok = read(&self.ok);
        (ok, read(&self.done).max(ok))
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct PhaseSummary {
    pub(crate) calls: usize,
    pub(crate) success_rate: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) upstream_calls: usize,
    pub(crate) peak_in_flight: usize,
}

/// One run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    #[serde(serialize_with = "by_name")]
    pub(crate) phases: [PhaseSummary; Phase::COUNT],
    /// See [`recovered_after`].
    pub(crate) recovered_after_s: Option<f64>,
}

impl Summary {
    pub(crate) fn new(calls: &[Call], meter: &Meter, timeline: Timeline) -> Self {
        let recovery = timeline.begin(Phase::Recovery) - timeline.start();
        Self {
            phases: Phase::ALL.map(|phase| PhaseSummary::new(phase, calls, meter)),
            recovered_after_s: recovered_after(calls, recovery)
                .map(|after| rounded(after.as_secs_f64())),
        }
    }

    pub(crate) fn phase(&self, phase: Phase) -> &PhaseSummary {
        &self.phases[phase.index()]
    }

    /// Calls sent to the upstream while that was a waste.
    pub(crate) fn wasted_calls(&self) -> usize {
        Phase::BAD
            .iter()
            .map(|&phase| self.phase(phase).upstream_calls)
            .sum()
    }

    /// The most calls in flight at any time.
    pub(crate) fn peak_in_flight(&self) -> usize {
        self.phases
            .iter()
            .map(|phase| phase.peak_in_flight)
            .max()
            .unwrap_or_default()
    }
}

impl PhaseSummary {
    fn new(phase: Phase, calls: &[Call], meter: &Meter) -> Self {
        let calls = || calls.iter().filter(|call| call.phase == phase);
        let mut latencies: Vec<Duration> = calls().map(|call| call.latency).collect();
        latencies.sort_unstable();
        let ok = calls().filter(|call| call.ok).count();
        Self {
            calls: latencies.len(),
            success_rate: ok as f64 / latencies.len() as f64,
            p50_ms: milliseconds(quantile(&latencies, 0.50)),
            p99_ms: milliseconds(quantile(&latencies, 0.99)),
            upstream_calls: meter.upstream_calls(phase),
            peak_in_flight: meter.peak_in_flight(phase),
        }
    }
}

/// How long after the upstream came back the service was back: from the start of the recovery phase
/// until the first call was due from which on every call succeeds. Zero when no call of that phase
/// failed, `None` when the last one did.
fn recovered_after(calls: &[Call], recovery: Duration) -> Option<Duration> {
    match calls.iter().rposition(|call| !call.ok) {
        Some(last_bad) if calls[last_bad].phase == Phase::Recovery => {
            Some(calls.get(last_bad + 1)?.offset - recovery)
        }
        _ => Some(Duration::ZERO),
    }
}

/// The least value that is not exceeded by a part `q` of all, which must be sorted. Exact: a run is
/// a few thousand calls.
pub(crate) fn quantile(sorted: &[Duration], q: f64) -> Duration {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

pub(crate) fn milliseconds(latency: Duration) -> f64 {
    rounded(latency.as_secs_f64() * 1e3)
}

/// To three places: more is noise.
fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

/// An object with a key per phase, in the order of the run.
fn by_name<S: Serializer>(phases: &[PhaseSummary; Phase::COUNT], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(Phase::ALL.iter().map(|phase| phase.name()).zip(phases))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call a second, the first two of them before the upstream is back.
    fn calls(ok: &[bool]) -> Vec<Call> {
        let call = |(second, &ok)| Call {
            phase: if second < 2 {
                Phase::Refused
            } else {
                Phase::Recovery
            },
            offset: Duration::from_secs(second),
            latency: Duration::ZERO,
            ok,
        };
        (0..).zip(ok).map(call).collect()
    }

    #[test]
    fn a_quantile_is_a_value_that_was_seen() {
        let sorted: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(quantile(&sorted, 0.50), Duration::from_millis(50));
        assert_eq!(quantile(&sorted, 0.99), Duration::from_millis(99));
        assert_eq!(quantile(&sorted[..1], 0.99), Duration::from_millis(1));
        assert_eq!(quantile(&[], 0.99), Duration::ZERO);
    }

    #[test]
    fn recovered_when_nothing_fails_any_more() {
        let after = |ok: &[bool]| recovered_after(&calls(ok), Duration::from_secs(2));
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(after(&[true, false, false, true, true]), seconds(1));
        assert_eq!(after(&[true, false, true, false, true]), seconds(2));
        assert_eq!(after(&[false, false, true, true, true]), seconds(0));
        assert_eq!(after(&[true, true, true]), seconds(0));
        assert_eq!(after(&[true, true, true, false]), None);
    }
}
