//! Calls that end with their response.

use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mainstay::{
    Backoff, BulkheadLayer, CircuitBreakerLayer, Error, Event, EventKind, Jitter, Limit,
    LoadShedLayer, RetryLayer, RetryRefused, Window,
};
use proptest::prelude::*;
use tower::{Layer, Service};

use super::ledger::{Books, balance, counted, observer, run, silent_panics};
use crate::support::{self, Act, Broken, Probe, ms, secs};

/// One step of a history.
#[derive(Debug, Clone)]
enum Step {
    Call(Act),
    /// Asks for readiness only.
    Ask,
    Poll(usize),
    PollAll,
    Drop(usize),
    Advance(u64),
    Ready(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let act = prop_oneof![
        4 => Just(Act::Ok),
        4 => Just(Act::Fail),
        6 => (0_u64..40).prop_map(|after| Act::OkAfter(ms(after))),
        4 => (0_u64..40).prop_map(|after| Act::FailAfter(ms(after))),
        2 => Just(Act::Hang),
        1 => Just(Act::Panic),
        1 => Just(Act::PanicInCall),
    ];
    prop_oneof![
        12 => act.prop_map(Step::Call),
        1 => Just(Step::Ask),
        8 => (0_usize..8).prop_map(Step::Poll),
        2 => Just(Step::PollAll),
        4 => (0_usize..8).prop_map(Step::Drop),
        6 => (1_u64..60).prop_map(Step::Advance),
        1 => any::<bool>().prop_map(Step::Ready),
    ]
}

type Calls = Vec<Pin<Box<dyn Future<Output = Result<u32, Error<Broken>>>>>>;

/// Lets all this happen to calls through a service, and checks after each step. In the end all calls are gone.
async fn happen<S>(service: &S, probe: &Probe, steps: &[Step], check: impl Fn())
where
    S: Service<Act, Response = u32, Error = Error<Broken>> + Clone,
    S::Future: 'static,
{
    let cx = &mut Context::from_waker(Waker::noop());
    let mut calls = Calls::new();
    let poll = |calls: &mut Calls, at: usize| {
        let cx = &mut Context::from_waker(Waker::noop());
        let polled = catch_unwind(AssertUnwindSafe(|| calls[at].as_mut().poll(cx)));
        if !matches!(polled, Ok(Poll::Pending)) {
            drop(calls.remove(at));
            return false;
        }
        true
    };
    for step in steps {
        match *step {
            Step::Call(act) => {
                let mut service = service.clone();
                if let Poll::Ready(Ok(())) = service.poll_ready(cx)
                    && let Ok(call) = catch_unwind(AssertUnwindSafe(|| service.call(act)))
                {
                    calls.push(Box::pin(call));
                }
            }
            Step::Ask => drop(service.clone().poll_ready(cx)),
            Step::Poll(at) if at < calls.len() => drop(poll(&mut calls, at)),
            Step::PollAll => {
                let mut at = 0;
                while at < calls.len() {
                    at += usize::from(poll(&mut calls, at));
                }
            }
            Step::Drop(at) if at < calls.len() => drop(calls.remove(at)),
            Step::Poll(_) | Step::Drop(_) => {}
            Step::Advance(millis) => tokio::time::advance(ms(millis)).await,
            Step::Ready(ready) => probe.set_ready(ready),
        }
        check();
    }
    drop(calls);
    check();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn of_layers_around_each_other(steps in prop::collection::vec(step(), 1..80)) {
        silent_panics();
        run(async |handle| {
            let probe = Probe::default();
            let (waits, told_waits) = observer();
            let bulkhead = BulkheadLayer::builder().limit(2).queue(2, ms(20)).observer(waits);
            let bulkhead = bulkhead.build().unwrap();
            let (service, of_bulkhead) = counted(bulkhead.layer(probe.clone()));
            let (sheds, told_sheds) = observer();
            let shed = LoadShedLayer::builder().limit(Limit::fixed(3)).observer(sheds);
            let shed = shed.build().unwrap();
            let (service, of_shed) = counted(shed.layer(service));
            let (breaks, told_breaks) = observer();
            let breaker = CircuitBreakerLayer::builder()
                .window(Window::count(10))
                .min_calls(4)
                .open_for(ms(50))
                .probes(2)
                .probe_life(ms(100))
                .observer(breaks);
            let breaker = breaker.build().unwrap();
            let (service, of_breaker) = counted(breaker.layer(service));

            let now = || {
                let b = bulkhead.handle().snapshot();
                let waits = Books::new(b.outcomes, &b.rejections, b.given_up);
                let held = u64::from(b.in_flight) + u64::from(b.waiting);
                let s = shed.handle().snapshot();
                let sheds = Books::new(s.outcomes, &s.rejections, 0);
                let c = breaker.handle().snapshot();
                let breaks = Books::new(c.outcomes, &c.rejections, 0);
                (waits, held, sheds, u64::from(s.in_flight), breaks)
            };
            // A call that was made and not polled yet waits in no queue.
            let unpolled = Rc::new(RefCell::new(0_u64));
            happen(&service, &probe, &steps, || {
                let (waits, held, sheds, in_flight, _) = now();
                let over = waits.total() + held;
                let calls = of_bulkhead.load(Ordering::SeqCst);
                assert!(over <= calls, "more than there were");
                *unpolled.borrow_mut() = calls - over;
                assert_eq!(sheds.total() + in_flight, of_shed.load(Ordering::SeqCst));
            })
            .await;
            let (waits, held, sheds, in_flight, breaks) = now();
            assert_eq!((held, in_flight, *unpolled.borrow()), (0, 0, 0));
            balance("bulkhead", &of_bulkhead, &waits, &told_waits, &handle);
            balance("load_shed", &of_shed, &sheds, &told_sheds, &handle);
            balance("circuit_breaker", &of_breaker, &breaks, &told_breaks, &handle);
        });
    }

    #[test]
    fn of_a_bulkhead_without_a_queue(steps in prop::collection::vec(step(), 1..80)) {
        silent_panics();
        run(async |handle| {
            let probe = Probe::default();
            let (observer, told) = observer();
            let bulkhead = BulkheadLayer::builder().limit(2).observer(observer);
            let bulkhead = bulkhead.build().unwrap();
            let (service, calls) = counted(bulkhead.layer(probe.clone()));
            let now = || {
                let snapshot = bulkhead.handle().snapshot();
                let books = Books::new(snapshot.outcomes, &snapshot.rejections, snapshot.given_up);
                (books, u64::from(snapshot.in_flight))
            };
            happen(&service, &probe, &steps, || {
                let (books, in_flight) = now();
                assert_eq!(books.total() + in_flight, calls.load(Ordering::SeqCst));
            })
            .await;
            balance("bulkhead", &calls, &now().0, &told, &handle);
        });
    }

    #[test]
    fn of_an_adaptive_limit(steps in prop::collection::vec(step(), 1..80)) {
        silent_panics();
        run(async |handle| {
            let probe = Probe::default();
            let (observer, told) = observer();
            let limit = Limit::aimd().min(1).max(4).initial(2).build().unwrap();
            let shed = LoadShedLayer::builder().limit(limit).observer(observer);
            let shed = shed.build().unwrap();
            let (service, calls) = counted(shed.layer(probe.clone()));
            let now = || {
                let snapshot = shed.handle().snapshot();
                let books = Books::new(snapshot.outcomes, &snapshot.rejections, 0);
                (books, u64::from(snapshot.in_flight))
            };
            happen(&service, &probe, &steps, || {
                let (books, in_flight) = now();
                assert_eq!(books.total() + in_flight, calls.load(Ordering::SeqCst));
            })
            .await;
            balance("load_shed", &calls, &now().0, &told, &handle);
        });
    }

    #[test]
    fn of_retries(steps in prop::collection::vec(step(), 1..80)) {
        silent_panics();
        run(async |handle| {
            let probe = Probe::default();
            let told = Arc::new(Mutex::new((0, 0, 0)));
            let events = Arc::clone(&told);
            let retry = RetryLayer::builder()
                .attempts(4)
                .backoff(Backoff::constant(ms(15)).jitter(Jitter::None))
                .max_ready_wait(ms(20))
                .observer(move |event: &Event| {
                    let (retries, unready, given_up) = &mut *events.lock().unwrap();
                    match event.kind() {
                        EventKind::Retrying { .. } => *retries += 1,
                        EventKind::RetryRefused(RetryRefused::NotReady) => *unready += 1,
                        EventKind::GivenUp { .. } => *given_up += 1,
                        _ => {}
                    }
                });
            let retry = retry.build().unwrap();
            let (service, attempts) = counted(probe.clone());
            let (service, calls) = counted(retry.layer(service));
            happen(&service, &probe, &steps, || {}).await;

            let snapshot = retry.handle().snapshot();
            let retries = snapshot.retries.iter().map(|(_, count)| count).sum::<u64>();
            let refused = snapshot.refused.iter();
            let unready = refused.filter(|(why, _)| *why == RetryRefused::NotReady);
            let unready = unready.map(|(_, count)| count).sum::<u64>();
            let (calls, attempts) = (calls.load(Ordering::SeqCst), attempts.load(Ordering::SeqCst));
            assert_eq!(attempts, calls + retries - unready - snapshot.given_up, "{snapshot:?}");
            let all = (retries, unready, snapshot.given_up);
            assert_eq!(*told.lock().unwrap(), all, "events");
            let text = handle.render();
            let sum = |series: &str| {
                let lines = text.lines().filter(|line| line.starts_with(series));
                let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
                values.sum::<u64>()
            };
            let labels = "layer=\"retry\",name=\"default\"";
            let refused = format!("mainstay_retries_refused_total{{{labels},reason=\"not_ready\"}}");
            let scraped = (sum("mainstay_retries_total{"), sum(&refused), sum("mainstay_given_up_total{"));
            assert_eq!(scraped, all, "metrics");
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_given_up_in_a_queue_is_counted() {
    let (observer, told) = support::recorder();
    let layer = BulkheadLayer::builder()
        .name("stock")
        .limit(1)
        .queue(2, Duration::from_secs(1))
        .observer(observer);
    let layer = layer.build().unwrap();
    let service = layer.layer(Probe::default());
    let held = support::start(&service, Act::Hang).await;
    let waits = support::start(&service, Act::Ok).await;
    tokio::time::advance(ms(300)).await;
    waits.abort();
    support::settle().await;
    let snapshot = layer.handle().snapshot();
    assert_eq!((snapshot.given_up, snapshot.waiting), (1, 0));
    let told = told.lock().unwrap();
    let [EventKind::GivenUp { waited, .. }] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!(*waited, ms(300));
    assert_eq!(
        snapshot.to_string(),
        "bulkhead stock: 1 of 1 in flight, 0 waiting; 0 ok, 0 failed, 0 ignored, 0 cancelled; none rejected, 1 given up"
    );
    held.abort();
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_is_given_up_is_counted() {
    let layer = RetryLayer::builder()
        .name("stock")
        .backoff(Backoff::constant(secs(1)).jitter(Jitter::None));
    let layer = layer.build().unwrap();
    let call = support::start(&layer.layer(Probe::default()), Act::Fail).await;
    call.abort();
    support::settle().await;
    let snapshot = layer.handle().snapshot();
    assert_eq!((snapshot.retries[0].1, snapshot.given_up), (1, 1));
    let text = snapshot.to_string();
    assert!(
        text.starts_with("retry stock: 1 retries (error 1), 0 refused, 1 given up"),
        "{text}"
    );

    // A service that is not ready in time is told apart.
    let probe = Probe::default();
    let call = support::start(&layer.layer(probe.clone()), Act::Fail).await;
    probe.set_ready(false);
    tokio::time::advance(secs(3)).await;
    call.await.unwrap().unwrap_err();
    let snapshot = layer.handle().snapshot();
    assert_eq!(snapshot.refused, [(RetryRefused::NotReady, 1)]);
    assert_eq!((snapshot.retries[0].1, snapshot.given_up), (2, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_queue_whose_callers_come_and_go_at_once() {
    let (observer, told) = observer();
    let layer = BulkheadLayer::builder()
        .limit(2)
        .queue(4, ms(2))
        .observer(observer);
    let layer = layer.build().unwrap();
    let (service, calls) = counted(layer.layer(Probe::default()));
    let tasks: Vec<_> = (0..4_000)
        .map(|number| {
            let service = service.clone();
            let act = Act::OkAfter(Duration::from_micros(200));
            let give_up = Duration::from_micros(number * 37 % 3_000);
            tokio::spawn(async move {
                let call = support::send_caught(&service, act);
                tokio::time::timeout(give_up, call).await.is_ok()
            })
        })
        .collect();
    for task in tasks {
        let _ = task.await.unwrap();
    }
    let snapshot = layer.handle().snapshot();
    let books = Books::new(snapshot.outcomes, &snapshot.rejections, snapshot.given_up);
    assert_eq!((snapshot.in_flight, snapshot.waiting), (0, 0));
    assert_eq!(books, *told.lock().unwrap());
    assert_eq!(books.total(), calls.load(Ordering::SeqCst));
}
