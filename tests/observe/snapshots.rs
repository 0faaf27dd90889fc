//! What a snapshot tells.

use std::future::pending;
use std::io;
use std::time::Duration;

use futures::future::join_all;
use mainstay::snapshot::Outcomes;
use mainstay::{
    Backoff, BulkheadLayer, Cause, CircuitBreakerLayer, Jitter, Limit, LoadShedLayer, Mode,
    Outcome, Reason, RetryBudget, RetryCause, RetryLayer, RetryRefused, State, TimeoutLayer,
    Window,
};
use tokio::time::{advance, sleep};
use tower::{Layer, Service, ServiceExt, service_fn};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Takes so many milliseconds, and fails if they are odd.
fn takes() -> impl Service<u64, Response = u64, Error = io::Error, Future: Send> + Clone {
    service_fn(|millis: u64| async move {
        if millis > 0 {
            sleep(ms(millis)).await;
        }
        if millis % 2 == 1 {
            return Err(io::Error::other("odd"));
        }
        Ok(millis)
    })
}

fn counts(outcomes: &Outcomes) -> [u64; 4] {
    [
        outcomes.success,
        outcomes.failure,
        outcomes.ignored,
        outcomes.cancelled,
    ]
}

#[tokio::test(start_paused = true)]
async fn a_circuit_tells_what_happened_and_since_when() {
    let layer = CircuitBreakerLayer::builder()
        .name("payments")
        .window(Window::count(4))
        .min_calls(4)
        .failure_rate(0.5)
        .open_for(secs(5))
        .jitter(0.0)
        .build()
        .unwrap();
    let service = layer.layer(takes());
    let circuit = layer.handle();
    let call = |millis| service.clone().oneshot(millis);
    advance(secs(3)).await;
    let new = circuit.snapshot();
    assert_eq!(
        (new.state, new.since, new.latency),
        (State::Closed, secs(3), None)
    );
    assert_eq!(new.changes, []);

    for millis in [0, 20, 31] {
        let _ = call(millis).await;
    }
    // The caller goes away at once: that says nothing.
    drop(call(40));
    assert!(tokio::time::timeout(ms(5), call(40)).await.is_err());
    let _ = call(51).await;
    for _ in 0..3 {
        assert!(call(0).await.is_err());
    }
    advance(secs(2)).await;
    let open = circuit.snapshot();
    assert_eq!((open.layer, &*open.name), ("circuit_breaker", "payments"));
    assert_eq!((open.state, open.since), (State::Open, secs(2)));
    assert_eq!(open.retry_after, Some(secs(3)));
    assert_eq!(counts(&open.outcomes), [2, 2, 0, 1]);
    assert_eq!(open.outcomes.total(), 5);
    assert_eq!(open.rejections.of(Reason::CircuitOpen), 3);
    assert_eq!(open.rejections.total(), 3);
    // All that had to wait: 5 (given up), 20, 31 and 51 milliseconds.
    let latency = open.latency.unwrap();
    assert_eq!(latency.calls, 4);
    let near = |is: Duration, should: u64| is >= ms(should) && is < ms(should).mul_f64(1.0625);
    assert!(near(latency.p50, 20), "{latency:?}");
    assert!(near(latency.max, 51), "{latency:?}");
    let [change] = &open.changes[..] else {
        panic!("{:?}", open.changes);
    };
    assert_eq!((change.from, change.to), (State::Closed, State::Open));
    assert_eq!((change.cause, change.ago), (Cause::FailureRate, secs(2)));
    assert_eq!((change.calls, change.failures), (4, 2));
    assert_eq!(
        open.to_string(),
        "circuit_breaker payments: open for 2.0 s, 3.0 s left, 0 of 0 calls failed, 0 slow; 2 ok, 2 failed, 0 ignored, 1 cancelled; \
         3 rejected (circuit_open 3); p50 20 ms, p90 51 ms, p99 51 ms, max 51 ms of 4; closed -> open (failure_rate) 2.0 s ago"
    );

    // A minute later there is no latency, and everything else is as it was.
    advance(secs(70)).await;
    let later = circuit.snapshot();
    assert_eq!(later.latency, None);
    assert_eq!(later.outcomes, open.outcomes);
}

