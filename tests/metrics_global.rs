//! A recorder for the whole process, as programs have it: the only test here, because there can be only one.
#![cfg(feature = "metrics")]

use std::future::pending;
use std::io;
use std::time::Duration;

use mainstay::{BulkheadLayer, TimeoutLayer};
use metrics_exporter_prometheus::PrometheusBuilder;
use tower::{Layer, ServiceExt, service_fn};

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
    while early.in_flight() == 0 {
        tokio::task::yield_now().await;
    }

    let prometheus = PrometheusBuilder::new().install_recorder().unwrap();
    let work = || service_fn(|()| async { Ok::<_, io::Error>(()) });
    // They live longer than their calls: one that is gone may leave its place to another one, in which its calls do not count.
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

    // A layer without state, and two of a name.
    for _ in 0..2 {
        let layer = TimeoutLayer::builder()
            .name("disk")
            .timeout(Duration::from_millis(1));
        let _ = layer.build().unwrap().layer(hang()).oneshot(()).await;
    }
    has(r#"mainstay_rejections_total{layer="timeout",name="disk",reason="timed_out"} 2"#);
}
