//! The standard stacks of any request type: their order, names and numbers, seen from outside.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use mainstay::stack::{AnyClient, AnyServer, Carried, NoRetry};
use mainstay::{
    Backoff, BulkheadLayer, Carry, CircuitBreakerLayer, Classify, Context, CorrelationLayer,
    Decision, Error, ErrorsFail, Event, EventKind, Jitter, Limit, LoadShedLayer, Outcome,
    Rejection, RetryBuilder, RetryLayer, RetryPolicy, RetryRefused, State, TimeoutLayer, Verdict,
};
use tower::util::BoxCloneService;
use tower::{Service, ServiceExt as _, service_fn};

use crate::upstream::{ms, secs};

/// A request that can neither be cloned nor carry anything.
#[derive(Debug)]
struct Query(&'static str);

/// A request that carries the context.
#[derive(Debug, Clone, Default)]
struct Frame(BTreeMap<String, String>);

impl Frame {
    fn with(field: &str, value: &str) -> Self {
        Self([(field.to_owned(), value.to_owned())].into())
    }
}

impl Carry for Frame {
    fn get(&self, field: &str) -> Option<&[u8]> {
        self.0.get(field).map(String::as_bytes)
    }

    fn set(&mut self, field: &str, value: &str) {
        self.0.insert(field.to_owned(), value.to_owned());
    }
}

async fn call<S, Req>(service: &S, request: Req) -> Result<S::Response, S::Error>
where
    S: Service<Req> + Clone,
{
    service.clone().oneshot(request).await
}

/// Who rejected a call, and why.
fn by<T: std::fmt::Debug>(result: Result<T, Error<io::Error>>) -> String {
    match result.unwrap_err() {
        Error::Rejected(rejection) => shown(&rejection),
        Error::Inner(error) => error.kind().to_string(),
    }
}

fn shown(rejection: &Rejection) -> String {
    let (layer, name, reason) = (rejection.layer(), rejection.name(), rejection.reason());
    format!("{layer} `{name}` {reason}")
}

fn failed() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

/// Without jitter, so that it can be said when an attempt is sent.
fn steady(attempts: u32, wait: u64) -> RetryBuilder {
    let backoff = Backoff::constant(ms(wait)).jitter(Jitter::None);
    RetryLayer::builder().attempts(attempts).backoff(backoff)
}

#[tokio::test(start_paused = true)]
async fn requests_of_any_type_go_through_them() {
    let client = mainstay::client("cache").build().unwrap();
    let server = mainstay::server("jobs").build().unwrap();
    let answer = async |Query(text): Query| Ok::<_, io::Error>(text.len());
    let service = client.wrap(server.wrap(service_fn(answer)));
    assert_eq!(call(&service, Query("four")).await.unwrap(), 4);
}

/// Each by its name, as a program keeps it.
#[derive(Clone)]
struct Kept {
    cache: AnyClient<BoxCloneService<String, String, io::Error>>,
    queue: AnyClient<BoxCloneService<Frame, (), io::Error>, NoRetry, ErrorsFail, Carried>,
    jobs: AnyServer<BoxCloneService<String, String, io::Error>>,
}

#[tokio::test(start_paused = true)]
async fn they_can_be_named_and_kept() {
    let echo = || BoxCloneService::new(service_fn(async |text: String| Ok::<_, io::Error>(text)));
    let frames = BoxCloneService::new(service_fn(async |_: Frame| Ok::<_, io::Error>(())));
    let queue = mainstay::client("queue").propagate(CorrelationLayer::client());
    let kept = Kept {
        cache: mainstay::client("cache").build().unwrap().wrap(echo()),
        queue: queue.build().unwrap().wrap(frames),
        jobs: mainstay::server("jobs").build().unwrap().wrap(echo()),
    };
    let kept = kept.clone();
    assert_eq!(call(&kept.cache, "a".to_owned()).await.unwrap(), "a");
    assert_eq!(call(&kept.jobs, "b".to_owned()).await.unwrap(), "b");
    call(&kept.queue, Frame::default()).await.unwrap();
}

#[test]
fn they_describe_themselves_whatever_order_the_methods_are_called_in() {
    let client = mainstay::client("cache")
        .attempt_timeout(ms(300))
        .bulkhead(64)
        .retry(steady(2, 20))
        .propagate(CorrelationLayer::client())
        .timeout(secs(1))
        .build()
        .unwrap();
    assert_eq!(
        client.to_string(),
        "client `cache`\n  \
           correlation     fields = x-correlation-id x-request-id\n  \
           timeout         timeout = 1s\n  \
           retry           attempts = 2, backoff = constant 20ms, no jitter, \
                           budget = 0.2 of the requests, at least 10 a second, over 10s, replay_limit = 65536\n  \
           rate_limit      off\n  \
           circuit_breaker failure_rate = 0.5, min_calls = 20, window = 10s, open_for = 5s to 60s, \
                           probes = 3, probe_life = 10s\n  \
           bulkhead        limit = 64, queue = none\n  \
           attempt_timeout timeout = 300ms\n  \
           deadline        field = x-request-timeout-ms"
    );
    let layers = |stack: mainstay::stack::Description| -> Vec<(String, bool)> {
        let layers = stack.layers().iter();
        layers.map(|l| (l.layer().to_owned(), l.is_on())).collect()
    };
    let plain = mainstay::client("cache").build().unwrap();
    let off = [
        "correlation",
        "retry",
        "rate_limit",
        "attempt_timeout",
        "deadline",
    ];
    for (layer, is_on) in layers(plain.describe()) {
        assert_eq!(is_on, !off.contains(&layer.as_str()), "{layer}");
    }
    let server = mainstay::server("jobs")
        .propagate(CorrelationLayer::consumer())
        .ignore_inbound_deadline()
        .build()
        .unwrap();
    assert_eq!(
        server.to_string(),
        "server `jobs`\n  \
           correlation     fields = x-correlation-id x-request-id\n  \
           timeout         timeout = 30s, ignore_inbound = true\n  \
           rate_limit      off\n  \
           load_shed       limit = adaptive (scheduler lag)\n  \
           bulkhead        limit = none, queue = none"
    );
}

#[test]
fn an_error_names_the_instance_and_the_setting() {
    let said = |error: mainstay::ConfigError| {
        assert_eq!(error.name(), Some("cache"));
        error.to_string()
    };
    let client = || mainstay::client("cache");
    let server = || mainstay::server("cache");
    let zero = client().bulkhead(0).build().unwrap_err();
    assert!(said(zero).starts_with("bulkhead `cache`: limit = 0 is refused"));
    let long = client().timeout(secs(2)).attempt_timeout(secs(5));
    assert_eq!(
        said(long.build().unwrap_err()),
        "client `cache`: attempt_timeout = 5s is refused: must be at most timeout, which is 2s: \
         it could never end an attempt; 2s would fit 1 attempt"
    );
    let retry = client().retry(101).build().unwrap_err();
    assert!(said(retry).starts_with("retry `cache`: attempts = 101"));
    let never = server().timeout(secs(100_000)).build().unwrap_err();
    assert!(said(never).starts_with("timeout `cache`: timeout = 100000s"));
    let queue = BulkheadLayer::builder().limit(3).queue(3, secs(3));
    let queue = server().timeout(secs(2)).bulkhead(queue).build();
    assert!(said(queue.unwrap_err()).starts_with("server `cache`: bulkhead.queue.max_wait = 3s"));
    let nothing = server().load_shed(Limit::fixed(0)).build().unwrap_err();
    assert!(said(nothing).contains("`cache`: limit = 0 is refused"));

    let name = mainstay::client("a b").build().unwrap_err();
    assert_eq!((name.component(), name.field()), ("client", "name"));
    let never_shed = mainstay::server("jobs")
        .load_shed(Limit::fixed(9))
        .bulkhead(3)
        .build()
        .unwrap();
    assert_eq!(never_shed.describe().warnings().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_circuit_sees_each_attempt_and_the_retry_respects_it() {
    let calls = &AtomicU32::new(0);
    let stack = mainstay::client("cache")
        .circuit_breaker(CircuitBreakerLayer::builder().consecutive_failures(2))
        .retry(steady(5, 100))
        .build()
        .unwrap();
    let service = stack.wrap(service_fn(async |_: u32| {
        calls.fetch_add(1, Ordering::SeqCst);
        Err::<u32, _>(failed())
    }));
    let began = tokio::time::Instant::now();
    let result = call(&service, 1).await;
    assert_eq!(by(result), "circuit_breaker `cache` circuit_open");
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    assert_eq!(began.elapsed(), ms(200));
    assert_eq!(stack.circuit_breaker().state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn attempts_that_hang_are_ended_and_retried_within_the_time_for_the_call() {
    let calls = &AtomicU32::new(0);
    let hang = service_fn(async |_: u32| {
        calls.fetch_add(1, Ordering::SeqCst);
        std::future::pending::<Result<u32, io::Error>>().await
    });
    let stack = mainstay::client("cache").attempt_timeout(ms(300));
    let service = stack.retry(steady(3, 100)).build().unwrap().wrap(hang);
    let began = tokio::time::Instant::now();
    assert_eq!(
        by(call(&service, 1).await),
        "attempt_timeout `cache` timed_out"
    );
    assert_eq!(
        (calls.load(Ordering::SeqCst), began.elapsed()),
        (3, ms(1100))
    );

    // Without an attempt limit one that hangs takes the time of the call.
    let service = mainstay::client("cache").timeout(ms(500)).retry(3);
    let service = service.build().unwrap().wrap(hang);
    let began = tokio::time::Instant::now();
    assert_eq!(by(call(&service, 1).await), "timeout `cache` timed_out");
    assert_eq!(
        (calls.load(Ordering::SeqCst), began.elapsed()),
        (4, ms(500))
    );
    // By default it is 30 seconds, and it can be left out.
    let service = mainstay::client("cache").build().unwrap().wrap(hang);
    let began = tokio::time::Instant::now();
    assert_eq!(by(call(&service, 1).await), "timeout `cache` timed_out");
    assert_eq!(began.elapsed(), secs(30));
    let service = mainstay::client("cache").without_timeout();
    let service = service.build().unwrap().wrap(hang);
    let day = tokio::time::timeout(secs(86_400), call(&service, 1)).await;
    assert!(day.is_err());
    let within = Context::current().with_timeout(secs(1));
    let within = within.scope(call(&service, 1));
    assert_eq!(by(within.await), "timeout `cache` timed_out");
}

/// Repeats what may be repeated.
struct Reads;

impl RetryPolicy<Query, u32, Error<io::Error>> for Reads {
    type Kept = &'static str;

    fn keep(&self, Query(text): &mut Query, _: usize) -> Option<&'static str> {
        text.starts_with("get").then_some(*text)
    }

    fn decide(&self, _: &Self::Kept, result: Result<&u32, &Error<io::Error>>, _: u32) -> Decision {
        if result.is_ok() {
            Decision::Return
        } else {
            Decision::Retry
        }
    }

    fn again(&self, text: &mut Self::Kept, _: u32) -> Result<Query, RetryRefused> {
        Ok(Query(text))
    }
}

/// A wrong request says nothing of the service, and 13 is no answer.
struct NoThirteen;

impl Classify<u32, Error<io::Error>> for NoThirteen {
    fn classify(&self, result: Result<&u32, &Error<io::Error>>) -> Verdict {
        match result {
            Err(Error::Inner(error)) if error.kind() == io::ErrorKind::InvalidInput => {
                Outcome::Ignored.into()
            }
            Err(_) | Ok(13) => Outcome::Failure.into(),
            Ok(_) => Outcome::Success.into(),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_and_a_classifier_of_ones_own() {
    let calls: &'static AtomicU32 = Box::leak(Box::default());
    let upstream = service_fn(async |Query(text): Query| {
        calls.fetch_add(1, Ordering::SeqCst);
        match text {
            "set wrong" => Err(io::ErrorKind::InvalidInput.into()),
            "get 13" => Ok(13),
            _ => Err(failed()),
        }
    });
    let retry = || steady(3, 10).policy(Reads);
    let trips = || CircuitBreakerLayer::builder().consecutive_failures(2);
    let closure = |result: Result<&u32, &Error<io::Error>>| NoThirteen.classify(result);
    // In either order, and as a type or as a closure.
    let one = mainstay::client("db").classifier(NoThirteen).retry(retry());
    let two = mainstay::client("db").retry(retry()).classify(closure);
    let one = one.circuit_breaker(trips()).build().unwrap();
    let two = two.circuit_breaker(trips()).build().unwrap();
    let services = [
        BoxCloneService::new(one.wrap(upstream)),
        BoxCloneService::new(two.wrap(upstream)),
    ];
    for (service, circuit) in services
        .iter()
        .zip([one.circuit_breaker(), two.circuit_breaker()])
    {
        calls.store(0, Ordering::SeqCst);
        for _ in 0..3 {
            assert_eq!(
                by(call(service, Query("set wrong")).await),
                "invalid input parameter"
            );
        }
        assert_eq!(
            (calls.load(Ordering::SeqCst), circuit.state()),
            (3, State::Closed)
        );
        for _ in 0..2 {
            assert_eq!(call(service, Query("get 13")).await.unwrap(), 13);
        }
        assert_eq!(circuit.state(), State::Open);
        circuit.reset();
        assert_eq!(by(call(service, Query("set 1")).await), "connection reset");
        assert_eq!(calls.load(Ordering::SeqCst), 6);
        circuit.reset();
        assert_eq!(
            by(call(service, Query("get 1")).await),
            "circuit_breaker `db` circuit_open"
        );
        assert_eq!(calls.load(Ordering::SeqCst), 8);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_rejects_with_its_name_and_its_own_error_grows() {
    let hang = || service_fn(|(): ()| std::future::pending::<Result<u32, Infallible>>());
    let two = async |service: BoxCloneService<(), u32, Rejection>| {
        let (one, two) = tokio::join!(call(&service, ()), call(&service, ()));
        [shown(&one.unwrap_err()), shown(&two.unwrap_err())]
    };
    let server = || mainstay::server("jobs").timeout(ms(50));
    let stack = server().load_shed(Limit::fixed(1)).build().unwrap();
    let service = BoxCloneService::new(stack.wrap(hang()));
    assert_eq!(
        two(service).await,
        ["timeout `jobs` timed_out", "load_shed `jobs` shed"]
    );
    let stack = server().bulkhead(1).build().unwrap();
    let service = BoxCloneService::new(stack.wrap(hang()));
    assert_eq!(
        two(service).await,
        ["timeout `jobs` timed_out", "bulkhead `jobs` full"]
    );
    let queue = BulkheadLayer::builder().limit(1).queue(1, ms(20));
    let stack = server().bulkhead(queue).build().unwrap();
    let service = BoxCloneService::new(stack.wrap(hang()));
    assert_eq!(
        two(service).await,
        ["timeout `jobs` timed_out", "bulkhead `jobs` queue_timeout"]
    );
    // What is outside is asked first: a shed request takes no place in the queue.
    let stack = server()
        .bulkhead(1)
        .load_shed(LoadShedLayer::builder().limit(Limit::fixed(1)));
    let service = BoxCloneService::new(stack.build().unwrap().wrap(hang()));
    assert_eq!(
        two(service).await,
        ["timeout `jobs` timed_out", "load_shed `jobs` shed"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_carries_its_context_from_a_client_to_a_server() {
    let seen: Arc<Mutex<Vec<_>>> = Arc::default();
    let told = Arc::clone(&seen);
    let server = mainstay::server("jobs").propagate(CorrelationLayer::consumer());
    let server = server.build().unwrap().wrap(service_fn(move |_: Frame| {
        let context = Context::current();
        let id = context.correlation_id().map(ToString::to_string);
        told.lock().unwrap().push((id, context.remaining()));
        async { Err::<u32, _>(failed()) }
    }));
    // As over a network: a task of its own has nothing but what the frame carries.
    let server = service_fn(async |frame: Frame| {
        let answer = tokio::spawn(server.clone().oneshot(frame)).await.unwrap();
        answer.map_err(|error| error.into_inner().unwrap())
    });
    let client = || mainstay::client("queue").retry(steady(2, 100));
    let carries = client()
        .timeout(secs(1))
        .propagate(CorrelationLayer::client());
    let carries = carries.build().unwrap().wrap(server);
    let frame = Frame::with("x-correlation-id", "order-4711");
    assert_eq!(by(call(&carries, frame.clone()).await), "connection reset");
    let id = Some("order-4711".to_owned());
    let expected = [(id.clone(), Some(ms(1000))), (id.clone(), Some(ms(900)))];
    assert_eq!(*seen.lock().unwrap(), expected);

    // What is written, attempt by attempt.
    let fields = &Mutex::new(Vec::new());
    let upstream = service_fn(async |frame: Frame| {
        let field = |name: &str| frame.0.get(name).cloned();
        let written = (field("x-request-timeout-ms"), field("x-correlation-id"));
        fields.lock().unwrap().push(written);
        Err::<u32, _>(failed())
    });
    let carries = client()
        .timeout(secs(1))
        .propagate(CorrelationLayer::client());
    let carries = carries.build().unwrap().wrap(upstream);
    drop(call(&carries, frame.clone()).await);
    let ms = |millis: &str| Some(millis.to_owned());
    assert_eq!(
        std::mem::take(&mut *fields.lock().unwrap()),
        [(ms("1000"), id.clone()), (ms("900"), id.clone())]
    );
    // A default that nobody set is not written, and nothing is where the context is not propagated.
    let default = client().propagate(CorrelationLayer::client());
    drop(call(&default.build().unwrap().wrap(upstream), frame.clone()).await);
    let plain = client().timeout(secs(1)).build().unwrap().wrap(upstream);
    drop(call(&plain, Frame::default()).await);
    assert_eq!(
        *fields.lock().unwrap(),
        [(None, id.clone()), (None, id), (None, None), (None, None)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_ends_a_request_when_its_caller_has_no_time_left() {
    let hang = || service_fn(|_: Frame| std::future::pending::<Result<u32, Infallible>>());
    let server = || mainstay::server("jobs").propagate(CorrelationLayer::consumer());
    let took = async |stack: mainstay::stack::AnyServerBuilder<ErrorsFail, Carried>, left: &str| {
        let service = stack.build().unwrap().wrap(hang());
        let began = tokio::time::Instant::now();
        let frame = Frame::with("x-request-timeout-ms", left);
        let rejection = call(&service, frame).await.unwrap_err();
        (shown(&rejection), began.elapsed())
    };
    let timed_out = || "timeout `jobs` timed_out".to_owned();
    assert_eq!(took(server(), "250").await, (timed_out(), ms(250)));
    assert_eq!(took(server(), "1").await, (timed_out(), ms(10)));
    assert_eq!(took(server(), "nonsense").await, (timed_out(), secs(30)));
    let late = "timeout `jobs` deadline_passed".to_owned();
    assert_eq!(took(server(), "0").await, (late, ms(0)));
    let longer = server().timeout(ms(100));
    assert_eq!(took(longer, "250").await, (timed_out(), ms(100)));
    let strangers = || server().ignore_inbound_deadline();
    assert_eq!(took(strangers(), "250").await, (timed_out(), secs(30)));
    let builder = TimeoutLayer::builder().timeout(secs(2));
    assert_eq!(
        took(strangers().timeout(builder), "0").await,
        (timed_out(), secs(2))
    );
}

#[tokio::test(start_paused = true)]
async fn they_tell_their_observer_and_have_snapshots() {
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&told);
    let stack = mainstay::client("cache")
        .observer(move |event: &Event| {
            if let EventKind::Settled { outcome, .. } = event.kind() {
                let text = format!("{} {} {outcome}", event.layer(), event.name());
                seen.lock().unwrap().push(text);
            }
        })
        .build()
        .unwrap();
    let service = stack.wrap(service_fn(async |_: u32| Ok::<_, io::Error>(1)));
    call(&service, 1).await.unwrap();
    let mut told = std::mem::take(&mut *told.lock().unwrap());
    told.sort();
    assert_eq!(
        told,
        ["bulkhead cache success", "circuit_breaker cache success"]
    );

    let snapshot = stack.snapshot();
    assert_eq!(snapshot.circuit_breaker.as_ref().unwrap().name, "cache");
    assert!(snapshot.timeout.is_some() && snapshot.bulkhead.is_some());
    // What is not in the stack is not in its snapshot.
    assert!(snapshot.retry.is_none() && snapshot.attempt_timeout.is_none());
    assert_eq!(snapshot.to_string().lines().count(), 3);
    let with = mainstay::client("cache").retry(2).without_bulkhead();
    let snapshot = with.build().unwrap().snapshot();
    assert!(snapshot.retry.is_some() && snapshot.bulkhead.is_none());
    let server = mainstay::server("jobs")
        .without_load_shed()
        .build()
        .unwrap();
    let snapshot = server.snapshot();
    assert!(snapshot.load_shed.is_none() && snapshot.bulkhead.is_some());
}

#[tokio::test(start_paused = true)]
async fn clones_and_services_share_one_state() {
    let stack = mainstay::client("cache").bulkhead(1).build().unwrap();
    let hang = || service_fn(|_: u32| std::future::pending::<Result<u32, io::Error>>());
    let (one, two) = (stack.wrap(hang()), stack.clone().wrap(hang()));
    let mut first = Box::pin(call(&one, 1));
    assert!(futures::poll!(&mut first).is_pending());
    assert_eq!(stack.bulkhead().in_flight(), 1);
    assert_eq!(by(call(&two, 1).await), "bulkhead `cache` full");
    drop(first);
    assert_eq!(stack.bulkhead().in_flight(), 0);
}
