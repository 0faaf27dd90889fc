//! The part of the gateway that is the same in both runs: its clients, its limit of calls, and its
//! counters.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    BoxError, Router,
    error_handling::HandleErrorLayer,
    extract::{Request, State},
    http::StatusCode,
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use mainstay::{Event, EventKind};
use reqwest::Url;
use tokio::time::Instant;
use tower::{Service, ServiceBuilder, limit::GlobalConcurrencyLimitLayer};

use crate::{
    phase::Phase,
    route::Route,
    server::{Port, Server},
};

/// The time limit of the client in both runs. Without the stack it is the only one. It is longer
/// than users wait, as such limits often are.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);

/// How a route reaches its upstream, in both runs.
#[derive(Clone, Debug)]
pub(crate) struct Backend {
    /// The pooled client, as a service that counts the requests that it sends.
    pub(crate) wire: Counted<reqwest::Client>,
    pub(crate) url: Url,
}

impl Backend {
    pub(crate) fn new(route: Route, url: Url, meter: &Arc<Meter>) -> reqwest::Result<Self> {
        let client = reqwest::Client::builder()
            .timeout(CLIENT_TIMEOUT)
            .retry(reqwest::retry::never())
            // Ignore proxies from the environment: all is on loopback.
            .no_proxy()
            .build()?;
        let wire = Counted {
            inner: client,
            route,
            meter: Arc::clone(meter),
        };
        Ok(Self { wire, url })
    }
}

/// Starts the gateway. In both runs it serves at most `room` calls at a time and rejects the others
/// with 503, by tower's own concurrency limit and load shed.
///
/// Every process has such a limit, set or not: threads, memory, sockets, connections to a database.
/// Both routes share it.
pub(crate) async fn serve(
    port: Port,
    router: Router,
    room: usize,
    meter: Arc<Meter>,
) -> io::Result<Server> {
    let full = |_: BoxError| async { (StatusCode::SERVICE_UNAVAILABLE, "the gateway is full") };
    let room = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(full))
        .load_shed()
        .layer(GlobalConcurrencyLimitLayer::new(room));
    let router = router
        .layer(from_fn_with_state(meter, count_in_flight))
        .layer(room);
    port.serve("gateway", router).await
}

async fn count_in_flight(
    State(meter): State<Arc<Meter>>,
    request: Request,
    next: Next,
) -> Response {
    let _in_flight = InFlight::enter(&meter);
    next.run(request).await
}

/// The counters of the gateway for each phase. An event counts in the phase in which it happens.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    phase: AtomicUsize,
    in_flight: AtomicUsize,
    peak_in_flight: [AtomicUsize; Phase::COUNT],
    /// The highest number in flight since the last [`Meter::take_recent_peak`].
    recent_peak: AtomicUsize,
    upstream_calls: [[AtomicUsize; Phase::COUNT]; Route::COUNT],
}

impl Meter {
    /// Begins `phase`. Calls in flight also count in the new phase.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase.index(), Ordering::SeqCst);
        self.peak_in_flight[phase.index()].fetch_max(self.in_flight(), Ordering::SeqCst);
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    pub(crate) fn take_recent_peak(&self) -> usize {
        let now = self.in_flight();
        self.recent_peak.swap(now, Ordering::SeqCst).max(now)
    }

    pub(crate) fn peak_in_flight(&self, phase: Phase) -> usize {
        self.peak_in_flight[phase.index()].load(Ordering::SeqCst)
    }

    pub(crate) fn upstream_calls(&self, route: Route, phase: Phase) -> usize {
        self.upstream_calls[route.index()][phase.index()].load(Ordering::SeqCst)
    }
}

/// One call in the gateway, from its arrival until the head of its response, or until its caller
/// hangs up.
struct InFlight<'a>(&'a Meter);

impl<'a> InFlight<'a> {
    fn enter(meter: &'a Meter) -> Self {
        let now = meter.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        meter.peak_in_flight[meter.phase.load(Ordering::SeqCst)].fetch_max(now, Ordering::SeqCst);
        meter.recent_peak.fetch_max(now, Ordering::SeqCst);
        Self(meter)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Counts the calls that are sent to an upstream. It wraps the client directly, inside all layers.
///
/// The upstream itself cannot count them: a connection that is refused is a call of the gateway,
/// too.
#[derive(Clone, Debug)]
pub(crate) struct Counted<S> {
    inner: S,
    route: Route,
    meter: Arc<Meter>,
}

impl<S: Service<R>, R> Service<R> for Counted<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> S::Future {
        let phase = self.meter.phase.load(Ordering::SeqCst);
        self.meter.upstream_calls[self.route.index()][phase].fetch_add(1, Ordering::SeqCst);
        self.inner.call(request)
    }
}

/// The transitions of the circuit to the upstream of `/catalog`, as the stack emits them.
#[derive(Clone, Debug, Default)]
pub(crate) struct CircuitLog(Arc<Mutex<Vec<(Instant, mainstay::State)>>>);

impl CircuitLog {
    /// An observer for the stack.
    pub(crate) fn observer(&self) -> impl Fn(&Event) + Send + Sync + 'static {
        let Self(log) = self.clone();
        move |event| {
            if let EventKind::Transition(transition) = event.kind() {
                let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                log.push((Instant::now(), transition.to));
            }
        }
    }

    /// The transitions so far, each with its time since `start`.
    pub(crate) fn since(&self, start: Instant) -> Vec<(Duration, mainstay::State)> {
        let log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter()
            .map(|&(at, state)| (at.saturating_duration_since(start), state))
            .collect()
    }
}
