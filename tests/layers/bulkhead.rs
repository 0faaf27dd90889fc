//! How the bulkhead behaves, each test named after what it keeps from happening.

use std::future::Future as _;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use crate::support::{
    Act, Broken, Probe, ms, reason, recorder, rejected, secs, send, send_caught, settle, start,
};
use mainstay::bulkhead::{Bulkhead, Queued};
use mainstay::{BulkheadLayer, Context, Error, EventKind, Outcome, Reason};
use tokio::time::{Instant, advance, timeout};
use tower::{Layer, Service, ServiceExt, service_fn};

fn queued(
    limit: u32,
    queue: u32,
    wait: Duration,
) -> (BulkheadLayer<Queued>, Bulkhead<Probe, Queued>, Probe) {
    let layer = BulkheadLayer::builder()
        .limit(limit)
        .queue(queue, wait)
        .build()
        .unwrap();
    let probe = Probe::default();
    let service = layer.layer(probe.clone());
    (layer, service, probe)
}

// --- The limit

#[tokio::test(start_paused = true)]
async fn the_limit_is_one_for_all_routes_and_connections() {
    let layer = BulkheadLayer::new(1);
    let probe = Probe::default();
    let mut calls = Vec::new();
    for _route in 0..3 {
        let layer = layer.clone();
        for _connection in 0..5 {
            let service = layer.layer(probe.clone());
            calls.push(start(&service, Act::OkAfter(secs(1))).await);
        }
    }
    let mut passed = 0;
    for call in calls {
        match call.await.unwrap() {
            Ok(_) => passed += 1,
            Err(error) => assert_eq!(reason::<u32, _>(Err(error)), Reason::Full),
        }
    }
    assert_eq!((passed, probe.max_in_flight()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn idle_ready_clones_hold_nothing() {
    let layer = BulkheadLayer::new(1);
    let (queued, queued_service, _) = queued(1, 5, secs(1));
    let service = layer.layer(Probe::default());
    let mut idle: Vec<_> = (0..10).map(|_| service.clone()).collect();
    let mut idle_queued: Vec<_> = (0..10).map(|_| queued_service.clone()).collect();
    for (service, queued_service) in idle.iter_mut().zip(&mut idle_queued) {
        service.ready().await.unwrap();
        queued_service.ready().await.unwrap();
    }
    assert_eq!(
        (
            layer.handle().in_flight(),
            queued.handle().in_flight(),
            queued.handle().waiting()
        ),
        (0, 0, 0)
    );
    for (service, queued_service) in idle.iter_mut().zip(&mut idle_queued) {
        assert!(service.call(Act::Ok).await.is_ok());
        assert!(queued_service.call(Act::Ok).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn full_is_said_at_once_and_says_full() {
    let layer = BulkheadLayer::builder()
        .name("payments")
        .limit(2)
        .build()
        .unwrap();
    let probe = Probe::default();
    let mut service = layer.layer(probe.clone());
    let _hung = [
        start(&service, Act::Hang).await,
        start(&service, Act::Hang).await,
    ];
    let began = Instant::now();
    let rejection = rejected(send(&mut service, Act::Ok).await);
    assert_eq!(
        (rejection.layer(), rejection.name()),
        ("bulkhead", "payments")
    );
    assert_eq!(rejection.reason(), Reason::Full);
    assert!(rejection.not_sent());
    assert_eq!((began.elapsed(), probe.calls()), (Duration::ZERO, 2));
    assert_eq!(
        (layer.handle().in_flight(), layer.handle().limit().unwrap()),
        (2, 2)
    );
}

#[tokio::test(start_paused = true)]
async fn by_default_nothing_waits() {
    let layer = BulkheadLayer::builder().build().unwrap();
    assert_eq!(layer.handle().limit().unwrap(), 256);
    let service = layer.layer(Probe::default());
    let calls = (0..300).map(|_| {
        let mut service = service.clone();
        async move { send(&mut service, Act::OkAfter(secs(1))).await }
    });
    let results = futures::future::join_all(calls).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 256);
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_nothing_rejects_everything() {
    let mut service = BulkheadLayer::new(0).layer(Probe::default());
    assert_eq!(reason(send(&mut service, Act::Ok).await), Reason::Full);
}

#[tokio::test(start_paused = true)]
async fn while_full_it_is_ready_whatever_is_behind_it_and_rejects_in_call() {
    let layer = BulkheadLayer::new(1);
    let probe = Probe::default();
    let mut service = layer.layer(probe.clone());
    let hung = start(&service, Act::Hang).await;
    probe.set_ready(false);
    assert!(futures::poll!(service.ready()).is_ready());
    // Whatever has changed since: the inner service was not asked.
    hung.abort();
    settle().await;
    assert_eq!(layer.handle().in_flight(), 0);
    assert_eq!(reason(service.call(Act::Ok).await), Reason::Full);
    assert!(
        futures::poll!(service.ready()).is_pending(),
        "now it is the inner service that counts"
    );
}

#[tokio::test(start_paused = true)]
async fn a_place_is_held_until_the_call_is_over_however_it_ends() {
    let layer = BulkheadLayer::new(1);
    let mut service = layer.layer(Probe::default());
    let call = start(&service, Act::OkAfter(secs(3_600))).await;
    advance(secs(3_599)).await;
    settle().await;
    assert_eq!(layer.handle().in_flight(), 1);
    call.await.unwrap().unwrap();
    assert_eq!(layer.handle().in_flight(), 0);

    assert!(send(&mut service, Act::Fail).await.is_err());
    assert_eq!(layer.handle().in_flight(), 0, "an error");
    assert!(timeout(ms(1), send(&mut service, Act::Hang)).await.is_err());
    assert_eq!(layer.handle().in_flight(), 0, "a cancellation");
    for act in [Act::Panic, Act::PanicInCall] {
        assert!(send_caught(&service, act).await.is_err());
        assert_eq!(layer.handle().in_flight(), 0, "{act:?}");
    }
    let unpolled = service.ready().await.unwrap().call(Act::Ok);
    assert_eq!(
        layer.handle().in_flight(),
        1,
        "from the call on, not from its first poll"
    );
    drop(unpolled);
    assert_eq!(layer.handle().in_flight(), 0, "never polled");
}

#[tokio::test(start_paused = true)]
async fn the_work_is_dropped_before_its_place_is_given_back() {
    let layer = BulkheadLayer::new(1);
    let seen = Arc::new(Mutex::new(None));
    struct Work(BulkheadLayer, Arc<Mutex<Option<u32>>>);
    impl Drop for Work {
        fn drop(&mut self) {
            *self.1.lock().unwrap() = Some(self.0.handle().in_flight());
        }
    }
    let (handle, told) = (layer.clone(), Arc::clone(&seen));
    let mut service = layer.layer(service_fn(move |()| {
        let work = Work(handle.clone(), Arc::clone(&told));
        async move {
            let _work = work;
            std::future::pending::<Result<(), Broken>>().await
        }
    }));
    assert!(timeout(ms(1), send(&mut service, ())).await.is_err());
    assert_eq!(*seen.lock().unwrap(), Some(1));
    assert_eq!(layer.handle().in_flight(), 0);
}

// --- The queue

#[tokio::test(start_paused = true)]
async fn full_and_a_wait_that_was_too_long_are_told_apart() {
    let (layer, mut service, probe) = queued(1, 1, ms(50));
    let _hung = start(&service, Act::Hang).await;
    let began = Instant::now();
    let waiting = start(&service, Act::Ok).await;
    assert_eq!(
        (layer.handle().in_flight(), layer.handle().waiting()),
        (1, 1)
    );
    assert_eq!(reason(send(&mut service, Act::Ok).await), Reason::Full);
    assert_eq!(
        began.elapsed(),
        Duration::ZERO,
        "a wait that there is no room for is not waited out"
    );
    assert_eq!(reason(waiting.await.unwrap()), Reason::QueueTimeout);
    assert_eq!(began.elapsed(), ms(50));
    assert_eq!((layer.handle().waiting(), probe.calls()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded() {
    let (layer, service, _) = queued(2, 10, secs(1));
    let calls = (0..100).map(|_| {
        let mut service = service.clone();
        async move { send(&mut service, Act::OkAfter(ms(10))).await }
    });
    let results = futures::future::join_all(calls).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 12);
    assert_eq!(
        (layer.handle().in_flight(), layer.handle().waiting()),
        (0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn the_wait_counts_from_the_call_and_not_from_its_first_poll() {
    let (_, mut service, _) = queued(1, 1, ms(50));
    let _hung = start(&service, Act::Hang).await;
    let began = Instant::now();
    let call = service.ready().await.unwrap().call(Act::Ok);
    advance(ms(30)).await;
    assert_eq!(reason(call.await), Reason::QueueTimeout);
    assert_eq!(began.elapsed(), ms(50));
}

#[tokio::test(start_paused = true)]
async fn first_come_first_served() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&order);
    let inner = service_fn(move |number: u32| {
        told.lock().unwrap().push(number);
        async move {
            tokio::time::sleep(ms(10)).await;
            Ok::<_, Broken>(())
        }
    });
    let layer = BulkheadLayer::builder()
        .limit(2)
        .queue(100, secs(10))
        .build()
        .unwrap();
    let service = layer.layer(inner);
    let mut calls = Vec::new();
    for number in 0..50 {
        calls.push(start(&service, number).await);
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(*order.lock().unwrap(), (0..50).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_does_not_overtake_who_has_waited() {
    let (layer, mut service, _) = queued(1, 5, secs(10));
    let mut first =
        tokio_test::task::spawn(service.ready().await.unwrap().call(Act::OkAfter(ms(10))));
    assert!(first.poll().is_pending());
    let mut waiting = tokio_test::task::spawn(service.ready().await.unwrap().call(Act::Ok));
    assert!(waiting.poll().is_pending());
    advance(ms(10)).await;
    assert!(first.poll().is_ready());
    assert!(waiting.is_woken());
    // The one that waited has not run yet when this one comes.
    let mut newcomer = tokio_test::task::spawn(service.ready().await.unwrap().call(Act::Ok));
    assert!(newcomer.poll().is_pending());
    assert!(waiting.poll().is_ready());
    assert!(newcomer.is_woken());
    assert!(newcomer.poll().is_ready());
    assert_eq!(
        (layer.handle().in_flight(), layer.handle().waiting()),
        (0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_place_that_was_just_handed_over_is_not_lost_when_its_call_is_cancelled() {
    let (layer, mut service, _) = queued(1, 5, secs(10));
    let mut first =
        tokio_test::task::spawn(service.ready().await.unwrap().call(Act::OkAfter(ms(10))));
    assert!(first.poll().is_pending());
    let mut calls: Vec<_> = Vec::new();
    for _ in 0..3 {
        let mut call = tokio_test::task::spawn(service.ready().await.unwrap().call(Act::Ok));
        assert!(call.poll().is_pending());
        calls.push(call);
    }
    advance(ms(10)).await;
    assert!(first.poll().is_ready());
    assert!(calls[0].is_woken() && !calls[1].is_woken());
    drop(calls.remove(0));
    assert!(
        calls[0].is_woken() && !calls[1].is_woken(),
        "it goes to the next one"
    );
    assert!(calls[0].poll().is_ready());
    assert!(calls[1].poll().is_ready());
    assert_eq!(
        (layer.handle().in_flight(), layer.handle().waiting()),
        (0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_waiting_call_that_is_cancelled_leaves_the_queue() {
    let (layer, mut service, probe) = queued(1, 1, secs(100));
    let hung = start(&service, Act::Hang).await;
    for _ in 0..20 {
        assert!(
            timeout(ms(1), send(&mut service, Act::Ok)).await.is_err(),
            "there is room again"
        );
        assert_eq!(layer.handle().waiting(), 0);
    }
    let unpolled = service.ready().await.unwrap().call(Act::Ok);
    assert_eq!(
        (layer.handle().in_flight(), layer.handle().waiting()),
        (1, 0)
    );
    drop(unpolled);
    hung.abort();
    settle().await;
    assert!(send(&mut service, Act::Ok).await.is_ok());
    assert_eq!((probe.calls(), layer.handle().in_flight()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_waiting_call_is_woken_for_its_turn_only() {
    let (_, mut service, _) = queued(1, 10, secs(100));
    let mut first =
        tokio_test::task::spawn(service.ready().await.unwrap().call(Act::OkAfter(ms(1))));
    assert!(first.poll().is_pending());
    let mut calls = Vec::new();
    for _ in 0..10 {
        let mut call = tokio_test::task::spawn(service.ready().await.unwrap().call(Act::Ok));
        assert!(call.poll().is_pending());
        calls.push(call);
    }
    advance(ms(1)).await;
    assert!(first.poll().is_ready());
    for turn in 0..10 {
        let woken: Vec<_> = calls.iter().map(|call| call.is_woken()).collect();
        let expected: Vec<_> = (0..10).map(|n| n == turn).collect();
        assert_eq!(woken, expected);
        assert!(calls[turn].poll().is_ready());
        // A woken one that was polled is told no more.
        calls[turn] = tokio_test::task::spawn(service.clone().call(Act::Hang));
    }
}

#[tokio::test(start_paused = true)]
async fn max_wait_includes_an_inner_service_that_is_never_ready() {
    let (layer, service, probe) = queued(1, 1, ms(50));
    let began = Instant::now();
    let hung = start(&service, Act::Hang).await;
    let waiting = start(&service, Act::Ok).await;
    probe.set_ready(false);
    advance(ms(20)).await;
    hung.abort();
    settle().await;
    assert_eq!(
        (layer.handle().in_flight(), layer.handle().waiting()),
        (1, 0),
        "it has its place, and waits for the service"
    );
    assert_eq!(reason(waiting.await.unwrap()), Reason::NotReady);
    assert_eq!((began.elapsed(), layer.handle().in_flight()), (ms(50), 0));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_cancelled_with_its_place_but_before_its_service_is_ready_gives_it_back() {
    let (layer, service, probe) = queued(1, 5, secs(10));
    let hung = start(&service, Act::Hang).await;
    let waiting = [
        start(&service, Act::Ok).await,
        start(&service, Act::Ok).await,
    ];
    probe.set_ready(false);
    hung.abort();
    settle().await;
    assert_eq!(
        (layer.handle().in_flight(), layer.handle().waiting()),
        (1, 1)
    );
    let [first, second] = waiting;
    first.abort();
    settle().await;
    assert_eq!(
        (layer.handle().in_flight(), layer.handle().waiting()),
        (1, 0)
    );
    probe.set_ready(true);
    assert_eq!(second.await.unwrap().unwrap(), 2);
    assert_eq!(layer.handle().in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_call_that_moved_to_another_task_is_woken_there() {
    let (_, mut service, _) = queued(1, 5, secs(10));
    let first = service.ready().await.unwrap().call(Act::OkAfter(ms(10)));
    let mut first = tokio_test::task::spawn(first);
    assert!(first.poll().is_pending());
    let mut call = Box::pin(service.ready().await.unwrap().call(Act::Ok));
    let mut elsewhere = tokio_test::task::spawn(());
    elsewhere.enter(|cx, _| assert!(call.as_mut().poll(cx).is_pending()));
    let mut here = tokio_test::task::spawn(call);
    assert!(here.poll().is_pending());
    advance(ms(10)).await;
    assert!(first.poll().is_ready());
    assert!(here.is_woken() && !elsewhere.is_woken());
    assert!(here.poll().is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_the_deadline_of_the_request() {
    let (layer, service, probe) = queued(1, 5, secs(3_600));
    let _hung = start(&service, Act::Hang).await;
    for left in [Duration::ZERO, ms(10), secs(7)] {
        let began = Instant::now();
        let mut service = service.clone();
        let context = Context::current().with_timeout(left);
        let result = context
            .scope(async move { send(&mut service, Act::Ok).await })
            .await;
        assert_eq!(reason(result), Reason::DeadlinePassed);
        assert!(
            (left..=left + ms(1)).contains(&began.elapsed()),
            "a wait that cannot succeed"
        );
    }
    assert_eq!((probe.calls(), layer.handle().waiting()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_waiters_all_finish() {
    let (layer, service, probe) = queued(3, 1_000, secs(3_600));
    let calls = (0..1_003).map(|_| {
        let mut service = service.clone();
        async move { send(&mut service, Act::OkAfter(ms(10))).await }
    });
    let results = futures::future::join_all(calls).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!((probe.calls(), probe.max_in_flight()), (1_003, 3));
    assert_eq!(
        (layer.handle().in_flight(), layer.handle().waiting()),
        (0, 0)
    );
}

#[test]
fn many_threads_that_wait_cancel_and_panic_all_finish_and_leave_nothing_behind() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_time()
        .build()
        .unwrap();
    let (layer, service, probe) = queued(3, 10_000, secs(60));
    runtime.block_on(async {
        let calls: Vec<_> = (0..4_000_u64)
            .map(|n| {
                let mut service = service.clone();
                tokio::spawn(async move {
                    match n % 5 {
                        0 => drop(
                            timeout(
                                Duration::from_micros(n),
                                send(&mut service, Act::OkAfter(ms(1))),
                            )
                            .await,
                        ),
                        1 => drop(send(&mut service, Act::Panic).await),
                        2 => drop(send(&mut service, Act::Fail).await),
                        _ => assert!(send(&mut service, Act::Ok).await.is_ok()),
                    }
                })
            })
            .collect();
        for (n, call) in calls.into_iter().enumerate() {
            assert_eq!(timeout(secs(60), call).await.unwrap().is_err(), n % 5 == 1);
        }
    });
    assert!(probe.max_in_flight() <= 3, "{}", probe.max_in_flight());
    assert_eq!(
        (layer.handle().in_flight(), layer.handle().waiting()),
        (0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_queued_place_is_given_back_however_the_call_ends() {
    for act in [Act::Fail, Act::Panic, Act::PanicInCall] {
        let (layer, service, _) = queued(1, 5, secs(10));
        let first = start(&service, Act::OkAfter(ms(10))).await;
        let mut waiting = service.clone();
        let waiting = tokio::spawn(async move { send(&mut waiting, act).await });
        settle().await;
        assert_eq!(layer.handle().waiting(), 1);
        first.await.unwrap().unwrap();
        let result = waiting.await;
        assert!(!matches!(result, Ok(Ok(_))), "{act:?}");
        assert_eq!(
            (layer.handle().in_flight(), layer.handle().waiting()),
            (0, 0),
            "{act:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_readiness_error_at_the_turn_of_a_waiting_call_is_its_answer() {
    #[derive(Clone)]
    struct Failing(Probe, Arc<std::sync::atomic::AtomicBool>);
    impl Service<Act> for Failing {
        type Response = u32;
        type Error = Broken;
        type Future = <Probe as Service<Act>>::Future;
        fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Result<(), Broken>> {
            if self.1.load(std::sync::atomic::Ordering::SeqCst) {
                return std::task::Poll::Ready(Err(Broken));
            }
            self.0.poll_ready(cx)
        }
        fn call(&mut self, act: Act) -> Self::Future {
            self.0.call(act)
        }
    }
    let layer = BulkheadLayer::builder()
        .limit(1)
        .queue(5, secs(10))
        .build()
        .unwrap();
    let broken = Arc::default();
    let service = layer.layer(Failing(Probe::default(), Arc::clone(&broken)));
    let first = start(&service, Act::OkAfter(ms(10))).await;
    let waiting = start(&service, Act::Ok).await;
    broken.store(true, std::sync::atomic::Ordering::SeqCst);
    first.await.unwrap().unwrap();
    assert!(matches!(waiting.await.unwrap(), Err(Error::Inner(Broken))));
    assert_eq!(
        (layer.handle().in_flight(), layer.handle().waiting()),
        (0, 0)
    );
}

/// A request that says, when it is dropped, how many calls were in flight and waiting then.
struct Traced {
    act: Act,
    layer: BulkheadLayer<Queued>,
    then: Arc<Mutex<Vec<(u32, u32)>>>,
}

impl Drop for Traced {
    fn drop(&mut self) {
        let then = (
            self.layer.handle().in_flight(),
            self.layer.handle().waiting(),
        );
        self.then.lock().unwrap().push(then);
    }
}

/// A probe behind a closed door: what is ready has reserved something, and may fail or panic at its turn.
#[derive(Default)]
struct Gate {
    reserved: AtomicU32,
    /// What `poll_ready` does: 0 is ready, 1 waits, 2 fails, 3 panics.
    turn: AtomicU32,
}

struct Gated {
    probe: Probe,
    gate: Arc<Gate>,
    has: bool,
}

impl Gated {
    fn new(gate: &Arc<Gate>) -> Self {
        Self {
            probe: Probe::default(),
            gate: Arc::clone(gate),
            has: false,
        }
    }

    fn give_up(&mut self) {
        if std::mem::take(&mut self.has) {
            self.gate.reserved.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Clone for Gated {
    fn clone(&self) -> Self {
        Self {
            probe: self.probe.clone(),
            gate: Arc::clone(&self.gate),
            has: false,
        }
    }
}

impl Drop for Gated {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl Service<Traced> for Gated {
    type Response = u32;
    type Error = Broken;
    type Future = <Probe as Service<Act>>::Future;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), Broken>> {
        match self.gate.turn.load(Ordering::SeqCst) {
            0 if self.has => {}
            0 => {
                self.has = true;
                self.gate.reserved.fetch_add(1, Ordering::SeqCst);
            }
            1 => return Poll::Pending,
            2 => return Poll::Ready(Err(Broken)),
            _ => panic!("told to panic"),
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Traced) -> Self::Future {
        assert!(self.has, "called without being ready");
        self.give_up();
        self.probe.call(request.act)
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_given_up_before_its_place_is() {
    // How it ends, at its turn or before, and what was held when the request was dropped.
    for (turn, comes_to_its_turn, was) in [
        (0, false, (1, 1)),
        (1, true, (1, 0)),
        (2, true, (1, 0)),
        (3, true, (1, 0)),
    ] {
        for is_cancelled in [false, true] {
            let then = Arc::<Mutex<Vec<_>>>::default();
            let gate = Arc::<Gate>::default();
            let layer = BulkheadLayer::builder()
                .limit(1)
                .queue(5, ms(300))
                .build()
                .unwrap();
            let service = layer.layer(Gated::new(&gate));
            let request = |act| Traced {
                act,
                layer: layer.clone(),
                then: Arc::clone(&then),
            };
            let length = if comes_to_its_turn { ms(100) } else { secs(5) };
            let first = start(&service, request(Act::OkAfter(length))).await;
            let waits = start(&service, request(Act::Ok)).await;
            assert_eq!(
                (layer.handle().in_flight(), layer.handle().waiting()),
                (1, 1)
            );
            gate.turn.store(turn, Ordering::SeqCst);
            then.lock().unwrap().clear();
            tokio::time::sleep(ms(150)).await;
            if is_cancelled {
                waits.abort();
            }
            let ended = waits.await;
            match (is_cancelled, turn) {
                (_, 3) => assert!(ended.unwrap_err().is_panic()),
                (true, 0 | 1) => assert!(ended.unwrap_err().is_cancelled()),
                (_, 2) => assert!(matches!(ended, Ok(Err(Error::Inner(Broken))))),
                (_, 0) => assert_eq!(reason(ended.unwrap()), Reason::QueueTimeout),
                _ => assert_eq!(reason(ended.unwrap()), Reason::NotReady),
            }
            assert_eq!(*then.lock().unwrap(), [was], "{turn} {is_cancelled}");
            assert_eq!(layer.handle().waiting(), 0);
            assert_eq!(layer.handle().in_flight(), u32::from(!comes_to_its_turn));
            first.abort();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_has_to_wait_gives_up_what_readiness_had_reserved() {
    let gate = Arc::<Gate>::default();
    let layer = BulkheadLayer::builder()
        .limit(1)
        .queue(5, secs(9))
        .build()
        .unwrap();
    let service = layer.layer(Gated::new(&gate));
    let request = |act| Traced {
        act,
        layer: layer.clone(),
        then: Arc::default(),
    };
    let (mut late, mut early) = (service.clone(), service);
    late.ready().await.unwrap();
    early.ready().await.unwrap();
    assert_eq!(gate.reserved.load(Ordering::SeqCst), 2);
    let first = early.call(request(Act::OkAfter(secs(1))));
    // It was ready before the last place was taken.
    let mut waits = Box::pin(late.call(request(Act::Ok)));
    assert!(futures::poll!(&mut waits).is_pending());
    assert_eq!(
        (
            layer.handle().waiting(),
            gate.reserved.load(Ordering::SeqCst)
        ),
        (1, 0)
    );
    first.await.unwrap();
    waits.await.unwrap();
    assert_eq!(gate.reserved.load(Ordering::SeqCst), 0);
    // Who calls without having asked waits for readiness, too, and is called when it has come.
    late.clone().call(request(Act::Ok)).await.unwrap();
    assert_eq!(
        (layer.handle().in_flight(), layer.handle().waiting()),
        (0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn with_a_queue_a_panic_in_call_is_a_failure_and_the_next_one_is_let_in() {
    let (observer, told) = recorder();
    let layer = BulkheadLayer::builder()
        .limit(1)
        .queue(5, secs(9))
        .observer(observer)
        .build()
        .unwrap();
    let service = layer.layer(Probe::default());
    // At once, and after a wait.
    assert!(send_caught(&service, Act::PanicInCall).await.is_err());
    assert_eq!(layer.handle().in_flight(), 0);
    let first = start(&service, Act::OkAfter(ms(10))).await;
    let panics = start(&service, Act::PanicInCall).await;
    let next = start(&service, Act::Ok).await;
    assert_eq!(layer.handle().waiting(), 2);
    first.await.unwrap().unwrap();
    assert!(panics.await.unwrap_err().is_panic());
    next.await.unwrap().unwrap();
    assert_eq!(
        (layer.handle().in_flight(), layer.handle().waiting()),
        (0, 0)
    );
    let outcomes: Vec<_> = told
        .lock()
        .unwrap()
        .iter()
        .filter_map(|kind| match kind {
            EventKind::Settled { outcome, .. } => Some(*outcome),
            _ => None,
        })
        .collect();
    assert_eq!(
        outcomes,
        [
            Outcome::Failure,
            Outcome::Success,
            Outcome::Failure,
            Outcome::Success
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_over_stays_over_when_it_is_polled_again() {
    let (layer, service, _) = queued(1, 1, ms(10));
    let held = start(&service, Act::OkAfter(secs(1))).await;
    let (mut one, mut two) = (service.clone(), service);
    one.ready().await.unwrap();
    two.ready().await.unwrap();
    let mut waits = Box::pin(one.call(Act::Ok));
    assert!(futures::poll!(&mut waits).is_pending());
    let mut full = Box::pin(two.call(Act::Ok));
    assert_eq!(reason((&mut full).await), Reason::Full);
    assert_eq!(reason((&mut waits).await), Reason::QueueTimeout);
    for call in [&mut full, &mut waits] {
        assert!(futures::poll!(call).is_pending());
    }
    assert_eq!(
        (layer.handle().in_flight(), layer.handle().waiting()),
        (1, 0)
    );
    held.await.unwrap().unwrap();
}

// --- What it tells

#[tokio::test(start_paused = true)]
async fn it_tells_of_every_rejection_and_of_how_calls_went() {
    let (observer, told) = recorder();
    let layer = BulkheadLayer::builder()
        .limit(1)
        .queue(1, ms(5))
        .observer(observer)
        .build()
        .unwrap();
    let mut events = layer.handle().events();
    let mut service = layer.layer(Probe::default());
    let hung = start(&service, Act::Hang).await;
    let waiting = start(&service, Act::Ok).await;
    assert_eq!(reason(send(&mut service, Act::Ok).await), Reason::Full);
    assert_eq!(reason(waiting.await.unwrap()), Reason::QueueTimeout);
    hung.abort();
    settle().await;
    send(&mut service, Act::Ok).await.unwrap();
    assert!(send(&mut service, Act::Fail).await.is_err());
    assert!(send_caught(&service, Act::Panic).await.is_err());
    let words = |kind: &EventKind| match kind {
        EventKind::Rejected(rejection) => rejection.reason().as_str(),
        EventKind::Settled { outcome, .. } => outcome.as_str(),
        other => panic!("{other:?}"),
    };
    let expected = [
        "full",
        "queue_timeout",
        "cancelled",
        "success",
        "failure",
        "failure",
    ];
    assert_eq!(
        told.lock().unwrap().iter().map(words).collect::<Vec<_>>(),
        expected
    );
    let subscribed: Vec<_> = std::iter::from_fn(|| events.try_recv()).collect();
    assert_eq!(
        subscribed
            .iter()
            .map(|event| words(event.kind()))
            .collect::<Vec<_>>(),
        expected
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_before_its_first_poll_is_told_as_cancelled() {
    let (observer, told) = recorder();
    let layer = BulkheadLayer::builder().observer(observer).build().unwrap();
    let mut service = layer.layer(Probe::default());
    drop(service.ready().await.unwrap().call(Act::Ok));
    assert!(matches!(
        told.lock().unwrap()[..],
        [EventKind::Settled {
            outcome: Outcome::Cancelled,
            ..
        }]
    ));
}

/// The first clone is ready, and all that are made ready later panic.
#[derive(Clone)]
struct PanicsWhenAsked(Arc<AtomicBool>);

impl Service<()> for PanicsWhenAsked {
    type Response = ();
    type Error = Broken;
    type Future = std::future::Pending<Result<(), Broken>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), Broken>> {
        assert!(!self.0.load(Ordering::Relaxed), "asked");
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        std::future::pending()
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_inner_services_readiness_after_the_wait_is_a_failure() {
    let builder = BulkheadLayer::builder().limit(1).queue(1, secs(5));
    let layer = builder.build().unwrap();
    let asked = PanicsWhenAsked(Default::default());
    let mut service = layer.layer(asked.clone());
    let first = service.ready().await.unwrap().call(());
    let second = tokio::spawn(service.ready().await.unwrap().call(()));
    tokio::task::yield_now().await;
    assert_eq!(layer.handle().waiting(), 1);
    asked.0.store(true, Ordering::Relaxed);
    drop(first);
    assert!(second.await.unwrap_err().is_panic());
    let snapshot = layer.handle().snapshot();
    assert_eq!((snapshot.in_flight, snapshot.waiting), (0, 0));
    assert_eq!((snapshot.outcomes.failure, snapshot.given_up), (1, 0));
}
