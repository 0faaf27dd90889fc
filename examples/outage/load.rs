//! An open-loop load: requests start on schedule, whatever became of the earlier ones.
//!
//! A closed loop (so many workers, each waiting for its answer) calls less often when the answers
//! are slow, and so it measures an outage as a few slow calls. Users do not wait for each other.
//! For the same reason the latency of a call is taken from the moment it was *due*, not from the
//! moment this program got round to it.

use std::{sync::Arc, thread, time::Duration};

use reqwest::Url;
use tokio::{
    runtime::Handle,
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tower::BoxError;

use crate::{
    gateway::CLIENT_TIMEOUT,
    phase::{Phase, Timeline},
    stats::{Call, Tally},
};

/// How long after the last request was due the answers are waited for. More than the gateway's own
/// patience.
const DRAIN: Duration = CLIENT_TIMEOUT.saturating_add(Duration::from_secs(2));

/// What became of every call of a run, in the order they were due.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) calls: Vec<Call>,
    /// Calls still without an answer after the drain. They count as failed, with the latency they
    /// had by then.
    pub(crate) unfinished: usize,
    /// How late the latest request left. It is part of the latency; a large value says that this
    /// machine is too busy.
    pub(crate) worst_lag: Duration,
}

/// Calls the gateway `rate` times a second through all phases, then waits for what is still under
/// way.
pub(crate) async fn run(
    gateway: Url,
    rate: f64,
    timeline: Timeline,
    tally: Arc<Tally>,
) -> Result<Outcome, BoxError> {
    let schedule = schedule(rate, timeline.phase_length());
    // The pace is kept by a thread, because tokio's timer ticks in milliseconds, rounded up: next
    // to answers that take two milliseconds that would be a third of what is measured.
    let (schedule, mut running, worst_lag) =
        tokio::task::spawn_blocking(move || start_all(schedule, &gateway, timeline, &tally))
            .await??;

    let mut calls = vec![None; schedule.len()];
    let give_up = timeline.end(Phase::Recovery) + DRAIN;
    while let Ok(Some(finished)) = timeout_at(give_up, running.join_next()).await {
        let (number, call) = finished?;
        calls[number] = Some(call);
    }

    let unfinished = calls.iter().filter(|call| call.is_none()).count();
    let calls = calls
        .into_iter()
        .zip(schedule)
        .map(|(call, (phase, offset))| {
            call.unwrap_or_else(|| Call {
                phase,
                offset,
                latency: (timeline.start() + offset).elapsed(),
                ok: false,
            })
        });
    Ok(Outcome {
        calls: calls.collect(),
        unfinished,
        worst_lag,
    })
}

/// Phase and time of every call, from the start of the run.
type Schedule = Vec<(Phase, Duration)>;
/// Calls under way, each with its number.
type Running = JoinSet<(usize, Call)>;

/// Starts every call when it is due, and returns after the last one. Blocks its thread.
fn start_all(
    schedule: Schedule,
    gateway: &Url,
    timeline: Timeline,
    tally: &Arc<Tally>,
) -> reqwest::Result<(Schedule, Running, Duration)> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let runtime = Handle::current();
    let mut running = JoinSet::new();
    let mut worst_lag = Duration::ZERO;
    for (number, &(phase, offset)) in schedule.iter().enumerate() {
        let due = timeline.start() + offset;
        thread::sleep(due - Instant::now());
        worst_lag = worst_lag.max(due.elapsed());
        let (client, gateway, tally) = (client.clone(), gateway.clone(), Arc::clone(tally));
        let call = async move {
            let ok = succeeds(&client, gateway).await;
            tally.record(phase, ok);
            (
                number,
                Call {
                    phase,
                    offset,
                    latency: due.elapsed(),
                    ok,
                },
            )
        };
        running.spawn_on(call, &runtime);
    }
    Ok((schedule, running, worst_lag))
}

/// Success is a 2xx with all of its body.
async fn succeeds(client: &reqwest::Client, gateway: Url) -> bool {
    match client.get(gateway).send().await {
        Ok(response) => response.status().is_success() && response.bytes().await.is_ok(),
        Err(_) => false,
    }
}

fn schedule(rate: f64, phase_length: Duration) -> Schedule {
    let phase_of = |offset: Duration| {
        let phases = offset.div_duration_f64(phase_length);
        // Never negative, and small: cutting off is rounding down here.
        Phase::ALL.get(phases as usize).copied()
    };
    // Half a step off the beginning of a phase, so that no call is due at the moment of a change.
    (0_u32..)
        .map(|number| Duration::from_secs_f64((f64::from(number) + 0.5) / rate))
        .map_while(|offset| Some((phase_of(offset)?, offset)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_is_even_over_all_phases() {
        let schedule = schedule(150.0, Duration::from_secs(5));
        assert_eq!(schedule.len(), 3750);
        for phase in Phase::ALL {
            assert_eq!(
                schedule.iter().filter(|due| due.0 == phase).count(),
                750,
                "{phase:?}"
            );
        }
        assert!(schedule.is_sorted_by_key(|due| due.1));
    }
}
