//! What outlives what, and who hears of it: cases in which layers, calls and watchers meet in unusual orders.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use http_body_util::Full;
use mainstay::{
    BoxError, BulkheadLayer, CircuitBreakerLayer, Decision, Error, Event, EventKind, Outcome,
    RetryBudget, RetryLayer, State, TimeoutLayer,
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

/// Does something when it is woken.
type Slot = Mutex<Option<Box<dyn FnOnce() + Send>>>;
struct OnWake(Slot);
impl Wake for OnWake {
    fn wake(self: Arc<Self>) {
        let act = self.0.lock().unwrap().take();
        if let Some(act) = act {
            act()
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_cut_off_by_its_deadline_is_told_with_its_true_latency() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let layer = CircuitBreakerLayer::builder()
        .observer(move |event: &Event| {
            if let EventKind::Settled {
                outcome, latency, ..
            } = event.kind()
            {
                sink.lock().unwrap().push((*outcome, *latency));
            }
        })
        .build()
        .unwrap();
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(Duration::from_millis(50)))
        .layer(layer)
        .service(service_fn(|()| async {
            pending::<()>().await;
            Ok::<(), io::Error>(())
        }));
    service.ready().await.unwrap().call(()).await.unwrap_err();
    let seen = seen.lock().unwrap();
    assert_eq!(
        *seen,
        [(Outcome::Cancelled, Some(Duration::from_millis(50)))]
    );
}

#[tokio::test]
async fn a_transition_is_not_told_to_the_circuit_that_comes_after() {
    let layer = CircuitBreakerLayer::builder()
        .name("old")
        .consecutive_failures(1)
        .build()
        .unwrap();
    let mut service = layer.layer(service_fn(|()| async {
        Err::<(), _>(io::Error::other("x"))
    }));
    let handle = layer.handle();
    let mut watch = handle.watch();
    let call = service.ready().await.unwrap().call(());
    let told = Arc::new(Mutex::new(Vec::<String>::new()));
    let sink = Arc::clone(&told);
    let keep: Arc<Mutex<Option<CircuitBreakerLayer>>> = Arc::default();
    let keep2 = Arc::clone(&keep);
    let waker: Waker = Arc::new(OnWake(Mutex::new(Some(Box::new(move || {
        drop((layer, handle, service)); // the circuit is gone; the call lives on
        *keep2.lock().unwrap() = Some(
            CircuitBreakerLayer::builder()
                .name("new")
                .observer(move |event: &Event| {
                    sink.lock()
                        .unwrap()
                        .push(format!("{}: {:?}", event.name(), event.kind()))
                })
                .build()
                .unwrap(),
        );
    })))))
    .into();
    let mut changed = pin!(watch.changed());
    assert!(
        changed
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    call.await.unwrap_err();
    assert_eq!(
        keep.lock().unwrap().as_ref().unwrap().handle().state(),
        State::Closed
    );
    assert_eq!(*told.lock().unwrap(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_queued_call_is_not_starved_by_what_its_own_service_has_reserved() {
    let layer = BulkheadLayer::builder()
        .limit(1)
        .queue(10, Duration::from_secs(5))
        .build()
        .unwrap();
    let svc = |ms: u64| {
        tower::limit::ConcurrencyLimit::new(
            service_fn(move |()| async move {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                Ok::<_, BoxError>(())
            }),
            1,
        )
    };
    let mut a = layer.layer(svc(1));
    let mut b = layer.layer(svc(10));
    a.ready().await.unwrap(); // not full: the inner service reserves its permit
    b.ready().await.unwrap();
    let first = b.call(()); // takes the only place
    let second = a.call(()); // queues, with a clone of the inner service
    let (first, second) = tokio::join!(first, second);
    first.unwrap();
    second.unwrap();
    drop(a);
}

#[tokio::test(start_paused = true)]
async fn failures_that_cannot_be_sent_again_do_not_fill_the_throttle() {
    let budget = RetryBudget::throttle(10, 1.0).unwrap();
    let build = |copies: bool| {
        RetryLayer::builder()
            .budget(budget.clone())
            .attempts(2)
            .decide_cloning(
                move |(): &()| copies.then_some(()),
                |(): &(), r: Result<&u32, &Error<io::Error>>, _| match r {
                    Ok(503) => Decision::Retry,
                    _ => Decision::Return,
                },
            )
            .build()
            .unwrap()
    };
    let mut reads = build(true).layer(service_fn(|()| async { Ok::<_, io::Error>(503) }));
    let mut writes = build(false).layer(service_fn(|()| async { Ok::<_, io::Error>(503) }));
    for _ in 0..5 {
        let _ = reads.ready().await.unwrap().call(()).await;
    }
    assert_eq!(budget.balance(), 0);
    for _ in 0..5 {
        let _ = writes.ready().await.unwrap().call(()).await;
    }
    assert_eq!(budget.balance(), 0, "nothing has succeeded yet");
}

#[tokio::test(start_paused = true)]
async fn calls_that_were_never_polled_are_no_failures() {
    let layer = CircuitBreakerLayer::new();
    let inner = service_fn(|()| async { Ok::<(), io::Error>(()) });
    let mut alone = layer.layer(inner);
    let mut calls = Vec::new();
    for _ in 0..30 {
        calls.push(alone.ready().await.unwrap().call(()));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    drop(calls);
    assert_eq!(
        layer.handle().state(),
        State::Closed,
        "without a layer further out"
    );
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(Duration::from_secs(60)))
        .layer(layer.clone())
        .service(inner);
    let mut calls = Vec::new();
    for _ in 0..30 {
        calls.push(service.ready().await.unwrap().call(()));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    drop(calls);
    assert_eq!(
        layer.handle().state(),
        State::Closed,
        "behind a TimeoutLayer of a minute"
    );
}

#[test]
fn watchers_are_woken_outside_of_every_lock() {
    let (done, finished) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let layer = CircuitBreakerLayer::new();
        let mut watch = layer.handle().watch();
        let mut service = layer.layer(service_fn(|()| async {
            pending::<()>().await;
            Ok::<(), io::Error>(())
        }));
        let _ = Service::<()>::poll_ready(&mut service, &mut Context::from_waker(Waker::noop()));
        let call = service.call(());
        let waker: Waker = Arc::new(OnWake(Mutex::new(Some(Box::new(move || drop(call)))))).into();
        let mut changed = Box::pin(watch.changed());
        assert!(
            changed
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        drop((layer, service));
        done.send(()).unwrap();
    });
    finished
        .recv_timeout(Duration::from_secs(3))
        .expect("deadlock");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_clock_runs_in_what_a_call_drives_to_its_end() {
    let fetch = ServiceBuilder::new()
        .layer(TimeoutLayer::new(Duration::from_millis(50)))
        .service(service_fn(|()| async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Ok::<_, io::Error>(())
        }));
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(Duration::from_secs(10)))
        .service(service_fn(move |()| {
            let mut fetch = fetch.clone();
            // A synchronous handler, as an adapter to a blocking API calls it.
            let results = tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(async {
                    let mut ok = 0;
                    for _ in 0..20 {
                        ok += u32::from(fetch.ready().await.unwrap().call(()).await.is_ok());
                    }
                    ok
                })
            });
            async move { Ok::<_, io::Error>(results) }
        }));
    let ok = tokio::spawn(async move { service.ready().await.unwrap().call(()).await.unwrap() })
        .await
        .unwrap();
    assert_eq!(ok, 20);
}

/// A future that is hard to get rid of once it has answered.
struct Clingy;

impl Future for Clingy {
    type Output = Result<http::Response<Full<Bytes>>, Infallible>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(http::Response::new(Full::from("answer"))))
    }
}

impl Drop for Clingy {
    fn drop(&mut self) {
        panic!("does not want to go");
    }
}

#[tokio::test]
async fn an_answer_whose_future_panics_as_it_goes_takes_nothing_with_it() {
    let bulkhead = mainstay::http::bulkhead().limit(1).build().unwrap();
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(Duration::from_secs(1)))
        .layer(bulkhead.clone())
        .service_fn(|_: http::Request<()>| Clingy);
    let call = service.oneshot(http::Request::new(()));
    // The answer is complete, and its body holds the place.
    let panicked = AssertUnwindSafe(call).catch_unwind().await;
    assert!(panicked.is_err());
    assert_eq!(bulkhead.handle().in_flight(), 0);
}