#[tokio::test(start_paused = true)]
async fn only_the_newest_changes_are_kept_the_newest_first() {
    let layer = CircuitBreakerLayer::new();
    let circuit = layer.handle();
    for _ in 0..6 {
        circuit.force_open();
        advance(secs(1)).await;
        circuit.reset();
        advance(secs(1)).await;
    }
    let changes = circuit.snapshot().changes;
    assert_eq!(changes.len(), 8);
    let ago: Vec<_> = changes.iter().map(|change| change.ago.as_secs()).collect();
    assert_eq!(ago, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(changes[0].cause, Cause::Reset);
}

#[tokio::test(start_paused = true)]
async fn a_bulkhead_tells_what_is_in_it() {
    let layer = BulkheadLayer::builder()
        .name("stock")
        .limit(2)
        .queue(1, secs(1))
        .build()
        .unwrap();
    let service = layer.layer(takes());
    let calls: Vec<_> = [100, 101, 200, 0]
        .map(|millis| tokio::spawn(service.clone().oneshot(millis)))
        .into();
    sleep(ms(50)).await;
    let busy = layer.handle().snapshot();
    assert_eq!((busy.layer, &*busy.name), ("bulkhead", "stock"));
    assert_eq!((busy.in_flight, busy.limit), (2, Some(2)));
    assert_eq!((busy.waiting, busy.queue_limit), (1, 1));
    assert_eq!(busy.rejections.of(Reason::Full), 1);
    assert_eq!(busy.outcomes.total(), 0);
    join_all(calls).await;
    let over = layer.handle().snapshot();
    assert_eq!((over.in_flight, over.waiting), (0, 0));
    assert_eq!(counts(&over.outcomes), [2, 1, 0, 0]);
    assert_eq!(
        over.to_string(),
        "bulkhead stock: 0 of 2 in flight, 0 waiting; 2 ok, 1 failed, 0 ignored, 0 cancelled; 1 rejected (full 1)"
    );
}

#[tokio::test(start_paused = true)]
async fn a_load_shedder_tells_its_limit_and_latencies() {
    for limit in [Limit::fixed(2), Limit::adaptive()] {
        let layer = LoadShedLayer::builder()
            .limit(limit)
            .name("api")
            .build()
            .unwrap();
        let service = layer.layer(takes());
        for millis in [10, 11, 0] {
            let _ = service.clone().oneshot(millis).await;
        }
        let held = tokio::spawn(service.clone().oneshot(1_000));
        sleep(ms(1)).await;
        let busy = layer.handle().snapshot();
        assert_eq!(
            (busy.layer, &*busy.name, busy.in_flight),
            ("load_shed", "api", 1)
        );
        assert_eq!(busy.limit, layer.handle().limit());
        assert_eq!(counts(&busy.outcomes), [2, 1, 0, 0]);
        assert_eq!(busy.latency.unwrap().calls, 2);
        held.abort();
        let _ = held.await;
        assert_eq!(counts(&layer.handle().snapshot().outcomes), [2, 1, 0, 1]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_as_many_calls_as_it_was() {
    for limit in [
        Limit::fixed(10_000),
        Limit::aimd().initial(10_000).max(20_000).build().unwrap(),
    ] {
        let layer = LoadShedLayer::new(limit);
        let service = layer.layer(takes());
        // Two, because the first one changes how many of the second are taken.
        for burst in [3_000, 3_000] {
            join_all((0..burst).map(|_| service.clone().oneshot(100))).await;
        }
        let latency = layer.handle().snapshot().latency.unwrap();
        // Of the second one, the last of every so many may be missing.
        assert!((5_700..6_300).contains(&latency.calls), "{latency:?}");
    }
}

#[test]
fn a_state_and_the_change_to_it_are_of_one_moment() {
    let layer = CircuitBreakerLayer::new();
    let circuit = layer.handle();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..100_000 {
                circuit.force_open();
                circuit.reset();
            }
            done.store(true, std::sync::atomic::Ordering::SeqCst);
        });
        while !done.load(std::sync::atomic::Ordering::SeqCst) {
            let told = circuit.snapshot();
            if let Some(newest) = told.changes.first() {
                assert_eq!(told.state, newest.to);
                assert_eq!(told.since, newest.ago);
            }
        }
    });
}

