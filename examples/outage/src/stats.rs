//! The figures of a run.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use serde::{Serialize, Serializer};

use crate::{
    gateway::Meter,
    phase::{Phase, Timeline},
    route::Route,
};

/// One call of the load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) route: Route,
    /// The phase in which it was due. It counts in that phase, whenever it ended.
    pub(crate) phase: Phase,
    /// When it was due, since the start of the run.
    pub(crate) offset: Duration,
    /// From the time when it was due until its answer, or until the user gave up.
    pub(crate) latency: Duration,
    pub(crate) ok: bool,
}

/// Finished calls, counted during the run for the progress bar.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    done: [[AtomicUsize; Phase::COUNT]; Route::COUNT],
    ok: [[AtomicUsize; Phase::COUNT]; Route::COUNT],
}

impl Tally {
    pub(crate) fn record(&self, route: Route, phase: Phase, ok: bool) {
        self.done[route.index()][phase.index()].fetch_add(1, Ordering::Relaxed);
        if ok {
            self.ok[route.index()][phase.index()].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Of the calls that were due in `phase`, those that succeeded and those that are finished.
    pub(crate) fn read(&self, route: Route, phase: Phase) -> (usize, usize) {
        let ok = self.ok[route.index()][phase.index()].load(Ordering::Relaxed);
        let done = self.done[route.index()][phase.index()].load(Ordering::Relaxed);
        (ok, done.max(ok))
    }
}

/// One row of the table. All figures are those of `/catalog`, whose upstream has the outage, unless
/// they are documented differently.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct PhaseSummary {
    pub(crate) calls: usize,
    pub(crate) success_rate: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) upstream_calls: usize,
    /// Of both routes.
    pub(crate) peak_in_flight: usize,
    /// Of `/pricing`, whose upstream is always healthy.
    pub(crate) other_route_success_rate: f64,
    /// Failed calls of `/pricing`.
    #[serde(skip)]
    pub(crate) other_route_failed: usize,
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

    /// Calls sent to the upstream of `/catalog` while it was unhealthy.
    pub(crate) fn wasted_calls(&self) -> usize {
        Phase::BAD
            .iter()
            .map(|&phase| self.phase(phase).upstream_calls)
            .sum()
    }

    /// Failed calls of the route whose upstream is healthy.
    pub(crate) fn other_route_failed(&self) -> usize {
        self.phases
            .iter()
            .map(|phase| phase.other_route_failed)
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
        let calls = |route| {
            let of_both = calls.iter().filter(move |call| call.phase == phase);
            of_both.filter(move |call| call.route == route)
        };
        let failed = |route| calls(route).filter(|call| !call.ok).count();
        let success_rate = |route| {
            let count = calls(route).count();
            (count - failed(route)) as f64 / count as f64
        };
        let mut latencies: Vec<Duration> = calls(Route::Catalog).map(|call| call.latency).collect();
        latencies.sort_unstable();
        Self {
            calls: latencies.len(),
            success_rate: success_rate(Route::Catalog),
            p50_ms: milliseconds(quantile(&latencies, 0.50)),
            p99_ms: milliseconds(quantile(&latencies, 0.99)),
            upstream_calls: meter.upstream_calls(Route::Catalog, phase),
            peak_in_flight: meter.peak_in_flight(phase),
            other_route_success_rate: success_rate(Route::Pricing),
            other_route_failed: failed(Route::Pricing),
        }
    }
}

/// The time from the recovery of the upstream until every call of `/catalog` succeeds: from the
/// start of the recovery phase until the first call after the last failure was due. Zero if no call
/// of that phase failed, `None` if the last one did.
fn recovered_after(calls: &[Call], recovery: Duration) -> Option<Duration> {
    let mut calls = calls
        .iter()
        .filter(|call| call.route == Route::Catalog)
        .rev();
    let mut since = None;
    match calls.find(|call| {
        if call.ok {
            since = Some(call.offset);
        }
        !call.ok
    }) {
        Some(last_bad) if last_bad.phase == Phase::Recovery => Some(since? - recovery),
        _ => Some(Duration::ZERO),
    }
}

/// The lowest value that at least a share `q` of all values do not exceed. It is exact, because a
/// run has only a few thousand calls. The values must be sorted.
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

/// Rounds to three decimal places: more is noise.
fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

/// An object with a key for each phase, in the order of the run.
fn by_name<S: Serializer>(phases: &[PhaseSummary; Phase::COUNT], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(Phase::ALL.iter().map(|phase| phase.name()).zip(phases))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One call per second. The first two are before the upstream recovers.
    fn calls(ok: &[bool]) -> Vec<Call> {
        let call = |(second, &ok)| Call {
            route: Route::Catalog,
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
