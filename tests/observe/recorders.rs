//! Recorders that misbehave: each is somebody else's code in the middle of a call.
#![cfg(feature = "metrics")]

use std::collections::BTreeMap;
use std::future::pending;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use mainstay::circuit_breaker::Mode;
use mainstay::{
    BulkheadLayer, CircuitBreakerHandle, CircuitBreakerLayer, Context, Limit, LoadShedLayer,
    Reason, RetryLayer, TimeoutLayer,
};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use tower::{Layer, Service, ServiceExt, service_fn};

/// Is told of every series that is made (with `None`) or about to change.
type Hook = Arc<dyn Fn(&str, Option<f64>) + Send + Sync>;

/// Keeps the values of all series, and has a hook.
#[derive(Clone)]
struct Odd {
    values: Arc<Mutex<BTreeMap<String, f64>>>,
    hook: Hook,
}

impl Odd {
    fn new(hook: impl Fn(&str, Option<f64>) + Send + Sync + 'static) -> Self {
        Self {
            values: Arc::default(),
            hook: Arc::new(hook),
        }
    }

    fn cell(&self, key: &Key) -> Arc<Cell> {
        let labels = key.labels().map(|label| label.value().to_owned());
        let series = [key.name().to_owned()]
            .into_iter()
            .chain(labels)
            .collect::<Vec<_>>()
            .join(" ");
        (self.hook)(&series, None);
        self.values
            .lock()
            .unwrap()
            .entry(series.clone())
            .or_default();
        Arc::new(Cell {
            series,
            of: self.clone(),
        })
    }

    /// The value of a series: its name, and the values of its labels.
    #[track_caller]
    fn value(&self, series: &str) -> f64 {
        let values = self.values.lock().unwrap();
        match values.get(series) {
            Some(value) => *value,
            None => panic!("no {series} in {values:#?}"),
        }
    }

    fn has(&self, instance: &str) -> bool {
        let values = self.values.lock().unwrap();
        values.keys().any(|series| series.contains(instance))
    }
}

struct Cell {
    series: String,
    of: Odd,
}

impl Cell {
    fn change(&self, to: f64, is_relative: bool) {
        (self.of.hook)(&self.series, Some(to));
        let mut values = self.of.values.lock().unwrap();
        let value = values.get_mut(&self.series).unwrap();
        *value = if is_relative { *value + to } else { to };
    }
}

impl CounterFn for Cell {
    fn increment(&self, by: u64) {
        self.change(by as f64, true);
    }

    fn absolute(&self, to: u64) {
        self.change(to as f64, false);
    }
}

impl GaugeFn for Cell {
    fn increment(&self, by: f64) {
        self.change(by, true);
    }

    fn decrement(&self, by: f64) {
        self.change(-by, true);
    }

    fn set(&self, to: f64) {
        self.change(to, false);
    }
}

impl HistogramFn for Cell {
    fn record(&self, value: f64) {
        self.change(value, true);
    }
}

impl Recorder for Odd {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.cell(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.cell(key))
    }
}

/// What a call of [`work`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Answers,
    Fails,
    Waits,
    Panics,
    Hangs,
}

fn work() -> impl Service<How, Response = (), Error = io::Error, Future: Send> + Clone {
    service_fn(|how: How| async move {
        if how != How::Answers {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        match how {
            How::Answers | How::Waits => Ok(()),
            How::Fails => Err(io::Error::other("broken")),
            How::Panics => panic!("on purpose"),
            How::Hangs => pending().await,
        }
    })
}

const ALL: [How; 5] = [
    How::Answers,
    How::Fails,
    How::Waits,
    How::Panics,
    How::Hangs,
];

/// The payload of a panic that panics whenever it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        std::panic::panic_any(Self);
    }
}

