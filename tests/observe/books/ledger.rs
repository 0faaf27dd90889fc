//! What is counted of calls: by the test, by snapshots, by events and by metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use mainstay::snapshot::{Outcomes, Rejections};
use mainstay::{Event, EventKind};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tower::Service;

/// Counts the calls that come through.
#[derive(Clone)]
pub(crate) struct Counted<S>(S, Arc<AtomicU64>);

pub(crate) fn counted<S>(inner: S) -> (Counted<S>, Arc<AtomicU64>) {
    let count = Arc::new(AtomicU64::new(0));
    (Counted(inner, Arc::clone(&count)), count)
}

impl<S: Service<Req>, Req> Service<Req> for Counted<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> S::Future {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.call(request)
    }
}

/// What one layer says of its calls.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Books {
    success: u64,
    failure: u64,
    ignored: u64,
    cancelled: u64,
    rejected: u64,
    given_up: u64,
}

impl Books {
    pub(crate) fn new(outcomes: Outcomes, rejections: &Rejections, given_up: u64) -> Self {
        Self {
            success: outcomes.success,
            failure: outcomes.failure,
            ignored: outcomes.ignored,
            cancelled: outcomes.cancelled,
            rejected: rejections.total(),
            given_up,
        }
    }

    pub(crate) fn total(&self) -> u64 {
        let over = self.success + self.failure + self.ignored + self.cancelled;
        over + self.rejected + self.given_up
    }

    /// By the metrics.
    pub(crate) fn scraped(handle: &PrometheusHandle, layer: &str) -> Self {
        let text = handle.render();
        let sum = |metric: &str, label: &str| {
            let prefix = format!("{metric}{{layer=\"{layer}\",");
            let lines = text.lines().filter(|line| line.starts_with(&prefix));
            let lines = lines.filter(|line| line.contains(label));
            let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
            values.sum()
        };
        let of = |outcome| sum("mainstay_calls_total", &format!("outcome=\"{outcome}\""));
        Self {
            success: of("success"),
            failure: of("failure"),
            ignored: of("ignored"),
            cancelled: of("cancelled"),
            rejected: sum("mainstay_rejections_total", ""),
            given_up: sum("mainstay_given_up_total", ""),
        }
    }
}

/// By the events.
pub(crate) type Told = Arc<Mutex<Books>>;

pub(crate) fn observer() -> (impl Fn(&Event) + Send + Sync + 'static, Told) {
    let told = Told::default();
    let books = Arc::clone(&told);
    let observer = move |event: &Event| {
        let mut books = books.lock().unwrap();
        match event.kind() {
            EventKind::Settled { outcome, .. } => match outcome.as_str() {
                "success" => books.success += 1,
                "failure" => books.failure += 1,
                "ignored" => books.ignored += 1,
                _ => books.cancelled += 1,
            },
            EventKind::Rejected(_) => books.rejected += 1,
            EventKind::GivenUp { .. } => books.given_up += 1,
            _ => {}
        }
    };
    (observer, told)
}

/// Runs it with a clock of its own and a recorder of its own.
pub(crate) fn run(history: impl AsyncFnOnce(PrometheusHandle)) {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(history(handle));
}

/// All ways to tell agree, and each call is in one count.
#[track_caller]
pub(crate) fn balance(
    layer: &str,
    calls: &AtomicU64,
    snapshot: &Books,
    told: &Told,
    handle: &PrometheusHandle,
) {
    assert_eq!(
        snapshot.total(),
        calls.load(Ordering::SeqCst),
        "{layer}: {snapshot:?}"
    );
    assert_eq!(*snapshot, *told.lock().unwrap(), "{layer}: events");
    assert_eq!(*snapshot, Books::scraped(handle, layer), "{layer}: metrics");
    for line in handle.render().lines() {
        let gauge = line.starts_with("mainstay_calls_in_flight{")
            || line.starts_with("mainstay_queue_depth{");
        assert!(!gauge || line.ends_with(" 0"), "{line}");
    }
}

pub(crate) fn silent_panics() {
    // They are caught, and expected.
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let text = info.payload().downcast_ref::<&str>();
            if !text.is_some_and(|text| text.contains("told to panic")) {
                usual(info);
            }
        }));
    });
}
