//! The gateway's wiring that is the same in both runs: what it calls the upstream with, and how it
//! is measured.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use reqwest::Url;
use tower::Service;

use crate::{
    phase::Phase,
    server::{Port, Server},
};

/// The whole protection of the gateway without mainstay: a generous time-out on the client, such as
/// is really deployed. Long enough for the slowest answers, and so long that it helps nobody.
pub(crate) const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);

/// How the gateway reaches the upstream. Both runs get the same.
#[derive(Clone, Debug)]
pub(crate) struct Backend {
    /// The pooled client, as a service, with what goes through it counted.
    pub(crate) wire: Counted<reqwest::Client>,
    pub(crate) url: Url,
}

impl Backend {
    pub(crate) fn new(url: Url, meter: &Arc<Meter>) -> reqwest::Result<Self> {
        let client = reqwest::Client::builder()
            .timeout(CLIENT_TIMEOUT)
            // A proxy in the environment is not meant for loopback.
            .no_proxy()
            .build()?;
        let wire = Counted {
            inner: client,
            meter: Arc::clone(meter),
        };
        Ok(Self { wire, url })
    }
}

/// Starts the gateway, with its calls in flight counted outside of everything else.
pub(crate) async fn serve(port: Port, router: Router, meter: Arc<Meter>) -> io::Result<Server> {
    port.serve(
        "gateway",
        router.layer(from_fn_with_state(meter, count_in_flight)),
    )
    .await
}

async fn count_in_flight(
    State(meter): State<Arc<Meter>>,
    request: Request,
    next: Next,
) -> Response {
    let _in_flight = InFlight::enter(&meter);
    next.run(request).await
}

/// What is counted in the gateway, phase by phase. A phase here is the one at the moment of
/// counting.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    phase: AtomicUsize,
    in_flight: AtomicUsize,
    peak_in_flight: [AtomicUsize; Phase::COUNT],
    upstream_calls: [AtomicUsize; Phase::COUNT],
}

impl Meter {
    /// What is counted from now on belongs to `phase`. What is already in flight is in flight there
    /// too.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase.index(), Ordering::SeqCst);
        self.peak_in_flight[phase.index()].fetch_max(self.in_flight(), Ordering::SeqCst);
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    pub(crate) fn peak_in_flight(&self, phase: Phase) -> usize {
        self.peak_in_flight[phase.index()].load(Ordering::SeqCst)
    }

    pub(crate) fn upstream_calls(&self, phase: Phase) -> usize {
        self.upstream_calls[phase.index()].load(Ordering::SeqCst)
    }
}

/// One call in the gateway, from its arrival until its response is made or the caller has gone.
struct InFlight<'a>(&'a Meter);

impl<'a> InFlight<'a> {
    fn enter(meter: &'a Meter) -> Self {
        let now = meter.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        meter.peak_in_flight[meter.phase.load(Ordering::SeqCst)].fetch_max(now, Ordering::SeqCst);
        Self(meter)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Counts what is really sent towards the upstream: right around the client, below anything that
/// could hold it back.
///
/// It is counted here and not in the upstream because a connect that is refused is a call the
/// gateway made too, and there is nobody to count it at the other end.
#[derive(Clone, Debug)]
pub(crate) struct Counted<S> {
    inner: S,
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
        self.meter.upstream_calls[phase].fetch_add(1, Ordering::SeqCst);
        self.inner.call(request)
    }
}