#[tokio::test(start_paused = true)]
async fn a_recorder_that_panics_harms_no_call() {
    for (even_when_asked, with_a_bomb) in
        [(true, true), (true, false), (false, true), (false, false)]
    {
        let recorder = Odd::new(move |_, value| {
            if with_a_bomb && (even_when_asked || value.is_some()) {
                std::panic::panic_any(Bomb);
            }
            assert!(value.is_none() && !even_when_asked, "a bad recorder");
        });
        let _recording = metrics::set_default_local_recorder(&recorder);
        let bulkhead = BulkheadLayer::builder().name("bad").limit(1);
        let bulkhead = bulkhead.queue(1, Duration::from_millis(5)).build().unwrap();
        let shed = LoadShedLayer::new(Limit::fixed(2));
        let breaker = CircuitBreakerLayer::builder().consecutive_failures(9);
        let breaker = breaker.build().unwrap();
        let timeout = TimeoutLayer::new(Duration::from_millis(50));
        let retry = RetryLayer::new();
        let service = timeout.layer(retry.layer(breaker.layer(shed.layer(bulkhead.layer(work())))));
        for how in ALL {
            for deadline in [Duration::from_millis(20), Duration::from_secs(1)] {
                let call = Context::current()
                    .with_timeout(deadline)
                    .scope(service.clone().oneshot(how));
                let other = service.clone().oneshot(how);
                let (call, other) = (tokio::spawn(call), tokio::spawn(other));
                let panicked = [call.await, other.await].map(|done| done.is_err());
                // One of them may have been late in the queue.
                assert!(panicked == [false; 2] || how == How::Panics, "{how:?}");
                let dropped = service.clone().oneshot(how);
                let _ = tokio::time::timeout(Duration::from_millis(1), dropped).await;
                assert_eq!(bulkhead.handle().in_flight(), 0, "{how:?}");
                assert_eq!(
                    (bulkhead.handle().waiting(), shed.handle().in_flight()),
                    (0, 0),
                    "{how:?}"
                );
            }
        }
        breaker.handle().force_open();
        assert!(service.clone().oneshot(How::Answers).await.is_err());
        breaker.handle().reset();
        service.oneshot(How::Answers).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_outlives_its_layer_is_not_in_flight_in_the_next_one() {
    let recorder = Odd::new(|_, _| {});
    let _recording = metrics::set_default_local_recorder(&recorder);
    // Which place a new layer gets is not said, but it is one of those that became free last.
    for round in 0..20 {
        let name = |layer: &str| format!("{layer}-{round}");
        macro_rules! outlive {
            ($layer:literal, $build:expr) => {{
                let old = $build(name("old"));
                // Made, but not polled before its layer is gone.
                let mut call = pin!(old.layer(work()).call_once(How::Waits));
                drop(old);
                let new = $build(name("new"));
                new.layer(work()).oneshot(How::Waits).await.unwrap();
                assert!(call.as_mut().now_or_never().is_none());
                let in_flight = format!("mainstay_calls_in_flight {} {}", $layer, name("new"));
                assert_eq!(recorder.value(&in_flight), 0.0);
                call.await.unwrap();
                assert_eq!(recorder.value(&in_flight), 0.0);
                let calls = format!("mainstay_calls_total {} {} success", $layer, name("new"));
                assert_eq!(recorder.value(&calls), 1.0);
            }};
        }
        outlive!("bulkhead", |name| BulkheadLayer::builder()
            .name(name)
            .build()
            .unwrap());
        outlive!("circuit_breaker", |name| CircuitBreakerLayer::builder()
            .name(name)
            .build()
            .unwrap());
        outlive!("load_shed", |name| LoadShedLayer::builder()
            .name(name)
            .build()
            .unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_moves_in_while_the_recorder_is_asked_has_metrics_of_its_own() {
    let build = |name: &str| BulkheadLayer::builder().name(name).build().unwrap();
    let layer = Arc::new(Mutex::new(Some(build("leaves"))));
    let recorder = Odd::new({
        let (layer, once) = (Arc::clone(&layer), AtomicBool::new(true));
        move |series, value| {
            let mut layer = layer.lock().unwrap();
            let is_asked = series.contains("leaves") && value.is_none();
            if is_asked && once.swap(false, Ordering::SeqCst) {
                *layer = None;
                // What became free last is used first.
                *layer = Some(build("arrives"));
            }
        }
    });
    let leaving = layer.lock().unwrap().clone().unwrap();
    let mut call = pin!(leaving.layer(work()).call_once(How::Waits));
    drop(leaving);
    let _recording = metrics::set_default_local_recorder(&recorder);
    assert!(call.as_mut().now_or_never().is_none());
    let arrived = layer.lock().unwrap().clone().unwrap();
    assert_eq!(arrived.handle().snapshot().name, "arrives");
    arrived.layer(work()).oneshot(How::Waits).await.unwrap();
    let calls =
        |name: &str| recorder.value(&format!("mainstay_calls_total bulkhead {name} success"));
    assert_eq!((calls("leaves"), calls("arrives")), (0.0, 1.0));
    call.await.unwrap();
    let in_flight =
        |name: &str| recorder.value(&format!("mainstay_calls_in_flight bulkhead {name}"));
    assert_eq!((in_flight("leaves"), in_flight("arrives")), (0.0, 0.0));
}

/// A service that is gone when its one call is made.
trait CallOnce<Req>: Service<Req> + Sized {
    fn call_once(mut self, request: Req) -> Self::Future {
        let ready = self.ready().now_or_never();
        assert!(matches!(ready, Some(Ok(_))));
        self.call(request)
    }
}

impl<S: Service<Req>, Req> CallOnce<Req> for S {}

#[tokio::test(start_paused = true)]
async fn the_state_that_is_shown_last_is_the_state_that_is() {
    let circuit = Arc::new(Mutex::new(None::<CircuitBreakerHandle>));
    let armed = Arc::new(AtomicBool::new(false));
    // In the middle of showing a state, the state changes: by another thread, or by the recorder itself.
    let recorder = Odd::new({
        let (circuit, armed) = (Arc::clone(&circuit), Arc::clone(&armed));
        move |series, value| {
            let is_it = series.ends_with("turns forced_open") && value == Some(1.0);
            if is_it && armed.swap(false, Ordering::SeqCst) {
                let circuit = circuit.lock().unwrap().clone();
                circuit.unwrap().reset();
            }
        }
    });
    let _recording = metrics::set_default_local_recorder(&recorder);
    let layer = CircuitBreakerLayer::builder()
        .name("turns")
        .build()
        .unwrap();
    *circuit.lock().unwrap() = Some(layer.handle());
    layer.layer(work()).oneshot(How::Answers).await.unwrap();
    armed.store(true, Ordering::SeqCst);
    layer.handle().force_open();
    let state = |state: &str| {
        recorder.value(&format!(
            "mainstay_circuit_breaker_state circuit_breaker turns {state}"
        ))
    };
    let states = [
        "closed",
        "open",
        "half_open",
        "recovering",
        "forced_open",
        "forced_closed",
    ];
    assert_eq!(states.map(state), [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
}

#[tokio::test(start_paused = true)]
async fn what_lets_everything_through_has_no_series_whatever_it_rejects() {
    let recorder = Odd::new(|_, _| {});
    let _recording = metrics::set_default_local_recorder(&recorder);
    let breaker = CircuitBreakerLayer::builder().name("passes");
    let breaker = breaker.mode(Mode::Off).build().unwrap();
    let mut service = breaker.layer(work());
    for _ in 0..3 {
        // Without having been asked whether it is ready.
        let rejected = service.call(How::Answers).await.unwrap_err();
        assert_eq!(
            rejected.as_rejection().map(|by| by.reason()),
            Some(Reason::NotReady)
        );
        let _ = service.ready().await.unwrap().call(How::Waits).await;
    }
    assert!(!recorder.has("passes"), "{:#?}", recorder.values);
    assert_eq!(breaker.handle().snapshot().rejections.total(), 3);
}
