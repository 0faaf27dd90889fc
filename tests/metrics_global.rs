//! A recorder for the whole process, as programs have it: the only test here, because there can be only one.
#![cfg(feature = "metrics")]

use std::future::pending;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mainstay::{BulkheadLayer, TimeoutLayer};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use tower::{Layer, ServiceExt, service_fn};

/// How often the counter of calls was described.
static DESCRIBED: AtomicU32 = AtomicU32::new(0);
/// How often a counter was looked up.
static REGISTERED: AtomicU32 = AtomicU32::new(0);

struct Counting(PrometheusRecorder);

impl Recorder for Counting {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        if name.as_str() == "mainstay_calls_total" {
            DESCRIBED.fetch_add(1, Ordering::SeqCst);
        }
        self.0.describe_counter(name, unit, text);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.0.describe_gauge(name, unit, text);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.0.describe_histogram(name, unit, text);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        REGISTERED.fetch_add(1, Ordering::SeqCst);
        self.0.register_counter(key, metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.0.register_gauge(key, metadata)
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        self.0.register_histogram(key, metadata)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_of_one_name_share_their_series_and_one_that_came_before_the_recorder_is_found_later()
 {
    let early = BulkheadLayer::builder()
        .name("early")
        .limit(1)
        .build()
        .unwrap();
    let hang = || service_fn(|()| pending::<io::Result<()>>());
    let held = tokio::spawn(early.layer(hang()).oneshot(()));
    while early.handle().in_flight() == 0 {
        tokio::task::yield_now().await;
    }

    // A layer without state.
    let limit = || {
        let layer = TimeoutLayer::builder().name("early");
        layer.timeout(Duration::from_millis(1)).build().unwrap()
    };
    let _ = limit().layer(hang()).oneshot(()).await;

    let recorder = PrometheusBuilder::new().build_recorder();
    let prometheus = recorder.handle();
    metrics::set_global_recorder(Counting(recorder)).unwrap();
    let work = || service_fn(|()| async { Ok::<_, io::Error>(()) });
    let layers: Vec<_> = (0..8)
        .map(|_| {
            let layer = BulkheadLayer::builder().name("disk").limit(8);
            layer.build().unwrap()
        })
        .collect();
    let calls: Vec<_> = layers
        .iter()
        .map(|layer| tokio::spawn(layer.layer(work()).oneshot(())))
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let has = |series: &str| {
        let text = prometheus.render();
        assert!(
            text.lines().any(|line| line == series),
            "{series} is not in\n{text}"
        );
    };
    has(r#"mainstay_calls_total{layer="bulkhead",name="disk",outcome="success"} 8"#);

    // It was called when there was nothing, and finds the recorder with what it rejects.
    let _ = early.layer(work()).oneshot(()).await;
    has(r#"mainstay_rejections_total{layer="bulkhead",name="early",reason="full"} 1"#);
    held.abort();
    let _ = held.await;
    // What was never told to have begun is not told to have ended.
    has(r#"mainstay_calls_in_flight{layer="bulkhead",name="early"} 0"#);

    let _ = limit().layer(hang()).oneshot(()).await;
    has(r#"mainstay_rejections_total{layer="timeout",name="early",reason="timed_out"} 1"#);

    // Two of a name.
    for _ in 0..2 {
        let layer = TimeoutLayer::builder()
            .name("disk")
            .timeout(Duration::from_millis(1));
        let _ = layer.build().unwrap().layer(hang()).oneshot(()).await;
    }
    has(r#"mainstay_rejections_total{layer="timeout",name="disk",reason="timed_out"} 2"#);

    // By each instance, at its first call and never again.
    let before = DESCRIBED.load(Ordering::SeqCst);
    let another = BulkheadLayer::builder().name("another").build().unwrap();
    for _ in 0..2 {
        another.layer(work()).oneshot(()).await.unwrap();
        assert_eq!(DESCRIBED.load(Ordering::SeqCst), before + 1);
    }
    has(r#"mainstay_calls_total{layer="bulkhead",name="another",outcome="success"} 2"#);
    // What it counts with is resolved once.
    let before = REGISTERED.load(Ordering::SeqCst);
    another.layer(work()).oneshot(()).await.unwrap();
    assert_eq!(REGISTERED.load(Ordering::SeqCst), before);
    // Another one of the name counts in the same series.
    let same = BulkheadLayer::builder().name("another").build().unwrap();
    same.layer(work()).oneshot(()).await.unwrap();
    has(r#"mainstay_calls_total{layer="bulkhead",name="another",outcome="success"} 4"#);
}
