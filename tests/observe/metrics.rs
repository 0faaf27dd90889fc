//! What a scrape returns.
#![cfg(all(feature = "metrics", feature = "http"))]

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{self, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::join_all;
use mainstay::{
    BulkheadLayer, CircuitBreakerLayer, Context, Limit, LoadShedLayer, RateLimitLayer, Recovery,
    RetryBudget, RetryLayer, TimeoutLayer,
};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

/// A recorder of this test alone: it sees what happens in its thread, and a runtime of one thread has no other.
fn recorder() -> (PrometheusRecorder, PrometheusHandle) {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &[0.01, 0.1, 1.0])
        .unwrap();
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    (recorder, handle)
}

macro_rules! recorded {
    ($handle:ident) => {
        let (recorder, $handle) = recorder();
        let _recording = ::metrics::set_default_local_recorder(&recorder);
    };
}

/// The value of one series.
#[track_caller]
fn value(handle: &PrometheusHandle, series: &str) -> f64 {
    let scraped = handle.render();
    let line = scraped.lines().find_map(|line| {
        let rest = line.strip_prefix(series)?;
        rest.strip_prefix(' ')
    });
    match line {
        Some(value) => value.parse().unwrap(),
        None => panic!("no {series} in\n{scraped}"),
    }
}

fn fails(failures: u32) -> impl FnMut(u32) -> std::future::Ready<io::Result<u32>> + Clone {
    move |call| {
        std::future::ready(if call < failures {
            Err(io::Error::other("broken"))
        } else {
            Ok(call)
        })
    }
}

