//! One run of the outage: upstreams, gateway and load, with or without the stack.

use std::{sync::Arc, time::Duration};

use reqwest::Url;
use tokio::time::{Instant, sleep, sleep_until};
use tower::BoxError;

use crate::{
    args::Args,
    gateway::{self, Backend, CircuitLog, Meter},
    load::{self, Outcome},
    phase::{Phase, Timeline},
    progress::Progress,
    route::Route,
    server::Port,
    stack::Stack,
    stats::{Call, Summary, Tally},
    upstream::Upstream,
};

/// How long the upstream is still healthy in the slow phase. A call that is due at the very end of
/// the healthy phase must find it healthy, even if this machine was busy for a moment.
const GRACE: Duration = Duration::from_millis(20);

/// How often the calls in flight are sampled for the plot.
const SAMPLE: Duration = Duration::from_millis(50);

/// The results of a run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) stack: Stack,
    /// Calls that the gateway serves at a time.
    pub(crate) room: usize,
    pub(crate) calls: Vec<Call>,
    pub(crate) summary: Summary,
    /// The highest number of calls in flight within each [`SAMPLE`], and the end of the sample from
    /// the start of the run.
    pub(crate) in_flight: Vec<(Duration, usize)>,
    /// The transitions of the circuit to the upstream of `/catalog`. None without the stack.
    pub(crate) circuit: Vec<(Duration, mainstay::State)>,
}

/// Starts everything, runs through all phases, and stops everything. Nothing remains for the next
/// run.
pub(crate) async fn run(stack: Stack, args: &Args) -> Result<Run, BoxError> {
    let mut catalog = Upstream::new(args.slow())?;
    let mut pricing = Upstream::new(args.slow())?;
    let meter = Arc::new(Meter::default());
    let circuits = CircuitLog::default();
    let backends = [
        Backend::new(Route::Catalog, url(catalog.address())?, &meter)?,
        Backend::new(Route::Pricing, url(pricing.address())?, &meter)?,
    ];
    let router = stack.gateway(backends, &circuits)?;
    let port = Port::any()?;
    let gateway_url = url(port.address())?;
    let gateway = gateway::serve(port, router, args.room, Arc::clone(&meter)).await?;

    // Start a moment later, so that the upstreams are up when the first call is due.
    pricing.enter(Phase::Healthy).await?;
    catalog.enter(Phase::Healthy).await?;
    let timeline = Timeline::new(Instant::now() + Duration::from_millis(100), args.phase());
    let tally = Arc::new(Tally::default());
    let progress = Progress::new(stack, timeline, &meter, &tally);
    // The load is a task of its own, so a slow change of phase delays no call.
    let load = tokio::spawn({
        let (tally, rate) = (Arc::clone(&tally), args.rate);
        load::run(gateway_url, rate, timeline, tally)
    });
    let in_flight = tokio::spawn(sample(Arc::clone(&meter), timeline));
    for phase in Phase::ALL {
        sleep_until(timeline.begin(phase)).await;
        meter.enter(phase);
        if phase == Phase::Slow {
            sleep(GRACE).await;
        }
        catalog.enter(phase).await?;
        progress.show(phase).await;
    }
    let Outcome { calls, worst_lag } = load.await??;
    let in_flight = in_flight.await?;
    drop(gateway.kill().await?);

    if worst_lag > Duration::from_millis(100) {
        eprintln!(
            "{}: a request started {worst_lag:.0?} late, because this machine is too busy; \
             the latencies include the delay",
            stack.name(),
        );
    }
    Ok(Run {
        stack,
        room: args.room,
        summary: Summary::new(&calls, &meter, timeline),
        calls,
        in_flight,
        circuit: circuits.since(timeline.start()),
    })
}

/// Calls in flight until the end of the last phase.
async fn sample(meter: Arc<Meter>, timeline: Timeline) -> Vec<(Duration, usize)> {
    let mut samples = vec![];
    let mut at = timeline.start();
    while at < timeline.end(Phase::Recovery) {
        at += SAMPLE;
        sleep_until(at).await;
        samples.push((at - timeline.start(), meter.take_recent_peak()));
    }
    samples
}

fn url(address: std::net::SocketAddr) -> Result<Url, BoxError> {
    Ok(Url::parse(&format!("http://{address}/"))?)
}
