//! What a circuit in shadow mode says of the calls that it would have rejected.

use std::io;
use std::sync::{Arc, Mutex};

use mainstay::circuit_breaker::CircuitBreakerBuilder;
use mainstay::{CircuitBreakerLayer, Error, EventKind, Mode, Reason, Rejection, State};
use metrics_exporter_prometheus::PrometheusBuilder;
use tower::{Layer, ServiceExt as _};
use tracing_subscriber::fmt::MakeWriter;

use crate::common::keep_second_subscriber;
use crate::support::{Act, Probe, recorder, secs, send, start};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn take(&self) -> Vec<String> {
        let text = String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap();
        let lines = text.lines().map(|line| line.trim().to_owned());
        lines.filter(|line| line.contains("would")).collect()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn builder() -> CircuitBreakerBuilder {
    CircuitBreakerLayer::builder()
        .consecutive_failures(5)
        .jitter(0.0)
        .probes(1)
}

fn would_reject(events: &[EventKind]) -> Vec<Rejection> {
    let events = events.iter().filter_map(|event| match event {
        EventKind::WouldReject(rejection) => Some(rejection.clone()),
        _ => None,
    });
    events.collect()
}

#[tokio::test(start_paused = true)]
async fn it_says_so_in_events_metrics_log_and_snapshot() {
    let recording = PrometheusBuilder::new().build_recorder();
    let prometheus = recording.handle();
    let _recording = metrics::set_default_local_recorder(&recording);
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .with_writer(lines.clone());
    keep_second_subscriber();
    let _logging = tracing::subscriber::set_default(subscriber.finish());

    let (observer, told) = recorder();
    let layer = builder()
        .name("shadowed")
        .mode(Mode::Shadow)
        .observer(observer)
        .build()
        .unwrap();
    let (circuit, probe) = (layer.handle(), Probe::default());
    let mut service = layer.layer(probe.clone());
    let count = || {
        let series = r#"mainstay_would_reject_total{layer="circuit_breaker",name="shadowed",reason="circuit_open"} "#;
        let scraped = prometheus.render();
        let value = scraped.lines().find_map(|line| line.strip_prefix(series));
        value.map(|value| value.parse::<u64>().unwrap())
    };

    for _ in 0..5 {
        let _ = send(&mut service, Act::Fail).await;
    }
    assert_eq!((circuit.state(), count()), (State::Open, Some(0)));
    assert_eq!(circuit.snapshot().would_reject.total(), 0);
    for n in 0..20 {
        let act = if n % 2 == 0 { Act::Ok } else { Act::Fail };
        assert!(!matches!(
            send(&mut service, act).await,
            Err(Error::Rejected(_))
        ));
    }

    // The same number in all four, and the calls are in the books as the ones that they were.
    let snapshot = circuit.snapshot();
    assert_eq!(snapshot.would_reject.of(Reason::CircuitOpen), 20);
    assert_eq!(snapshot.rejections.total(), 0);
    assert_eq!(
        (snapshot.outcomes.success, snapshot.outcomes.failure),
        (10, 15)
    );
    assert_eq!(snapshot.outcomes.total(), u64::from(probe.calls()));
    assert!(
        snapshot.to_string().contains(", 20 would be rejected"),
        "{snapshot}"
    );
    assert_eq!(count(), Some(20));
    let events = would_reject(&told.lock().unwrap());
    assert_eq!(events.len(), 20);
    for rejection in events {
        assert_eq!(
            (rejection.layer(), rejection.name()),
            ("circuit_breaker", "shadowed")
        );
        assert_eq!(rejection.reason(), Reason::CircuitOpen);
        assert_eq!(rejection.retry_after(), Some(secs(5)));
    }
    let first = r#"INFO call would be rejected layer="circuit_breaker" name="shadowed" reason="circuit_open" retry_after_ms=5000 would_reject=1"#;
    assert_eq!(lines.take(), [first]);
    assert_eq!(circuit.state(), State::Open);

    // A second later the rest is summed up.
    tokio::time::advance(secs(1)).await;
    let _ = send(&mut service, Act::Ok).await;
    let summed = lines.take();
    assert!(
        summed[0].ends_with("retry_after_ms=4000 would_reject=20"),
        "{summed:?}"
    );

    // What comes while the only probe is under way would be rejected without a hint.
    tokio::time::advance(secs(4)).await;
    let held = start(&service, Act::OkAfter(secs(1))).await;
    assert_eq!(circuit.state(), State::HalfOpen);
    let _ = send(&mut service, Act::Ok).await;
    assert_eq!(would_reject(&told.lock().unwrap())[21].retry_after(), None);
    held.await.unwrap().unwrap();
    assert_eq!(circuit.state(), State::Closed);
    let _ = send(&mut service, Act::Ok).await;
    assert_eq!(
        (count(), circuit.snapshot().would_reject.total()),
        (Some(22), 22)
    );

    // By hand, too.
    circuit.force_open();
    let _ = send(&mut service, Act::Ok).await;
    assert_eq!(
        (count(), circuit.snapshot().would_reject.total()),
        (Some(23), 23)
    );
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_enforces_rejects_and_one_that_is_off_does_nothing() {
    for (mode, rejected) in [(Mode::Enforce, 10), (Mode::Off, 0)] {
        let (observer, told) = recorder();
        let layer = builder().mode(mode).observer(observer).build().unwrap();
        let mut service = layer.layer(Probe::default());
        for _ in 0..15 {
            let _ = send(&mut service, Act::Fail).await;
        }
        let snapshot = layer.handle().snapshot();
        assert_eq!(snapshot.would_reject.total(), 0, "{mode}");
        assert_eq!(snapshot.rejections.total(), rejected, "{mode}");
        assert!(would_reject(&told.lock().unwrap()).is_empty());
    }
}

#[tokio::test]
async fn an_event_reads_well() {
    let shown = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&shown);
    let layer = builder()
        .name("shown")
        .mode(Mode::Shadow)
        .observer(move |event: &mainstay::Event| lines.lock().unwrap().push(event.to_string()))
        .build()
        .unwrap();
    layer.handle().force_open();
    let _ = layer.layer(Probe::default()).oneshot(Act::Ok).await;
    let shown = shown.lock().unwrap();
    assert_eq!(
        shown[1],
        "circuit_breaker shown: would reject (circuit_open)"
    );
}
