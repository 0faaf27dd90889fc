//! What the layers log.
#![cfg(feature = "tracing")]

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use mainstay::registry::Registry;
use mainstay::{
    BulkheadLayer, CircuitBreakerLayer, CorrelationLayer, Limit, LoadShedLayer, RetryBudget,
    RetryLayer, TimeoutLayer,
};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_http::trace::{DefaultMakeSpan, TraceLayer};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Level, Metadata, Subscriber, info};
use tracing_subscriber::fmt::MakeWriter;

use crate::common::keep_second_subscriber;

/// Lines as they are logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// Those that were logged since this was asked last.
    fn take(&self) -> Vec<String> {
        // The registry of the process warns of a name that a test in another thread has, too.
        let mut lines = self.take_all();
        lines.retain(|line| !line.contains("two instances have the same name"));
        lines
    }

    fn take_all(&self) -> Vec<String> {
        let text = std::mem::take(&mut *self.0.lock().unwrap());
        let text = String::from_utf8(text).unwrap();
        text.lines().map(|line| line.trim().to_owned()).collect()
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

/// What is logged in this thread from now on.
fn logged(level: Level) -> (Lines, DefaultGuard) {
    logged_by(level, false)
}

/// The same, and the target of each line if asked for.
fn logged_by(level: Level, target: bool) -> (Lines, DefaultGuard) {
    keep_second_subscriber();
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .with_target(target)
        .without_time()
        .with_writer(lines.clone())
        .finish();
    (lines, tracing::subscriber::set_default(subscriber))
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
async fn a_circuit_that_opens_is_a_warning() {
    // Seen where only warnings are, too.
    for level in [Level::WARN, Level::INFO, Level::DEBUG] {
        let (lines, _logged) = logged(level);
        let layer = CircuitBreakerLayer::builder()
            .name("circuit-log")
            .consecutive_failures(2)
            .probes(1)
            .jitter(0.0);
        let layer = layer.build().unwrap();
        let mut service = layer.layer(service_fn(fails(9)));
        for call in 0..2 {
            let _ = service.ready().await.unwrap().call(call).await;
        }
        let line = |level: &str, from: &str, to: &str, rest: &str| {
            format!(
                "{level} circuit changed layer=\"circuit_breaker\" name=\"circuit-log\" from=\"{from}\" to=\"{to}\" {rest}"
            )
        };
        let counts =
            |calls: u32, failures: u32| format!("calls={calls} failures={failures} slow_calls=0");
        let opened = format!(
            "cause=\"consecutive_failures\" {} open_for_ms=5000",
            counts(2, 2)
        );
        assert_eq!(lines.take(), [line("WARN", "closed", "open", &opened)]);

        tokio::time::advance(Duration::from_secs(5)).await;
        service.ready().await.unwrap().call(9).await.unwrap();
        let half_open = format!("cause=\"open_time_over\" {}", counts(0, 0));
        let closed = format!("cause=\"probes_succeeded\" {}", counts(1, 0));
        let mut expected = vec![
            line("DEBUG", "open", "half_open", &half_open),
            line("INFO", "half_open", "closed", &closed),
        ];
        expected.retain(|line| line.split(' ').next().unwrap().parse::<Level>().unwrap() <= level);
        assert_eq!(lines.take(), expected);

        layer.handle().force_open();
        layer.handle().force_closed();
        let levels: Vec<_> = lines
            .take()
            .iter()
            .map(|line| line[..4].to_owned())
            .collect();
        let expected = if level == Level::WARN {
            &["WARN"][..]
        } else {
            &["WARN", "INFO"]
        };
        assert_eq!(levels, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn the_target_is_the_crate_and_the_layer() {
    let (lines, _logged) = logged_by(Level::DEBUG, true);
    let targets = || -> Vec<String> {
        let target = |line: String| {
            let words = line.split_whitespace();
            let target = words.into_iter().find(|word| word.starts_with("mainstay"));
            target.unwrap().trim_end_matches(':').to_owned()
        };
        lines.take().into_iter().map(target).collect()
    };
    let hangs = service_fn(|()| std::future::pending::<io::Result<()>>());
    let breaker = CircuitBreakerLayer::builder()
        .name("targets")
        .build()
        .unwrap();
    breaker.handle().force_open();
    let _ = breaker.layer(hangs).oneshot(()).await;
    assert_eq!(targets(), ["mainstay::circuit_breaker"; 2]);

    // Each has a name that no other test uses: what instances of one name log is summed up.
    let bulkhead = BulkheadLayer::builder().name("targets").limit(1);
    let bulkhead = bulkhead.build().unwrap();
    let held = tokio::spawn(bulkhead.layer(hangs).oneshot(()));
    tokio::task::yield_now().await;
    let _ = bulkhead.layer(hangs).oneshot(()).await;
    held.abort();
    assert_eq!(targets(), ["mainstay::bulkhead"]);

    let shed = LoadShedLayer::builder().name("targets");
    let shed = shed.limit(Limit::fixed(1)).build().unwrap();
    let held = tokio::spawn(shed.layer(hangs).oneshot(()));
    tokio::task::yield_now().await;
    let _ = shed.layer(hangs).oneshot(()).await;
    held.abort();
    assert_eq!(targets(), ["mainstay::load_shed"]);

    let timeout = TimeoutLayer::builder().name("targets");
    let timeout = timeout.timeout(Duration::from_millis(5)).build().unwrap();
    let _ = timeout.layer(hangs).oneshot(()).await;
    assert_eq!(targets(), ["mainstay::timeout"]);

    let retry = RetryLayer::builder().name("targets").attempts(2);
    let mut service = retry.build().unwrap().layer(service_fn(fails(9)));
    let _ = service.ready().await.unwrap().call(1).await;
    assert_eq!(targets(), ["mainstay::retry"; 2]);

    let retry = mainstay::http::retry().without_budget();
    mainstay::http::client("targets")
        .retry(retry)
        .build()
        .unwrap();
    assert_eq!(targets(), ["mainstay::stack"]);
}

#[test]
fn two_instances_of_one_name_are_a_warning() {
    let (lines, _logged) = logged_by(Level::WARN, true);
    let registry = Registry::new();
    let build = || {
        let client = mainstay::client("twice").registry(&registry);
        client.build().unwrap()
    };
    let first = build();
    assert_eq!(lines.take_all(), [""; 0]);
    let second = build();
    let expected = "WARN mainstay::registry: two instances have the same name name=\"twice\" \
                    layers=\"timeout circuit_breaker bulkhead\"";
    assert_eq!(lines.take_all(), [expected]);
    // Once, and again only after the name was unique.
    let third = build();
    assert_eq!(lines.take_all(), [""; 0]);
    drop((first, second));
    let fourth = build();
    assert_eq!(lines.take_all(), [expected]);
    drop((third, fourth));

    let other = BulkheadLayer::builder().name("twice").limit(1);
    registry.add(other.build().unwrap().handle());
    let _first = build();
    assert_eq!(lines.take_all(), [""; 0], "the bulkhead is gone");
}

#[tokio::test(start_paused = true)]
async fn rejections_are_summed_up() {
    let (lines, _logged) = logged(Level::INFO);
    let layer = BulkheadLayer::builder()
        .name("storm")
        .limit(1)
        .build()
        .unwrap();
    let held = tokio::spawn(
        layer
            .layer(service_fn(|()| std::future::pending::<io::Result<()>>()))
            .oneshot(()),
    );
    tokio::task::yield_now().await;
    let rejected = async |calls: u32| {
        for _ in 0..calls {
            let _ = layer
                .layer(service_fn(|()| async { Ok::<_, io::Error>(()) }))
                .oneshot(())
                .await;
        }
    };
    let line = |rejections: u32| {
        format!(
            "INFO call rejected layer=\"bulkhead\" name=\"storm\" reason=\"full\" rejections={rejections}"
        )
    };
    rejected(100).await;
    assert_eq!(lines.take(), [line(1)]);
    tokio::time::advance(Duration::from_secs(1)).await;
    rejected(50).await;
    assert_eq!(lines.take(), [line(100)]);
    tokio::time::advance(Duration::from_millis(999)).await;
    rejected(1).await;
    assert!(lines.take().is_empty());
    held.abort();
}

#[tokio::test(start_paused = true)]
async fn retries_are_summed_up() {
    let (lines, _logged) = logged(Level::INFO);
    let layer = RetryLayer::builder()
        .name("flood")
        .attempts(3)
        .without_budget()
        .backoff(
            mainstay::Backoff::exponential(Duration::from_millis(100))
                .jitter(mainstay::Jitter::None),
        );
    let layer = layer.build().unwrap();
    let mut service = layer.layer(service_fn(fails(9)));
    let line = |attempt: u32, delay: u32, retries: u32| {
        format!(
            "INFO call is retried layer=\"retry\" name=\"flood\" attempt={attempt} delay_ms={delay} \
             cause=\"error\" retries={retries}"
        )
    };
    // Each takes 300 ms, and retries at its beginning and 100 ms later.
    for told in [vec![line(2, 100, 1)], vec![], vec![], vec![line(3, 200, 7)]] {
        let _ = service.ready().await.unwrap().call(1).await;
        assert_eq!(lines.take(), told);
    }
}

#[tokio::test(start_paused = true)]
async fn each_retry_and_what_was_refused() {
    let (lines, _logged) = logged(Level::DEBUG);
    let budget = RetryBudget::builder().build().unwrap();
    let layer = RetryLayer::builder()
        .name("retry-log")
        .attempts(2)
        .budget(budget)
        .backoff(
            mainstay::Backoff::constant(Duration::from_millis(20)).jitter(mainstay::Jitter::None),
        );
    let mut service = layer.build().unwrap().layer(service_fn(fails(9)));
    let _ = service.ready().await.unwrap().call(1).await;
    assert_eq!(
        lines.take(),
        [
            "INFO call is retried layer=\"retry\" name=\"retry-log\" attempt=2 delay_ms=20 cause=\"error\" retries=1",
            "DEBUG call is not retried layer=\"retry\" name=\"retry-log\" reason=\"attempts\"",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_layer_without_state_says_it_too() {
    let (lines, _logged) = logged(Level::INFO);
    let layer = TimeoutLayer::builder()
        .name("slow-log")
        .timeout(Duration::from_millis(5));
    let service = layer
        .build()
        .unwrap()
        .layer(service_fn(|()| std::future::pending::<io::Result<()>>()));
    let _ = service.oneshot(()).await;
    assert_eq!(
        lines.take(),
        [
            "INFO call ended layer=\"timeout\" name=\"slow-log\" reason=\"timed_out\" limit=\"layer\" limit_ms=5 rejections=1"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_said_below_the_level() {
    let (lines, _logged) = logged(Level::WARN);
    let layer = TimeoutLayer::builder()
        .name("quiet")
        .timeout(Duration::from_millis(5));
    let service = layer
        .build()
        .unwrap()
        .layer(service_fn(|()| std::future::pending::<io::Result<()>>()));
    let _ = service.oneshot(()).await;
    assert!(lines.take().is_empty());
}

#[test]
fn what_is_unwise_about_a_stack_is_logged_once() {
    let (lines, _logged) = logged(Level::WARN);
    let retry = mainstay::http::retry().without_budget();
    let stack = mainstay::http::client("payments")
        .retry(retry)
        .build()
        .unwrap();
    let _clones = (stack.clone(), stack.clone());
    let [line] = &lines.take()[..] else { panic!() };
    assert!(
        line.starts_with(
            "WARN retry.without_budget: when every attempt fails, retries multiply the load by 3"
        ),
        "{line}"
    );
    assert!(
        line.contains("stack=\"payments\" kind=\"http client\""),
        "{line}"
    );
}

/// Says when it is called, polled and dropped; fails once it has been polled twice.
struct Chatty {
    polled: bool,
}

impl Future for Chatty {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        info!("polled");
        if std::mem::replace(&mut self.polled, true) {
            return Poll::Ready(Err(io::Error::other("broken")));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Chatty {
    fn drop(&mut self) {
        info!("dropped");
    }
}

fn chatty(attempts: u32, name: &str) -> impl Service<(), Future = impl Future> {
    let layer = RetryLayer::builder().name(name).attempts(attempts);
    layer.build().unwrap().layer(service_fn(|()| {
        info!("called");
        Chatty { polled: false }
    }))
}

#[tokio::test(start_paused = true)]
async fn what_an_attempt_logs_says_which_one_it_is() {
    let (lines, _logged) = logged(Level::INFO);
    chatty(2, "spans").call(()).await;
    let inside = |attempt: u32, what: &str| {
        format!("INFO attempt{{layer=\"retry\" instance=\"spans\" attempt={attempt}}}: {what}")
    };
    let said = lines.take();
    let (first, rest) = said.split_at(4);
    let (retried, second) = rest.split_first().unwrap();
    assert!(
        retried.starts_with("INFO call is retried"),
        "in no attempt: {retried}"
    );
    for (attempt, said) in [(1, first), (2, second)] {
        let expected = ["called", "polled", "polled", "dropped"];
        assert_eq!(said, expected.map(|what| inside(attempt, what)));
    }
    // Given up.
    let mut call = Box::pin(chatty(2, "spans").call(()));
    assert!(futures::poll!(&mut call).is_pending());
    drop(call);
    assert_eq!(
        lines.take(),
        ["called", "polled", "dropped"].map(|what| inside(1, what))
    );
}

#[tokio::test(start_paused = true)]
async fn without_retries_there_is_no_attempt_to_speak_of() {
    let (lines, _logged) = logged(Level::INFO);
    chatty(1, "once").call(()).await;
    assert_eq!(
        lines.take(),
        ["called", "polled", "polled", "dropped"].map(|what| format!("INFO {what}"))
    );
    // Inside of another one, it is that one's.
    let inner = RetryLayer::builder().name("inner").attempts(1);
    let service =
        RetryLayer::builder()
            .name("outer")
            .build()
            .unwrap()
            .layer(inner.build().unwrap().layer(service_fn(|()| {
                info!("called");
                std::future::ready(Ok::<_, io::Error>(()))
            })));
    service.oneshot(()).await.unwrap();
    assert_eq!(
        lines.take(),
        ["INFO attempt{layer=\"retry\" instance=\"outer\" attempt=1}: called"]
    );
}

/// Counts spans. It wants those of nobody below the level.
struct Spans(Arc<AtomicUsize>, Level);

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.1
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // As one says that wants details of something else.
        Some(LevelFilter::TRACE)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(self.0.fetch_add(1, Ordering::Relaxed) as u64 + 1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &tracing::Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test(start_paused = true)]
async fn a_span_is_made_only_for_those_who_want_it() {
    for (level, spans) in [(Level::INFO, 3), (Level::WARN, 0)] {
        let made = Arc::new(AtomicUsize::new(0));
        let subscriber = Spans(Arc::clone(&made), level);
        keep_second_subscriber();
        let _logged = tracing::subscriber::set_default(subscriber);
        chatty(3, "wanted").call(()).await;
        assert_eq!(made.load(Ordering::Relaxed), spans, "{level}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_span_of_a_request_names_the_stack_that_it_came_to() {
    let (lines, _logged) = logged(Level::INFO);
    let said = |request: http::Request<Empty<Bytes>>| {
        info!("said");
        std::future::ready(Ok::<_, io::Error>(http::Response::new(request.into_body())))
    };
    let request = || {
        let request = http::Request::get("/").header("x-correlation-id", "order-4711");
        request.body(Empty::<Bytes>::new()).unwrap()
    };
    let stack = mainstay::http::client("payments").build().unwrap();
    let _ = stack.wrap(service_fn(said)).oneshot(request()).await;
    let by_itself = CorrelationLayer::client().layer(service_fn(said));
    let _ = by_itself.oneshot(request()).await;
    assert_eq!(
        lines.take(),
        [
            "INFO client{correlation_id=order-4711 instance=\"payments\"}:attempt{layer=\"retry\" instance=\"payments\" attempt=1}: said",
            "INFO client{correlation_id=order-4711}: said",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn no_two_spans_of_a_request_have_the_same_name() {
    let (lines, _logged) = logged(Level::INFO);
    let payments = mainstay::http::client("payments").build().unwrap();
    let payments = payments.wrap(service_fn(async |_: http::Request<Empty<Bytes>>| {
        info!("said");
        Ok::<_, io::Error>(http::Response::new(Empty::<Bytes>::new()))
    }));
    let orders = mainstay::http::server("orders").build().unwrap();
    let orders = orders.wrap(service_fn(move |request: http::Request<Empty<Bytes>>| {
        let call = payments.clone().oneshot(request);
        async { Ok::<_, std::convert::Infallible>(call.await.unwrap()) }
    }));
    let traced = TraceLayer::new_for_http()
        .make_span_with(DefaultMakeSpan::new().level(Level::INFO))
        .layer(orders);
    let request = http::Request::get("/").header("x-correlation-id", "order-4711");
    let _ = traced.oneshot(request.body(Empty::new()).unwrap()).await;
    assert_eq!(
        lines.take(),
        [
            "INFO request{method=GET uri=/ version=HTTP/1.1}:server{correlation_id=order-4711 instance=\"orders\"}:\
             attempt{layer=\"retry\" instance=\"payments\" attempt=1}: said",
        ]
    );
    let consumer = CorrelationLayer::consumer().layer(service_fn(async |_: http::Request<()>| {
        info!("said");
        Ok::<_, io::Error>(())
    }));
    let request = http::Request::get("/").header("x-correlation-id", "order-4711");
    consumer.oneshot(request.body(()).unwrap()).await.unwrap();
    assert_eq!(
        lines.take(),
        ["INFO consumer{correlation_id=order-4711}: said"]
    );
}