#[tokio::test(start_paused = true)]
async fn what_says_nothing_is_counted_as_just_that() {
    let ignored = |result: Result<&u64, &mainstay::Error<io::Error>>| match result {
        Ok(0) => Outcome::Ignored,
        Ok(_) => Outcome::Success,
        Err(_) => Outcome::Failure,
    };
    let breaker = CircuitBreakerLayer::builder().classify(ignored);
    let breaker = breaker.mode(Mode::Shadow).build().unwrap();
    let shed = LoadShedLayer::builder().classify(ignored).build().unwrap();
    let service = breaker.layer(shed.layer(takes()));
    for millis in [0, 0, 0, 2, 2, 1] {
        let _ = service.clone().oneshot(millis).await;
    }
    let breaker = breaker.handle().snapshot();
    assert_eq!(counts(&breaker.outcomes), [2, 1, 3, 0]);
    assert_eq!(counts(&shed.handle().snapshot().outcomes), [2, 1, 3, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_enforces_nothing_still_tells() {
    for mode in [Mode::Shadow, Mode::Off] {
        let layer = CircuitBreakerLayer::builder()
            .consecutive_failures(1)
            .mode(mode)
            .build()
            .unwrap();
        let service = layer.layer(takes());
        for millis in [1, 1, 2, 0] {
            let _ = service.clone().oneshot(millis).await;
        }
        let told = layer.handle().snapshot();
        assert_eq!(counts(&told.outcomes), [2, 2, 0, 0], "{mode}");
        assert_eq!(told.rejections.total(), 0, "{mode}");
        // One that is off takes no time of calls.
        let timed = (mode == Mode::Shadow).then_some(3);
        assert_eq!(told.latency.map(|latency| latency.calls), timed, "{mode}");
        let expected = if mode == Mode::Off {
            State::Closed
        } else {
            State::Open
        };
        assert_eq!(told.state, expected);
        let shown = format!("({mode})");
        assert!(told.to_string().contains(&shown), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_layer_tells_why_and_why_not() {
    let layer = RetryLayer::builder()
        .name("users")
        .attempts(2)
        .budget(RetryBudget::new())
        .backoff(Backoff::constant(ms(10)).jitter(Jitter::None))
        .build()
        .unwrap();
    let service = layer.layer(takes());
    let _ = service.clone().oneshot(1).await;
    let _ = service.clone().oneshot(2).await;
    let told = layer.handle().snapshot();
    assert_eq!((told.layer, &*told.name), ("retry", "users"));
    assert_eq!(told.retries, [(RetryCause::Error, 1)]);
    assert_eq!(told.refused, [(RetryRefused::Attempts, 1)]);
    assert_eq!(
        told.balance,
        layer.handle().budget().map(RetryBudget::balance)
    );
    let balance = told.balance.unwrap();
    assert_eq!(
        told.to_string(),
        format!(
            "retry users: 1 retries (error 1), 1 refused (attempts 1); budget for {balance} more"
        )
    );
}

#[tokio::test(start_paused = true)]
async fn a_time_limit_tells_what_it_ended() {
    let layer = TimeoutLayer::builder()
        .name("slow-ones")
        .timeout(ms(20))
        .build()
        .unwrap();
    let service = layer.layer(service_fn(|()| pending::<io::Result<()>>()));
    for _ in 0..2 {
        let _ = service.clone().oneshot(()).await;
    }
    let told = layer.handle().snapshot();
    assert_eq!(told.rejections.of(Reason::TimedOut), 2);
    assert_eq!(
        told.to_string(),
        "timeout slow-ones: 2 rejected (timed_out 2)"
    );
}

#[tokio::test(start_paused = true)]
async fn a_layer_begins_with_nothing_whoever_was_there_before() {
    for _ in 0..50 {
        let bulkhead = BulkheadLayer::new(1);
        let breaker = CircuitBreakerLayer::new();
        let shed = LoadShedLayer::new(Limit::fixed(1));
        let circuit = breaker.handle();
        assert_eq!(bulkhead.handle().snapshot().outcomes.total(), 0);
        assert_eq!(bulkhead.handle().snapshot().rejections.total(), 0);
        assert_eq!(circuit.snapshot().outcomes.total(), 0);
        assert_eq!(circuit.snapshot().changes, []);
        assert_eq!(
            (circuit.snapshot().latency, shed.handle().snapshot().latency),
            (None, None)
        );
        assert_eq!(shed.handle().snapshot().outcomes.total(), 0);
        let service = bulkhead.layer(breaker.layer(shed.layer(takes())));
        // Two of them outlive their layers.
        let late = tokio::spawn(service.clone().oneshot(1_000));
        sleep(ms(10)).await;
        let _ = service.clone().oneshot(20).await;
        circuit.force_open();
        drop((service, bulkhead, breaker, shed, circuit));
        late.abort();
    }
}

#[test]
fn nothing_is_lost_between_threads() {
    let bulkhead = BulkheadLayer::new(64);
    let breaker = CircuitBreakerLayer::new();
    let shed = LoadShedLayer::new(Limit::fixed(64));
    let service = bulkhead.layer(breaker.layer(shed.layer(takes())));
    std::thread::scope(|scope| {
        for _ in 0..20 {
            let service = service.clone();
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    for _ in 0..1_000 {
                        service.clone().oneshot(0).await.unwrap();
                    }
                });
            });
        }
    });
    let success = |outcomes: Outcomes| outcomes.success;
    assert_eq!(success(bulkhead.handle().snapshot().outcomes), 20_000);
    assert_eq!(success(breaker.handle().snapshot().outcomes), 20_000);
    assert_eq!(success(shed.handle().snapshot().outcomes), 20_000);
}

#[cfg(feature = "serde")]
#[tokio::test(start_paused = true)]
async fn it_can_be_serialized() {
    use serde_json::json;

    let layer = CircuitBreakerLayer::builder().name("json").build().unwrap();
    layer.handle().force_open();
    let _ = layer.layer(takes()).oneshot(0).await;
    advance(ms(1_500)).await;
    let told = serde_json::to_value(layer.handle().snapshot()).unwrap();
    assert_eq!(
        told,
        json!({
            "layer": "circuit_breaker", "name": "json",
            "state": "forced_open", "since_seconds": 1.5, "mode": "enforce",
            "calls": 0, "failures": 0, "slow_calls": 0, "failure_rate": null, "slow_call_rate": null,
            "consecutive_failures": 0, "retry_after_seconds": null, "failed_recoveries": 0, "opened": 0, "probes_in_flight": 0,
            "outcomes": {"success": 0, "failure": 0, "ignored": 0, "cancelled": 0},
            "rejections": {"circuit_open": 1},
            "would_reject": {},
            "latency": null,
            "changes": [{
                "ago_seconds": 1.5, "from": "closed", "to": "forced_open", "cause": "forced",
                "calls": 0, "failures": 0, "slow_calls": 0,
            }],
        })
    );
}

#[cfg(feature = "http")]
#[tokio::test(start_paused = true)]
async fn a_stack_tells_of_all_its_layers() {
    use http::{Request, Response};
    use http_body_util::Full;

    type Body = Full<bytes::Bytes>;
    let answer = service_fn(|_: Request<Body>| async {
        sleep(ms(7)).await;
        Ok::<_, io::Error>(Response::new(Body::default()))
    });
    let get = || Request::new(Body::default());
    let client = mainstay::http::client("inventory")
        .attempt_timeout(ms(500))
        .without_bulkhead()
        .build()
        .unwrap();
    let _ = client.wrap(answer).oneshot(get()).await.unwrap();
    let told = client.snapshot();
    assert!(told.bulkhead.is_none());
    assert_eq!(told.circuit_breaker.as_ref().unwrap().outcomes.success, 1);
    let lines: Vec<_> = told.to_string().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 4, "{lines:#?}");
    assert!(lines[0].starts_with("timeout inventory: "), "{lines:#?}");
    assert!(
        lines[3].starts_with("attempt_timeout inventory: "),
        "{lines:#?}"
    );

    let server = mainstay::http::server("shop").build().unwrap();
    let infallible = answer.map_err(|error| -> std::convert::Infallible { panic!("{error}") });
    let _ = server.layer(infallible).oneshot(get()).await.unwrap();
    let told = server.snapshot();
    assert_eq!(told.load_shed.unwrap().latency.unwrap().calls, 1);
    assert_eq!(told.bulkhead.unwrap().in_flight, 0);
}

#[cfg(feature = "http")]
#[tokio::test(start_paused = true)]
async fn a_call_whose_body_was_dropped_took_as_long_as_its_head() {
    use http::{Request, Response};
    use http_body_util::{BodyExt, Empty, StreamBody};

    type Frame = Result<http_body::Frame<bytes::Bytes>, io::Error>;
    let stream = service_fn(|_: Request<Empty<bytes::Bytes>>| async {
        sleep(ms(50)).await;
        let endless = futures::stream::pending::<Frame>();
        Ok::<_, io::Error>(Response::new(StreamBody::new(endless)))
    });
    let get = || Request::new(Empty::new());
    let shed = mainstay::grpc::load_shed().build().unwrap();
    let breaker = mainstay::grpc::circuit_breaker().build().unwrap();
    let response = breaker.layer(shed.layer(stream)).oneshot(get()).await;
    let mut body = response.unwrap().into_body();
    assert!(tokio::time::timeout(secs(1), body.frame()).await.is_err());
    let open = shed.handle().snapshot();
    assert_eq!(
        (open.in_flight, open.streaming, open.outcomes.total()),
        (0, 1, 0)
    );
    drop(body);
    let (shed, breaker) = (shed.handle().snapshot(), breaker.handle().snapshot());
    assert_eq!(counts(&shed.outcomes), [0, 0, 0, 1]);
    assert_eq!(counts(&breaker.outcomes), [0, 0, 0, 1]);
    let latency = shed.latency.unwrap();
    assert_eq!(latency.calls, 1);
    assert!(latency.max >= ms(50) && latency.max < ms(52), "{latency:?}");
    assert_eq!(breaker.latency, Some(latency));
}