#[tokio::test(start_paused = true)]
async fn calls_by_outcome() {
    recorded!(handle);
    let mut service = CircuitBreakerLayer::builder()
        .name("disk")
        .build()
        .unwrap()
        .layer(service_fn(fails(2)));
    for call in 0..5 {
        let _ = service.ready().await.unwrap().call(call).await;
    }
    let calls = |outcome: &str| {
        format!(
            r#"mainstay_calls_total{{layer="circuit_breaker",name="disk",outcome="{outcome}"}}"#
        )
    };
    assert_eq!(value(&handle, &calls("success")), 3.0);
    assert_eq!(value(&handle, &calls("failure")), 2.0);
    assert_eq!(value(&handle, &calls("ignored")), 0.0);
    assert_eq!(value(&handle, &calls("cancelled")), 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_call_is_in_flight_until_it_ends_however_it_does() {
    recorded!(handle);
    let layer = BulkheadLayer::builder()
        .name("disk")
        .limit(8)
        .build()
        .unwrap();
    let in_flight = r#"mainstay_calls_in_flight{layer="bulkhead",name="disk"}"#;
    let wait = |how: &'static str| async move {
        match how {
            "answers" => tokio::time::sleep(Duration::from_secs(1)).await,
            "panics" => {
                tokio::time::sleep(Duration::from_secs(1)).await;
                panic!("on purpose");
            }
            _ => pending().await,
        }
        Ok::<_, io::Error>(())
    };
    for how in ["answers", "panics", "is dropped"] {
        let call = tokio::spawn(layer.layer(service_fn(wait)).oneshot(how));
        tokio::task::yield_now().await;
        assert_eq!(value(&handle, in_flight), 1.0, "{how}");
        if how == "is dropped" {
            call.abort();
        }
        let _ = call.await;
        assert_eq!(value(&handle, in_flight), 0.0, "{how}");
    }
    let limit = r#"mainstay_limit{layer="bulkhead",name="disk"}"#;
    assert_eq!(value(&handle, limit), 8.0);
}

#[tokio::test(start_paused = true)]
async fn a_circuit_is_in_one_state_at_a_time() {
    recorded!(handle);
    let layer = CircuitBreakerLayer::builder()
        .name("disk")
        .consecutive_failures(2)
        .probes(1)
        .build()
        .unwrap();
    let circuit = layer.handle();
    let mut service = layer.layer(service_fn(fails(2)));
    let state = |state: &str| {
        value(
            &handle,
            &format!(
                r#"mainstay_circuit_breaker_state{{layer="circuit_breaker",name="disk",state="{state}"}}"#
            ),
        )
    };
    let _ = service.ready().await.unwrap().call(0).await;
    assert_eq!(
        (state("closed"), state("open"), state("half_open")),
        (1.0, 0.0, 0.0)
    );
    let _ = service.ready().await.unwrap().call(1).await;
    assert_eq!(
        (state("closed"), state("open"), state("half_open")),
        (0.0, 1.0, 0.0)
    );
    let _ = service.ready().await.unwrap().call(2).await;
    let rejections =
        r#"mainstay_rejections_total{layer="circuit_breaker",name="disk",reason="circuit_open"}"#;
    assert_eq!(value(&handle, rejections), 1.0);
    tokio::time::advance(Duration::from_secs(10)).await;
    let _ = service.ready().await.unwrap().call(3).await;
    assert_eq!(
        (state("closed"), state("open"), state("half_open")),
        (1.0, 0.0, 0.0)
    );
    let opened = r#"mainstay_circuit_breaker_transitions_total{layer="circuit_breaker",name="disk",from="closed",to="open"}"#;
    assert_eq!(value(&handle, opened), 1.0);
    circuit.force_open();
    assert_eq!((state("closed"), state("forced_open")), (0.0, 1.0));
}

#[tokio::test(start_paused = true)]
async fn the_changes_that_a_circuit_makes_by_itself_are_there_before_the_first_one() {
    recorded!(handle);
    let layer = CircuitBreakerLayer::builder()
        .name("disk")
        .consecutive_failures(1)
        .probes(1)
        .recovery(Recovery::Stepwise {
            steps: 2,
            over: Duration::from_secs(2),
        })
        .jitter(0.0)
        .build()
        .unwrap();
    let circuit = layer.handle();
    let mut service = layer.layer(service_fn(fails(1)));
    let changes = || -> BTreeMap<(String, String), u32> {
        let scraped = handle.render();
        let lines = scraped.lines().filter_map(|line| {
            let rest = line.strip_prefix(
                r#"mainstay_circuit_breaker_transitions_total{layer="circuit_breaker",name="disk","#,
            )?;
            let labels: Vec<_> = rest.split('"').collect();
            let count = rest.rsplit(' ').next().unwrap().parse().unwrap();
            Some(((labels[1].to_owned(), labels[3].to_owned()), count))
        });
        lines.collect()
    };
    let counted = |expected: &[(&str, &str, u32)]| {
        let expected = expected
            .iter()
            .map(|(from, to, count)| (((*from).to_owned(), (*to).to_owned()), *count));
        assert_eq!(changes(), expected.collect());
    };
    let _ = service.ready().await.unwrap().call(1).await;
    counted(&[
        ("closed", "open", 0),
        ("open", "half_open", 0),
        ("half_open", "open", 0),
        ("half_open", "closed", 0),
        ("half_open", "recovering", 0),
        ("recovering", "open", 0),
        ("recovering", "closed", 0),
    ]);
    for call in [0, 1] {
        let _ = service.ready().await.unwrap().call(call).await;
        tokio::time::advance(Duration::from_secs(6)).await;
    }
    let _ = service.ready().await.unwrap().call(1).await;
    circuit.force_open();
    circuit.reset();
    counted(&[
        ("closed", "open", 1),
        ("open", "half_open", 1),
        ("half_open", "open", 0),
        ("half_open", "closed", 0),
        ("half_open", "recovering", 1),
        ("recovering", "open", 0),
        ("recovering", "closed", 1),
        // Somebody's doing.
        ("closed", "forced_open", 1),
        ("forced_open", "closed", 1),
    ]);
}

#[tokio::test(start_paused = true)]
async fn retries_by_cause_and_what_was_refused() {
    recorded!(handle);
    let layer = RetryLayer::builder().name("disk").attempts(3).budget(
        RetryBudget::builder()
            .ratio(0.1)
            .min_per_second(1)
            .build()
            .unwrap(),
    );
    let mut service = layer.build().unwrap().layer(service_fn(fails(9)));
    let _ = service.ready().await.unwrap().call(0).await;
    let retries = |cause: &str| {
        format!(r#"mainstay_retries_total{{layer="retry",name="disk",cause="{cause}"}}"#)
    };
    assert_eq!(value(&handle, &retries("error")), 2.0);
    assert_eq!(value(&handle, &retries("timed_out")), 0.0);
    let refused = r#"mainstay_retries_refused_total{layer="retry",name="disk",reason="attempts"}"#;
    assert_eq!(value(&handle, refused), 1.0);
    let balance = r#"mainstay_retry_budget_balance{layer="retry",name="disk"}"#;
    assert_eq!(value(&handle, balance), 8.0);
}

/// A call that has left the queue and waits for the inner service is in flight.
#[tokio::test(start_paused = true)]
async fn a_call_with_a_permit_that_waits_for_the_inner_service() {
    recorded!(handle);
    let layer = BulkheadLayer::builder()
        .name("disk")
        .limit(1)
        .queue(1, Duration::from_secs(5))
        .build()
        .unwrap();
    let (probe, mut calls) = mainstay::testing::controlled::<(), (), io::Error>();
    let mut service = layer.layer(probe.clone());
    let mut start = || {
        let ready = service.ready().now_or_never();
        tokio::spawn(ready.unwrap().unwrap().call(()))
    };
    let series = |name: &str| format!(r#"{name}{{layer="bulkhead",name="disk"}}"#);
    let gauges = || {
        let names = ["mainstay_queue_depth", "mainstay_calls_in_flight"];
        names.map(|name| value(&handle, &series(name)))
    };
    let soon = Duration::from_millis(1);
    let first = start();
    tokio::time::sleep(soon).await;
    let second = start();
    tokio::time::sleep(soon).await;
    assert_eq!(gauges(), [1.0, 1.0]);
    probe.set_ready(false);
    calls.try_next().unwrap().respond(());
    first.await.unwrap().unwrap();
    tokio::time::sleep(soon).await;
    assert_eq!(gauges(), [0.0, 1.0]);
    second.abort();
    let _ = second.await;
    assert_eq!(gauges(), [0.0, 0.0]);
}

#[tokio::test(start_paused = true)]
async fn a_queue_and_the_waits_in_it() {
    recorded!(handle);
    let layer = BulkheadLayer::builder()
        .name("disk")
        .limit(1)
        .queue(1, Duration::from_secs(5))
        .build()
        .unwrap();
    let work = || {
        service_fn(|()| async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            Ok::<_, io::Error>(())
        })
    };
    let calls: Vec<_> = (0..3)
        .map(|_| tokio::spawn(layer.layer(work()).oneshot(())))
        .collect();
    for _ in 0..5 {
        tokio::task::yield_now().await;
    }
    let series = |name: &str| format!(r#"{name}{{layer="bulkhead",name="disk"}}"#);
    assert_eq!(value(&handle, &series("mainstay_queue_depth")), 1.0);
    for call in calls {
        let _ = call.await;
    }
    assert_eq!(value(&handle, &series("mainstay_queue_depth")), 0.0);
    assert_eq!(
        value(&handle, &series("mainstay_queue_wait_seconds_count")),
        1.0
    );
    let waited = value(&handle, &series("mainstay_queue_wait_seconds_sum"));
    assert!((1.9..2.1).contains(&waited), "{waited}");
    let full = r#"mainstay_rejections_total{layer="bulkhead",name="disk",reason="full"}"#;
    assert_eq!(value(&handle, full), 1.0);
}

#[tokio::test(start_paused = true)]
async fn time_limits_and_deadlines() {
    recorded!(handle);
    let layer = TimeoutLayer::builder()
        .name("disk")
        .timeout(Duration::from_secs(9));
    let service = layer
        .build()
        .unwrap()
        .layer(service_fn(|()| pending::<io::Result<()>>()));
    let context = Context::current().with_timeout(Duration::from_secs(2));
    let _ = context.scope(service.clone().oneshot(())).await;
    let _ = service.oneshot(()).await;
    let timed_out = r#"mainstay_rejections_total{layer="timeout",name="disk",reason="timed_out"}"#;
    assert_eq!(value(&handle, timed_out), 2.0);
    let left = r#"mainstay_deadline_remaining_seconds_sum{layer="timeout",name="disk"}"#;
    assert_eq!(value(&handle, left), 2.0);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_too_late_to_be_sent() {
    recorded!(handle);
    let context = Context::current().with_timeout(Duration::ZERO);
    let send = service_fn(async |_: http::Request<()>| Ok::<_, io::Error>(()));
    let mut service = mainstay::http::DeadlineLayer::new().layer(send);
    for _ in 0..2 {
        let call = service.ready().await.unwrap();
        let call = context
            .clone()
            .scope(async { call.call(http::Request::new(())).await });
        assert!(call.await.is_err());
    }
    let late =
        r#"mainstay_rejections_total{layer="deadline",name="default",reason="deadline_passed"}"#;
    assert_eq!(value(&handle, late), 2.0);
}

#[tokio::test(start_paused = true)]
async fn how_long_calls_take() {
    recorded!(handle);
    let mut service = CircuitBreakerLayer::builder()
        .name("disk")
        .build()
        .unwrap()
        .layer(service_fn(|()| async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            Ok::<_, io::Error>(())
        }));
    service.ready().await.unwrap().call(()).await.unwrap();
    let series = |name: &str| {
        format!(r#"mainstay_call_duration_seconds_{name}{{layer="circuit_breaker",name="disk"}}"#)
    };
    assert_eq!(value(&handle, &series("count")), 1.0);
    let took = value(&handle, &series("sum"));
    assert!((0.5..0.51).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn slow_calls_are_counted_failed_or_not() {
    recorded!(handle);
    let work = |(millis, result): (u64, Result<(), &'static str>)| async move {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        result.map_err(io::Error::other)
    };
    let series = |name: &str| {
        format!(r#"mainstay_slow_calls_total{{layer="circuit_breaker",name="{name}"}}"#)
    };
    let picky = CircuitBreakerLayer::builder()
        .name("picky")
        .slow_calls(Duration::from_millis(100), 1.0)
        .build()
        .unwrap();
    let mut service = picky.layer(service_fn(work));
    let calls = [(50, Ok(())), (150, Ok(())), (150, Err("broken"))];
    for (call, slow) in calls.into_iter().zip([0.0, 1.0, 2.0]) {
        let _ = service.ready().await.unwrap().call(call).await;
        assert_eq!(value(&handle, &series("picky")), slow);
    }
    // Ended by its caller's deadline: it is slow only if it ran for longer than the threshold.
    let limited = TimeoutLayer::builder().build().unwrap().layer(service);
    for (deadline, slow) in [(10, 2), (120, 3)] {
        let context = Context::current().with_timeout(Duration::from_millis(deadline));
        let call = limited.clone().oneshot((150, Ok(())));
        let _ = context.scope(call).await;
        assert_eq!(value(&handle, &series("picky")), f64::from(slow));
        assert_eq!(picky.handle().snapshot().slow_calls, u64::from(slow as u32));
    }
    let patient = CircuitBreakerLayer::builder()
        .name("patient")
        .build()
        .unwrap();
    let _ = patient
        .layer(service_fn(work))
        .oneshot((60_000, Ok(())))
        .await;
    assert_eq!(value(&handle, &series("patient")), 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_recorder_may_be_installed_after_the_layers_were_built() {
    let layer = BulkheadLayer::builder()
        .name("late")
        .limit(1)
        .build()
        .unwrap();
    let mut service = layer.layer(service_fn(fails(0)));
    recorded!(handle);
    service.ready().await.unwrap().call(1).await.unwrap();
    let calls = r#"mainstay_calls_total{layer="bulkhead",name="late",outcome="success"}"#;
    assert_eq!(value(&handle, calls), 1.0);
}

#[tokio::test(start_paused = true)]
async fn there_is_no_gauge_of_what_an_instance_does_not_have() {
    recorded!(handle);
    let retry = RetryLayer::builder().name("bare").without_budget();
    let retry = retry.build().unwrap().layer(service_fn(fails(9)));
    let _ = retry.oneshot(1).await;
    let shed = LoadShedLayer::on_readiness().named("bare").unwrap();
    let mut shed = shed.layer(service_fn(fails(9)));
    // Without having been asked whether it is ready.
    let _ = shed.call(1).await;
    let refused = r#"mainstay_rejections_total{layer="load_shed",name="bare",reason="not_ready"}"#;
    assert_eq!(value(&handle, refused), 1.0);
    let retries = r#"mainstay_retries_total{layer="retry",name="bare",cause="error"}"#;
    assert_eq!(value(&handle, retries), 2.0);
    let text = handle.render();
    for gauge in ["mainstay_limit{", "mainstay_retry_budget_balance{"] {
        assert!(!text.contains(gauge), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_moves_is_the_one_that_is_shown() {
    recorded!(handle);
    let limit = Limit::aimd().initial(100).min(1).max(100);
    let limit = limit.backoff(0.5).timeout(Duration::from_millis(50));
    let layer = LoadShedLayer::builder().name("moves");
    let layer = layer.limit(limit.build().unwrap()).build().unwrap();
    let slow = layer.layer(service_fn(async |()| {
        tokio::time::sleep(Duration::from_millis(60)).await;
        Ok::<_, io::Error>(())
    }));
    let shown = r#"mainstay_limit{layer="load_shed",name="moves"}"#;
    for _ in 0..10 {
        join_all((0..80).map(|_| slow.clone().oneshot(()))).await;
        assert_eq!(
            value(&handle, shown),
            f64::from(layer.handle().limit().unwrap())
        );
    }
    assert!(layer.handle().limit().unwrap() < 50, "{layer:?}");
}

/// Ready until it is called.
#[derive(Clone)]
struct Once(Arc<AtomicBool>);

impl Service<u32> for Once {
    type Response = u32;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<u32>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        if self.0.load(Ordering::SeqCst) {
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: u32) -> Self::Future {
        self.0.store(true, Ordering::SeqCst);
        std::future::ready(Ok(call))
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_for_which_nobody_becomes_ready() {
    recorded!(handle);
    let layer = RetryLayer::builder()
        .name("once")
        .retry_if(|_: &u32, _: Result<&u32, &mainstay::Error<io::Error>>| true)
        .build()
        .unwrap();
    let call = layer.layer(Once(Arc::default())).oneshot(1);
    assert!(call.await.is_err());
    let rejected = r#"mainstay_rejections_total{layer="retry",name="once",reason="not_ready"}"#;
    assert_eq!(value(&handle, rejected), 1.0);
    let retries = r#"mainstay_retries_total{layer="retry",name="once",cause="response"}"#;
    assert_eq!(value(&handle, retries), 1.0);
    assert_eq!(layer.handle().snapshot().rejections.total(), 1);
}

/// Everything that can happen, once.
async fn everything() {
    let fail = || service_fn(fails(1_000));
    let breaker = CircuitBreakerLayer::builder()
        .name("all")
        .consecutive_failures(1)
        .build()
        .unwrap();
    let mut broken = breaker.layer(fail());
    for _ in 0..2 {
        let _ = broken.ready().await.unwrap().call(1).await;
    }
    let queue = BulkheadLayer::builder()
        .name("all")
        .limit(1)
        .queue(1, Duration::from_secs(1))
        .build()
        .unwrap();
    let slow = || {
        service_fn(|()| async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            Ok::<_, io::Error>(())
        })
    };
    let calls: Vec<_> = (0..3)
        .map(|_| tokio::spawn(queue.layer(slow()).oneshot(())))
        .collect();
    for call in calls {
        let _ = call.await.unwrap();
    }
    let shed = LoadShedLayer::builder()
        .name("all")
        .limit(Limit::adaptive())
        .build()
        .unwrap();
    let _ = shed.layer(fail()).oneshot(1).await;
    let limit = RateLimitLayer::builder().name("all").burst(1);
    let mut limited = limit.build().unwrap().layer(fail());
    for _ in 0..2 {
        let _ = limited.ready().await.unwrap().call(1).await;
    }
    let retry = RetryLayer::builder().name("all").build().unwrap();
    let _ = retry.layer(fail()).oneshot(1).await;
    let context = Context::current().with_timeout(Duration::from_secs(1));
    let timeout = TimeoutLayer::builder().name("all").build().unwrap();
    let _ = context.scope(timeout.layer(slow()).oneshot(())).await;
    let stack = mainstay::http::client("all")
        .timeout(Duration::from_secs(2))
        .attempt_timeout(Duration::from_secs(1))
        .build()
        .unwrap();
    let refuses = service_fn(async |_: http::Request<String>| {
        Err::<http::Response<String>, _>(io::Error::other("broken"))
    });
    let _ = stack.wrap(refuses).oneshot(http::Request::default()).await;
}

/// The table in the documentation: each metric, its kind, and the labels that it has besides `layer` and `name`.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let source = include_str!("../../src/observe/metrics.rs");
    let rows = source
        .lines()
        .filter_map(|line| line.strip_prefix("//! | `mainstay_"));
    rows.map(|row| {
        let (name, row) = row.split_once("` | ").unwrap();
        let mut cells = row.split(" | ");
        let kind = cells.next().unwrap().to_owned();
        let _layers = cells.next().unwrap();
        let labels = cells.next().unwrap();
        // Before the colon, or without values of their own.
        let labels = labels.split(':').next().unwrap();
        let labels = labels
            .split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect();
        (format!("mainstay_{name}"), (kind, labels))
    })
    .collect()
}

/// The same of a scrape.
fn scraped(text: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut metrics = BTreeMap::<String, (String, BTreeSet<String>)>::new();
    for line in text.lines() {
        if let Some(line) = line.strip_prefix("# TYPE ") {
            let (name, kind) = line.split_once(' ').unwrap();
            metrics.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
        }
    }
    for line in text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap();
        let name = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| {
                let name = name.strip_suffix(end)?;
                metrics.contains_key(name).then_some(name)
            })
            .unwrap_or(name);
        let (_, all) = metrics.get_mut(name).unwrap();
        let labels = labels.trim_end_matches('}').split(',');
        let names = labels.map(|label| label.split('=').next().unwrap());
        all.extend(
            names
                .filter(|name| !["layer", "name", "le"].contains(name))
                .map(str::to_owned),
        );
    }
    metrics
}

#[tokio::test(start_paused = true)]
async fn the_table_in_the_documentation_is_what_a_scrape_returns() {
    recorded!(handle);
    everything().await;
    let text = handle.render();
    assert_eq!(documented(), scraped(&text), "{text}");
    for (name, _) in documented() {
        assert!(
            text.contains(&format!("# HELP {name} ")),
            "{name} is not described"
        );
    }
}

/// The kinds of layers that the table gives for each metric: where it does not say that it is for all.
fn documented_layers() -> BTreeMap<String, BTreeSet<String>> {
    let source = include_str!("../../src/observe/metrics.rs");
    let rows = source
        .lines()
        .filter_map(|line| line.strip_prefix("//! | `mainstay_"));
    let mut before = BTreeSet::new();
    rows.filter_map(|row| {
        let (name, row) = row.split_once("` | ").unwrap();
        let layers = row.split(" | ").nth(1).unwrap();
        if layers != "the same" {
            let kinds = layers.split(", ").map(|layer| {
                let kind = layer.split(" with ").next().unwrap();
                kind.replace(' ', "_")
            });
            before = kinds.collect();
        }
        (layers != "all").then(|| (format!("mainstay_{name}"), before.clone()))
    })
    .collect()
}

#[tokio::test(start_paused = true)]
async fn each_layer_has_the_metrics_that_the_table_gives_it() {
    recorded!(handle);
    everything().await;
    let text = handle.render();
    for (name, kinds) in documented_layers() {
        let series = text.lines().filter(|line| line.starts_with(&name));
        let scraped: BTreeSet<_> = series
            .map(|line| line.split("layer=\"").nth(1).unwrap())
            .map(|line| line.split('"').next().unwrap().to_owned())
            .collect();
        assert_eq!(scraped, kinds, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_series_has_the_same_two_labels_first() {
    recorded!(handle);
    everything().await;
    let stack = ServiceBuilder::new()
        .layer(TimeoutLayer::new(Duration::from_secs(1)))
        .layer(RetryLayer::new())
        .service(service_fn(fails(9)));
    let _ = stack.oneshot(1).await;
    for line in handle
        .render()
        .lines()
        .filter(|line| line.starts_with("mainstay_"))
    {
        let (_, labels) = line.split_once('{').unwrap();
        assert!(
            labels.starts_with("layer=\"") && labels.contains("\",name=\""),
            "{line}"
        );
    }
}

/// A circuit for each key, of which `b` opens.
async fn two_keys(
    labels: u32,
) -> CircuitBreakerLayer<
    mainstay::AtResponse,
    mainstay::keyed::PerKey<impl for<'a> Fn(&'a (String, u32)) -> std::borrow::Cow<'a, str>>,
> {
    let layer = CircuitBreakerLayer::builder()
        .name("disks")
        .consecutive_failures(1)
        .keyed(|(disk, _): &(String, u32)| disk.as_str().into())
        .label_keys(labels)
        .build()
        .unwrap();
    let mut service = layer.layer(service_fn(|(_, call): (String, u32)| fails(1)(call)));
    for (disk, call) in [("a", 1), ("b", 0), ("c", 1), ("a", 1), ("d", 1)] {
        let _ = service
            .ready()
            .await
            .unwrap()
            .call((disk.to_owned(), call))
            .await;
    }
    layer
}

#[tokio::test(start_paused = true)]
async fn keys_are_no_label_and_the_states_are_counted() {
    recorded!(handle);
    let layer = two_keys(0).await;
    let state = |state: &str| {
        format!(
            r#"mainstay_circuit_breaker_state{{layer="circuit_breaker",name="disks",state="{state}"}}"#
        )
    };
    assert_eq!(value(&handle, &state("closed")), 3.0);
    assert_eq!(value(&handle, &state("open")), 1.0);
    let calls = r#"mainstay_calls_total{layer="circuit_breaker",name="disks",outcome="success"}"#;
    assert_eq!(value(&handle, calls), 4.0);
    assert!(!handle.render().contains("key="));
    layer.handle().reset();
    assert_eq!(value(&handle, &state("closed")), 4.0);
    assert_eq!(value(&handle, &state("open")), 0.0);
    drop(layer);
    assert_eq!(value(&handle, &state("closed")), 0.0, "they are gone");
}

#[tokio::test(start_paused = true)]
async fn the_keys_of_a_stack_can_have_a_label() {
    recorded!(handle);
    let stack = mainstay::http::client("hosts").label_keys(1).build();
    let client = stack
        .unwrap()
        .wrap(service_fn(async |_: http::Request<String>| {
            Ok::<_, io::Error>(http::Response::new(String::new()))
        }));
    for host in ["a", "b", "c", "a"] {
        let request = http::Request::get(format!("http://{host}/"));
        let request = request.body(String::new()).unwrap();
        client.clone().oneshot(request).await.unwrap();
    }
    let calls = |key: &str| {
        let series = "mainstay_calls_total";
        format!(r#"{series}{{layer="bulkhead",name="hosts",key="{key}",outcome="success"}}"#)
    };
    assert_eq!(value(&handle, &calls("a")), 2.0);
    assert_eq!(value(&handle, &calls("other")), 2.0);
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_a_key_of_its_own_is_not_that_of_all() {
    recorded!(handle);
    let layer = mainstay::BulkheadLayer::builder()
        .name("disks")
        .limit(64)
        .keyed(|disk: &String| disk.as_str().into())
        .build()
        .unwrap();
    let mut service = layer.layer(service_fn(
        async |_: String| Ok::<_, mainstay::BoxError>(()),
    ));
    let limit = r#"mainstay_limit{layer="bulkhead",name="disks"}"#;
    for disk in ["a", "b"] {
        service
            .ready()
            .await
            .unwrap()
            .call(disk.to_owned())
            .await
            .unwrap();
    }
    let bulkhead = layer.handle();
    let _ = bulkhead
        .key("a")
        .unwrap()
        .change(|a| a.limit = Some(8))
        .unwrap();
    for disk in ["b", "a"] {
        service
            .ready()
            .await
            .unwrap()
            .call(disk.to_owned())
            .await
            .unwrap();
        assert_eq!(value(&handle, limit), 64.0, "{disk}");
    }
    let _ = bulkhead.change(|all| all.limit = Some(32)).unwrap();
    service
        .ready()
        .await
        .unwrap()
        .call("a".to_owned())
        .await
        .unwrap();
    assert_eq!(value(&handle, limit), 32.0);
}

#[tokio::test(start_paused = true)]
async fn two_circuits_of_one_name_add_up() {
    recorded!(handle);
    let one = || CircuitBreakerLayer::builder().name("disk").build().unwrap();
    let (first, second) = (one(), one());
    for layer in [&first, &second] {
        let mut service = layer.layer(service_fn(fails(0)));
        service.ready().await.unwrap().call(0).await.unwrap();
    }
    first.handle().force_open();
    let state = |state: &str| {
        format!(
            r#"mainstay_circuit_breaker_state{{layer="circuit_breaker",name="disk",state="{state}"}}"#
        )
    };
    assert_eq!(value(&handle, &state("closed")), 1.0);
    assert_eq!(value(&handle, &state("forced_open")), 1.0);
    drop(first);
    assert_eq!(value(&handle, &state("forced_open")), 0.0);
    assert_eq!(value(&handle, &state("closed")), 1.0);
}

#[tokio::test(start_paused = true)]
async fn the_first_keys_have_a_label_if_it_is_asked_for() {
    recorded!(handle);
    let layer = two_keys(2).await;
    let calls = |key: &str, outcome: &str| {
        format!(
            r#"mainstay_calls_total{{layer="circuit_breaker",name="disks",key="{key}",outcome="{outcome}"}}"#
        )
    };
    assert_eq!(value(&handle, &calls("a", "success")), 2.0);
    assert_eq!(value(&handle, &calls("b", "failure")), 1.0);
    assert_eq!(value(&handle, &calls("other", "success")), 2.0);
    let scraped = handle.render();
    assert!(!scraped.contains(r#"key="c""#) && !scraped.contains(r#"key="d""#));
    let open = r#"mainstay_circuit_breaker_state{layer="circuit_breaker",name="disks",key="b",state="open"}"#;
    assert_eq!(value(&handle, open), 1.0);
    drop(layer);
}
