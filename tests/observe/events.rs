//! What the layers tell, and that whoever listens can do no harm.

use std::error::Error as _;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant as WallClock};

use crate::support::{
    Act, Broken, Probe, ms, reason, recorder, rejected, secs, send, send_caught, settle, start,
};
use mainstay::bulkhead::{Bulkhead, Queued};
use mainstay::{
    Backoff, BoxError, BulkheadLayer, CircuitBreakerLayer, Context, Error, Event, EventKind, Limit,
    LoadShedLayer, OnCancel, Outcome, Reason, Rejection, RetryLayer, TimeoutLayer,
};
use tokio::time::{advance, timeout};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

/// The payload of a panic that panics whenever it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        std::panic::panic_any(Self);
    }
}

// --- One story, the same names

/// By which instance of which layer an observer was told of which rejection.
type Told = Arc<Mutex<Vec<(String, Rejection)>>>;

/// An observer that remembers it.
fn told_of() -> (impl Fn(&Event) + Send + Sync + 'static, Told) {
    let list = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&list);
    let observer = move |event: &Event| {
        if let EventKind::Rejected(rejection) = event.kind() {
            let by = format!("{} {}", event.layer(), event.name());
            told.lock().unwrap().push((by, rejection.clone()));
        }
    };
    (observer, list)
}

