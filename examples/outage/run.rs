//! One run of the outage: upstream, gateway and load, with or without the stack.

use std::{sync::Arc, time::Duration};

use reqwest::Url;
use tokio::time::{Instant, sleep, sleep_until};
use tower::BoxError;

use crate::{
    args::Args,
    gateway::{self, Backend, Meter},
    load::{self, Outcome},
    phase::{Phase, Timeline},
    progress::Progress,
    server::Port,
    stack::Stack,
    stats::{Call, Summary, Tally},
    upstream::Upstream,
};

/// How far into the slow phase the upstream is still healthy. A call that was due at the very end
/// of the healthy phase must find it healthy, also where this machine was busy for a moment.
const FAREWELL: Duration = Duration::from_millis(20);

/// All that is known about a run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) stack: Stack,
    pub(crate) calls: Vec<Call>,
    pub(crate) summary: Summary,
}

/// Starts everything anew, suffers the outage, and stops everything. Nothing is left over for the
/// next run.
pub(crate) async fn run(stack: Stack, args: &Args) -> Result<Run, BoxError> {
    let mut upstream = Upstream::new(args.slow())?;
    let meter = Arc::new(Meter::default());
    let backend = Backend::new(url(upstream.address())?, &meter)?;
    let port = Port::any()?;
    let gateway_url = url(port.address())?;
    let gateway = gateway::serve(port, stack.gateway(backend)?, Arc::clone(&meter)).await?;

    // A moment's lead, so that the upstream is up when the first call is due.
    upstream.enter(Phase::Healthy).await?;
    let timeline = Timeline::new(Instant::now() + Duration::from_millis(100), args.phase());
    let tally = Arc::new(Tally::default());
    let progress = Progress::new(stack, timeline, &meter, &tally);
    // The load is a task of its own: whatever the outage takes to bring about, no call starts later
    // for it.
    let load = tokio::spawn({
        let (tally, rate) = (Arc::clone(&tally), args.rate);
        load::run(gateway_url, rate, timeline, tally)
    });
    for phase in Phase::ALL {
        sleep_until(timeline.begin(phase)).await;
        meter.enter(phase);
        if phase == Phase::Slow {
            sleep(FAREWELL).await;
        }
        upstream.enter(phase).await?;
        progress.show(phase).await;
    }
    let Outcome {
        calls,
        unfinished,
        worst_lag,
    } = load.await??;
    drop(gateway.kill().await?);

    if unfinished > 0 {
        eprintln!(
            "{}: {unfinished} calls had no answer when the run ended; they count as failed",
            stack.name()
        );
    }
    if worst_lag > Duration::from_millis(100) {
        eprintln!(
            "{}: a request left {worst_lag:.0?} late, this machine is too busy; \
             latencies include that",
            stack.name(),
        );
    }
    Ok(Run {
        stack,
        summary: Summary::new(&calls, &meter, timeline),
        calls,
    })
}

fn url(address: std::net::SocketAddr) -> Result<Url, BoxError> {
    Ok(Url::parse(&format!("http://{address}/"))?)
}
