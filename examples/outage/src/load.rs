//! An open-loop load: requests start on schedule, whether or not earlier ones have finished.
//!
//! In a closed loop, a fixed number of workers wait for their answers. They call less often while
//! the answers are slow, so an outage looks like a few slow calls. But users do not wait for each
//! other. For the same reason, the latency of a call begins when it is *due*, and not when this
//! program starts it.

use std::{sync::Arc, thread, time::Duration};

use reqwest::Url;
use tokio::{
    runtime::Handle,
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tower::BoxError;

use crate::{
    phase::{Phase, Timeline},
    route::Route,
    stats::{Call, Tally},
};

/// How long a user waits. Then the user hangs up, and the call has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// Every call of a run, in the order in which they were due.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) calls: Vec<Call>,
    /// The longest delay of a request after it was due. It is part of the latency. A large value
    /// means that this machine is too busy.
    pub(crate) worst_lag: Duration,
}

/// Calls each route of the gateway `rate` times a second through all phases, then waits for the
/// last calls.
pub(crate) async fn run(
    gateway: Url,
    rate: f64,
    timeline: Timeline,
    tally: Arc<Tally>,
) -> Result<Outcome, BoxError> {
    let schedule = schedule(rate, timeline.phase_length());
    // A thread keeps the pace. tokio's timer rounds up to milliseconds, and that would be a third of
    // an answer that takes two milliseconds.
    let start = move || start_all(&schedule, &gateway, timeline, &tally);
    let (mut running, worst_lag) = tokio::task::spawn_blocking(start).await??;

    let mut calls = vec![];
    while let Some(finished) = running.join_next().await {
        calls.push(finished?);
    }
    calls.sort_unstable_by_key(|call| call.offset);
    Ok(Outcome { calls, worst_lag })
}

/// Route, phase and time of a call, from the start of the run.
type Due = (Route, Phase, Duration);

/// Starts every call when it is due, and returns after the last one. It blocks its thread.
fn start_all(
    schedule: &[Due],
    gateway: &Url,
    timeline: Timeline,
    tally: &Arc<Tally>,
) -> Result<(JoinSet<Call>, Duration), BoxError> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let urls = [
        gateway.join(Route::ALL[0].path())?,
        gateway.join(Route::ALL[1].path())?,
    ];
    let runtime = Handle::current();
    let mut running = JoinSet::new();
    let mut worst_lag = Duration::ZERO;
    for &(route, phase, offset) in schedule {
        let due = timeline.start() + offset;
        thread::sleep(due - Instant::now());
        worst_lag = worst_lag.max(due.elapsed());
        let (client, url, tally) = (
            client.clone(),
            urls[route.index()].clone(),
            Arc::clone(tally),
        );
        let call = async move {
            let answer = timeout_at(due + PATIENCE, succeeds(&client, url)).await;
            let ok = answer.unwrap_or(false);
            tally.record(route, phase, ok);
            Call {
                route,
                phase,
                offset,
                latency: due.elapsed(),
                ok,
            }
        };
        running.spawn_on(call, &runtime);
    }
    Ok((running, worst_lag))
}

/// Whether the response is a 2xx with a complete body.
async fn succeeds(client: &reqwest::Client, url: Url) -> bool {
    match client.get(url).send().await {
        Ok(response) => response.status().is_success() && response.bytes().await.is_ok(),
        Err(_) => false,
    }
}

/// The routes take turns.
fn schedule(rate: f64, phase_length: Duration) -> Vec<Due> {
    let phase_of = |offset: Duration| {
        let phases = offset.div_duration_f64(phase_length);
        // Never negative, and small: the cast rounds down.
        Phase::ALL.get(phases as usize).copied()
    };
    let step = 1.0 / (rate * Route::COUNT as f64);
    // Half a step after the beginning of a phase, so that no call is due while the phase changes.
    (0_u32..)
        .zip(Route::ALL.into_iter().cycle())
        .map(|(number, route)| {
            let offset = Duration::from_secs_f64((f64::from(number) + 0.5) * step);
            (route, offset)
        })
        .map_while(|(route, offset)| Some((route, phase_of(offset)?, offset)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_is_even_over_all_phases() {
        let schedule = schedule(150.0, Duration::from_secs(5));
        assert_eq!(schedule.len(), 7500);
        for route in Route::ALL {
            for phase in Phase::ALL {
                let due = schedule
                    .iter()
                    .filter(|due| (due.0, due.1) == (route, phase));
                assert_eq!(due.count(), 750, "{route:?}, {phase:?}");
            }
        }
        assert!(schedule.is_sorted_by_key(|due| due.2));
    }
}