#[tokio::test(start_paused = true)]
async fn every_rejection_is_told_of_under_the_name_it_carries() {
    let mut seen = Vec::new();
    let mut compare = |list: &Mutex<Vec<(String, Rejection)>>, rejection: Rejection| {
        let by = format!("{} {}", rejection.layer(), rejection.name());
        assert!(
            rejection.to_string().contains(rejection.layer()),
            "{rejection}"
        );
        assert!(
            rejection.to_string().contains(rejection.name()),
            "{rejection}"
        );
        assert_eq!(*list.lock().unwrap(), [(by.clone(), rejection)]);
        seen.push(by);
    };

    let (observer, list) = told_of();
    let layer = CircuitBreakerLayer::builder()
        .name("a")
        .observer(observer)
        .build()
        .unwrap();
    layer.handle().force_open();
    compare(
        &list,
        rejected(send(&mut layer.layer(Probe::default()), Act::Ok).await),
    );

    let (observer, list) = told_of();
    let layer = BulkheadLayer::builder()
        .name("b")
        .limit(1)
        .observer(observer)
        .build()
        .unwrap();
    let _hung = start(&layer.layer(Probe::default()), Act::Hang).await;
    compare(
        &list,
        rejected(send(&mut layer.layer(Probe::default()), Act::Ok).await),
    );

    let (observer, list) = told_of();
    let layer = BulkheadLayer::builder()
        .name("c")
        .limit(1)
        .queue(1, ms(1))
        .observer(observer);
    let layer = layer.build().unwrap();
    let _hung = start(&layer.layer(Probe::default()), Act::Hang).await;
    compare(
        &list,
        rejected(send(&mut layer.layer(Probe::default()), Act::Ok).await),
    );

    let (observer, list) = told_of();
    let limit = Limit::fixed(1);
    let layer = LoadShedLayer::builder()
        .name("d")
        .limit(limit)
        .observer(observer)
        .build()
        .unwrap();
    let _hung = start(&layer.layer(Probe::default()), Act::Hang).await;
    compare(
        &list,
        rejected(send(&mut layer.layer(Probe::default()), Act::Ok).await),
    );

    let (observer, list) = told_of();
    let layer = TimeoutLayer::builder()
        .name("e")
        .observer(observer)
        .build()
        .unwrap();
    compare(
        &list,
        rejected(send(&mut layer.layer(Probe::default()), Act::Hang).await),
    );

    let (observer, list) = told_of();
    let layer = RetryLayer::builder()
        .name("f")
        .retry_if(|_: &Act, _: Result<&u32, &Error<Broken>>| true)
        .observer(observer)
        .build()
        .unwrap();
    let probe = Probe::default();
    let call = start(&layer.layer(probe.clone()), Act::Ok).await;
    probe.set_ready(false);
    compare(&list, rejected(call.await.unwrap()));

    assert_eq!(
        seen,
        [
            "circuit_breaker a",
            "bulkhead b",
            "bulkhead c",
            "load_shed d",
            "timeout e",
            "retry f"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_latency_is_told_where_it_is_taken() {
    let (observer, told) = recorder();
    let layer = CircuitBreakerLayer::builder()
        .slow_calls(secs(1), 0.5)
        .observer(observer)
        .build()
        .unwrap();
    let mut service = layer.layer(Probe::default());
    send(&mut service, Act::OkAfter(ms(250))).await.unwrap();
    assert!(send(&mut service, Act::FailAfter(ms(30))).await.is_err());
    assert!(
        timeout(ms(40), send(&mut service, Act::Hang))
            .await
            .is_err()
    );
    let told: Vec<_> = told
        .lock()
        .unwrap()
        .iter()
        .map(|event| match *event {
            EventKind::Settled {
                outcome, latency, ..
            } => (outcome, latency),
            ref other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        told,
        [
            (Outcome::Success, Some(ms(250))),
            (Outcome::Failure, Some(ms(30))),
            (Outcome::Cancelled, Some(ms(40)))
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_rejection_is_found_behind_any_error_and_says_when_to_come_back() {
    let layer = CircuitBreakerLayer::builder()
        .name("payments")
        .consecutive_failures(1)
        .jitter(0.0)
        .build()
        .unwrap();
    let buffer = tower::buffer::Buffer::new(layer.layer(Probe::default()), 4);
    let mut service = ServiceBuilder::new()
        .map_err(|e: BoxError| std::io::Error::other(e))
        .service(buffer);
    assert!(send(&mut service, Act::Fail).await.is_err());
    let error = send(&mut service, Act::Ok).await.unwrap_err();
    let found = Rejection::find(&error).unwrap();
    assert_eq!(
        (found.name(), found.reason()),
        ("payments", Reason::CircuitOpen)
    );
    assert_eq!(found.retry_after(), Some(secs(5)));
    assert_eq!(
        found.to_string(),
        "circuit_breaker `payments`: the circuit is open, retry after 5s"
    );
}

#[tokio::test(start_paused = true)]
async fn ten_layers_deep_the_error_is_flat_and_its_source_intact() {
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(secs(9)))
        .layer(RetryLayer::new())
        .layer(CircuitBreakerLayer::new())
        .layer(BulkheadLayer::new(9))
        .layer(LoadShedLayer::new(Limit::adaptive()))
        .layer(TimeoutLayer::new(secs(9)))
        .layer(RetryLayer::new())
        .layer(CircuitBreakerLayer::new())
        .layer(BulkheadLayer::new(9))
        .layer(LoadShedLayer::on_readiness())
        .service(Probe::default());
    let error: Error<Broken> = send(&mut service, Act::Fail).await.unwrap_err();
    assert_eq!(
        error.source().unwrap().downcast_ref::<Broken>(),
        Some(&Broken)
    );
    assert_eq!(error, Error::Inner(Broken));
}

// --- Gauges

#[tokio::test(start_paused = true)]
async fn gauges_read_what_is_true_after_cancellations_panics_and_changes_of_state() {
    let queued = BulkheadLayer::builder()
        .limit(2)
        .queue(4, secs(3))
        .build()
        .unwrap();
    let bulkhead = BulkheadLayer::new(5);
    let load_shed = LoadShedLayer::new(Limit::adaptive());
    let breaker = CircuitBreakerLayer::builder()
        .consecutive_failures(3)
        .probes(2)
        .on_cancel(OnCancel::Ignore)
        .build()
        .unwrap();
    let circuit = breaker.handle();
    let probe = Probe::default();
    let service = ServiceBuilder::new()
        .layer(load_shed.clone())
        .layer(bulkhead.clone())
        .layer(breaker)
        .layer(queued.clone())
        .service(probe.clone());
    let acts = [
        Act::Ok,
        Act::Hang,
        Act::Fail,
        Act::Panic,
        Act::OkAfter(ms(700)),
        Act::PanicInCall,
        Act::FailAfter(ms(200)),
    ];
    let calls = (0..700_usize).map(|n| {
        let (service, act) = (service.clone(), acts[n % acts.len()]);
        async move {
            tokio::time::sleep(ms(n as u64 * 137 % 60_000)).await;
            let _ = timeout(ms(n as u64 * 13 % 1_500), send_caught(&service, act)).await;
        }
    });
    let watcher = async {
        for _ in 0..6_000 {
            tokio::time::sleep(ms(10)).await;
            assert!(
                probe.in_flight() <= queued.handle().in_flight(),
                "a call without a place"
            );
            assert!(
                queued.handle().in_flight() + queued.handle().waiting()
                    <= bulkhead.handle().in_flight()
            );
            assert!(bulkhead.handle().in_flight() <= load_shed.handle().in_flight());
        }
    };
    tokio::join!(futures::future::join_all(calls), watcher);
    assert!(circuit.snapshot().opened > 3, "{:?}", circuit.snapshot());
    assert_eq!(
        (
            load_shed.handle().in_flight(),
            bulkhead.handle().in_flight()
        ),
        (0, 0)
    );
    assert_eq!(
        (queued.handle().in_flight(), queued.handle().waiting()),
        (0, 0)
    );
    assert_eq!(
        (circuit.snapshot().probes_in_flight, probe.in_flight()),
        (0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn the_state_that_is_told_last_is_the_state_that_is() {
    let (observer, told) = recorder();
    let layer = CircuitBreakerLayer::builder()
        .consecutive_failures(1)
        .probes(1)
        .observer(observer)
        .build()
        .unwrap();
    let circuit = layer.handle();
    let watch = circuit.watch();
    let mut service = layer.layer(Probe::default());
    let mut last = circuit.state();
    for n in 0..200_u64 {
        let act = if n % 3 == 0 { Act::Fail } else { Act::Ok };
        let _ = send(&mut service, act).await;
        advance(secs(n % 7)).await;
        for event in told.lock().unwrap().drain(..) {
            if let EventKind::Transition(transition) = event {
                assert_eq!(transition.from, last, "no change is left out");
                last = transition.to;
            }
        }
        assert_eq!(
            (circuit.state(), watch.state(), circuit.snapshot().state),
            (last, last, last)
        );
    }
}

// --- Subscriptions

fn busy_bulkhead() -> (BulkheadLayer, Bulkhead<Probe>) {
    let layer = BulkheadLayer::builder()
        .name("busy")
        .limit(1)
        .build()
        .unwrap();
    let service = layer.layer(Probe::default());
    (layer, service)
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_holds_up_nothing_and_knows_what_it_missed() {
    let (layer, mut service) = busy_bulkhead();
    let mut events = layer.handle().events();
    for n in 0..1_000 {
        let act = if n < 900 { Act::Ok } else { Act::Fail };
        let _ = send(&mut service, act).await;
    }
    let kept: Vec<_> = std::iter::from_fn(|| events.try_recv()).collect();
    assert_eq!((kept.len(), events.missed()), (256, 744));
    let failed = |event: &Event| {
        matches!(
            event.kind(),
            EventKind::Settled {
                outcome: Outcome::Failure,
                ..
            }
        )
    };
    assert_eq!(
        kept.iter().filter(|event| failed(event)).count(),
        100,
        "the newest are kept"
    );
}

#[tokio::test(start_paused = true)]
async fn an_event_is_one_line() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let observer = || {
        let lines = Arc::clone(&lines);
        move |event: &Event| lines.lock().unwrap().push(event.to_string())
    };
    let took = |millis| {
        service_fn(move |result: Result<(), Broken>| async move {
            tokio::time::sleep(ms(millis)).await;
            result
        })
    };
    let circuit = CircuitBreakerLayer::builder()
        .name("payments")
        .min_calls(2)
        .slow_calls(ms(100), 0.9)
        .open_for(secs(5))
        .jitter(0.0)
        .observer(observer());
    let circuit = circuit.build().unwrap();
    let _ = circuit.layer(took(150)).oneshot(Ok(())).await;
    for _ in 0..2 {
        let _ = circuit.layer(took(50)).oneshot(Err(Broken)).await;
    }
    let stock = BulkheadLayer::builder().name("stock").limit(1);
    let stock = stock.observer(observer()).build().unwrap();
    let _ = tokio::join!(
        stock.layer(took(1)).oneshot(Ok(())),
        stock.layer(took(1)).oneshot(Ok(()))
    );
    let retry = RetryLayer::builder()
        .name("users")
        .attempts(2)
        .backoff(Backoff::constant(ms(20)).jitter(mainstay::Jitter::None));
    let retry = retry.observer(observer()).build().unwrap();
    let _ = retry.layer(took(1)).oneshot(Err(Broken)).await;
    let limit = TimeoutLayer::builder().name("mail").timeout(ms(5));
    let limit = limit.observer(observer()).build().unwrap();
    let _ = limit.layer(took(9)).oneshot(Ok(())).await;
    assert_eq!(
        *lines.lock().unwrap(),
        [
            "circuit_breaker payments: success after 150ms, slow",
            "circuit_breaker payments: closed -> open (failure_rate: 1 of 2 failed, 1 slow)",
            "circuit_breaker payments: failure after 50ms",
            "circuit_breaker payments: rejected (circuit_open, retry after 5s)",
            "bulkhead stock: rejected (full)",
            "bulkhead stock: success",
            "retry users: attempt 2 in 20ms (error)",
            "retry users: not retried (attempts)",
            "timeout mail: ended (timed_out)",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_subscription_hears_what_follows_and_then_the_end() {
    let (layer, mut service) = busy_bulkhead();
    send(&mut service, Act::Ok).await.unwrap();
    let (mut one, mut two) = (layer.handle().events(), layer.handle().events());
    assert!(one.try_recv().is_none());
    assert!(timeout(secs(1), one.recv()).await.is_err(), "nothing yet");
    assert!(send(&mut service, Act::Fail).await.is_err());
    for events in [&mut one, &mut two] {
        let event = events.recv().await.unwrap();
        assert_eq!((event.layer(), event.name()), ("bulkhead", "busy"));
        assert!(matches!(
            event.kind(),
            EventKind::Settled {
                outcome: Outcome::Failure,
                ..
            }
        ));
    }
    drop(layer);
    assert!(
        timeout(secs(1), one.recv()).await.is_err(),
        "a service is still there"
    );
    drop(service);
    assert!(one.recv().await.is_none());
    assert!(two.try_recv().is_none());
}

// --- Observers are guests

/// One service of each kind that is told to tell this observer, ready to reject and to fail.
fn observed(
    observer: impl Fn(&Event) + Clone + Send + Sync + 'static,
) -> (
    impl Service<Act, Response = u32, Error = Error<Broken>, Future: Send> + Clone + Send + 'static,
    BulkheadLayer<Queued>,
) {
    let queued = BulkheadLayer::builder()
        .limit(2)
        .queue(2, ms(20))
        .observer(observer.clone())
        .build()
        .unwrap();
    let service = ServiceBuilder::new()
        .layer(
            TimeoutLayer::builder()
                .timeout(secs(2))
                .observer(observer.clone())
                .build()
                .unwrap(),
        )
        .layer(
            RetryLayer::builder()
                .backoff(Backoff::constant(ms(1)))
                .observer(observer.clone())
                .build()
                .unwrap(),
        )
        .layer(
            CircuitBreakerLayer::builder()
                .observer(observer.clone())
                .build()
                .unwrap(),
        )
        .layer(
            LoadShedLayer::builder()
                .limit(Limit::fixed(4))
                .observer(observer)
                .build()
                .unwrap(),
        )
        .layer(queued.clone())
        .service(Probe::default());
    (service, queued)
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_panics_harms_no_layer() {
    let told = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&told);
    let (mut service, queued) = observed(move |_: &Event| {
        if count.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
            panic!("a bad observer")
        }
        std::panic::panic_any(Bomb)
    });
    assert!(send(&mut service, Act::Ok).await.is_ok());
    assert!(matches!(
        send(&mut service, Act::Fail).await,
        Err(Error::Inner(Broken))
    ));
    // While a panic of the service itself unwinds, too.
    assert!(send_caught(&service, Act::Panic).await.is_err());
    assert!(send_caught(&service, Act::PanicInCall).await.is_err());
    assert!(timeout(ms(1), send(&mut service, Act::Hang)).await.is_err());
    let hung = [
        start(&service, Act::Hang).await,
        start(&service, Act::Hang).await,
    ];
    assert_eq!(
        reason(send(&mut service, Act::Ok).await),
        Reason::QueueTimeout
    );
    for call in hung {
        assert_eq!(reason(call.await.unwrap()), Reason::TimedOut);
    }
    assert_eq!(
        (queued.handle().in_flight(), queued.handle().waiting()),
        (0, 0)
    );
    assert!(send(&mut service, Act::Ok).await.is_ok());
    assert!(told.load(Ordering::SeqCst) > 20);
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_reads_the_layers_does_not_deadlock() {
    let layers = Arc::new(std::sync::OnceLock::<BulkheadLayer<Queued>>::new());
    let reads = Arc::new(AtomicU32::new(0));
    let (read, count) = (Arc::clone(&layers), Arc::clone(&reads));
    let (mut service, queued) = observed(move |_: &Event| {
        let queued = read.get().unwrap();
        let _ = (
            queued.handle().in_flight(),
            queued.handle().waiting(),
            format!("{queued:?}"),
            queued.handle().events(),
        );
        count.fetch_add(1, Ordering::SeqCst);
    });
    layers.set(queued).unwrap();
    let hung = [
        start(&service, Act::Hang).await,
        start(&service, Act::Hang).await,
    ];
    assert_eq!(
        reason(send(&mut service, Act::Ok).await),
        Reason::QueueTimeout
    );
    for call in hung {
        call.abort();
    }
    settle().await;
    assert!(send(&mut service, Act::Fail).await.is_err());
    assert!(reads.load(Ordering::SeqCst) > 5);
}

#[test]
fn an_observer_that_blocks_does_not_make_calls_wait_for_each_other() {
    let blocks = |_: &Event| std::thread::sleep(ms(50));
    let bulkhead = BulkheadLayer::builder()
        .limit(100)
        .observer(blocks)
        .build()
        .unwrap();
    let limit = Limit::fixed(100);
    let load_shed = LoadShedLayer::builder()
        .limit(limit)
        .observer(blocks)
        .build()
        .unwrap();
    let service = ServiceBuilder::new()
        .layer(load_shed)
        .layer(bulkhead)
        .service(Probe::default());
    let began = WallClock::now();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let mut service = service.clone();
            scope.spawn(move || futures::executor::block_on(send(&mut service, Act::Ok)).unwrap());
        }
    });
    let took = began.elapsed();
    assert!(
        took >= ms(100) && took < ms(400),
        "{took:?} for 8 calls at once, told of twice each"
    );
}

// --- Types

#[tokio::test(start_paused = true)]
async fn a_closure_that_is_not_clone_makes_layers_and_services_that_are() {
    struct NotClone(AtomicU32);
    let asked = Arc::new(NotClone(AtomicU32::new(0)));
    let count = Arc::clone(&asked);
    let not_clone = NotClone(AtomicU32::new(0));
    let breaker = CircuitBreakerLayer::builder()
        .classify(move |result: Result<&u32, &Error<Broken>>| {
            not_clone.0.fetch_add(1, Ordering::SeqCst);
            count.0.fetch_add(1, Ordering::SeqCst);
            if result.is_ok() {
                Outcome::Success
            } else {
                Outcome::Failure
            }
        })
        .build()
        .unwrap();
    let not_clone = NotClone(AtomicU32::new(0));
    let retry = RetryLayer::builder()
        .retry_if(move |_: &Act, _: Result<&u32, &Error<Broken>>| {
            not_clone.0.fetch_add(1, Ordering::SeqCst) > 9
        })
        .build()
        .unwrap();
    let not_clone = NotClone(AtomicU32::new(60));
    let time = TimeoutLayer::per_request(move |_: &Act| {
        Some(Duration::from_secs(
            not_clone.0.load(Ordering::SeqCst).into(),
        ))
    });
    let service = ServiceBuilder::new()
        .layer(time.clone())
        .layer(retry.clone())
        .layer(breaker.clone())
        .service(Probe::default());
    for _ in 0..3 {
        assert!(send(&mut service.clone(), Act::Ok).await.is_ok());
    }
    assert_eq!(asked.0.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn an_infallible_service_grows_a_rejection_and_nothing_else() {
    let inner =
        service_fn(|()| async { Ok::<_, std::convert::Infallible>(Context::current().attempt()) });
    let mut service = BulkheadLayer::new(0).layer(inner);
    let rejection: Rejection = service.ready().await.unwrap().call(()).await.unwrap_err();
    assert_eq!(rejection.reason(), Reason::Full);
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_blocks_and_panics_holds_up_nothing_and_knows_what_it_missed() {
    let layer = BulkheadLayer::new(0);
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let heard = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&heard);
    let listening = layer.handle().events().listen(move |event| {
        assert!(matches!(event.kind(), EventKind::Rejected(_)));
        // Blocks at the first event, until all calls are over.
        let _ = wait.recv();
        assert!(
            counted.fetch_add(1, Ordering::SeqCst).is_multiple_of(2),
            "it may panic"
        );
    });
    let service = layer.layer(service_fn(|()| async { Ok::<_, io::Error>(()) }));
    for _ in 0..1_000 {
        assert!(service.clone().oneshot(()).await.is_err());
    }
    drop((service, layer, go));
    let missed = listening.unwrap().join().unwrap();
    let heard = u64::from(heard.load(Ordering::SeqCst));
    assert_eq!(heard + missed, 1_000, "{heard} heard, {missed} missed");
    assert!(heard <= 257, "{heard} heard");
}

#[test]
fn a_listener_that_panics_with_a_payload_that_panics_hears_the_next_event() {
    let layer = BulkheadLayer::new(0);
    let heard = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&heard);
    let listening = layer.handle().events().listen(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        std::panic::panic_any(Bomb);
    });
    let service = layer.layer(service_fn(|()| async { Ok::<_, io::Error>(()) }));
    for _ in 0..3 {
        let call = service.clone().oneshot(());
        assert!(futures::executor::block_on(call).is_err());
    }
    drop((service, layer));
    assert_eq!(listening.unwrap().join().unwrap(), 0);
    assert_eq!(heard.load(Ordering::SeqCst), 3);
}
