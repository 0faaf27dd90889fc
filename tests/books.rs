//! The books balance: whatever happens to calls, and in whatever order, each is in exactly one count, and the snapshot, the metrics and the events agree.
#![cfg(feature = "metrics")]

use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mainstay::snapshot::{Outcomes, Rejections};
use mainstay::{
    BulkheadLayer, CircuitBreakerLayer, Error, Event, EventKind, Limit, LoadShedLayer, Window,
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use proptest::prelude::*;
use tower::{Layer, Service};

mod support;
use support::{Act, Broken, Probe, ms};

/// Counts the calls that come through.
#[derive(Clone)]
struct Counted<S>(S, Arc<AtomicU64>);

fn counted<S>(inner: S) -> (Counted<S>, Arc<AtomicU64>) {
    let count = Arc::new(AtomicU64::new(0));
    (Counted(inner, Arc::clone(&count)), count)
}

impl<S: Service<Act>> Service<Act> for Counted<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, act: Act) -> S::Future {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.call(act)
    }
}

/// What one layer says of its calls.
#[derive(Debug, Default, PartialEq, Eq)]
struct Books {
    success: u64,
    failure: u64,
    ignored: u64,
    cancelled: u64,
    rejected: u64,
    given_up: u64,
}

impl Books {
    fn new(outcomes: Outcomes, rejections: &Rejections, given_up: u64) -> Self {
        Self {
            success: outcomes.success,
            failure: outcomes.failure,
            ignored: outcomes.ignored,
            cancelled: outcomes.cancelled,
            rejected: rejections.total(),
            given_up,
        }
    }

    fn total(&self) -> u64 {
        let over = self.success + self.failure + self.ignored + self.cancelled;
        over + self.rejected + self.given_up
    }

    /// By the metrics.
    fn scraped(handle: &PrometheusHandle, layer: &str) -> Self {
        let text = handle.render();
        let sum = |metric: &str, label: &str| {
            let prefix = format!("{metric}{{layer=\"{layer}\",");
            let lines = text.lines().filter(|line| line.starts_with(&prefix));
            let lines = lines.filter(|line| line.contains(label));
            let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
            values.sum()
        };
        let of = |outcome| sum("mainstay_calls_total", &format!("outcome=\"{outcome}\""));
        Self {
            success: of("success"),
            failure: of("failure"),
            ignored: of("ignored"),
            cancelled: of("cancelled"),
            rejected: sum("mainstay_rejections_total", ""),
            given_up: sum("mainstay_given_up_total", ""),
        }
    }
}

/// By the events.
type Told = Arc<Mutex<Books>>;

fn observer() -> (impl Fn(&Event) + Send + Sync + 'static, Told) {
    let told = Told::default();
    let books = Arc::clone(&told);
    let observer = move |event: &Event| {
        let mut books = books.lock().unwrap();
        match event.kind() {
            EventKind::Settled { outcome, .. } => match outcome.as_str() {
                "success" => books.success += 1,
                "failure" => books.failure += 1,
                "ignored" => books.ignored += 1,
                _ => books.cancelled += 1,
            },
            EventKind::Rejected(_) => books.rejected += 1,
            EventKind::GivenUp { .. } => books.given_up += 1,
            _ => {}
        }
    };
    (observer, told)
}

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

/// Runs it with a clock of its own and a recorder of its own.
fn run(history: impl AsyncFnOnce(PrometheusHandle)) {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(history(handle));
}

/// All ways to tell agree, and each call is in one count.
#[track_caller]
fn balance(
    layer: &str,
    calls: &AtomicU64,
    snapshot: &Books,
    told: &Told,
    handle: &PrometheusHandle,
) {
    assert_eq!(
        snapshot.total(),
        calls.load(Ordering::SeqCst),
        "{layer}: {snapshot:?}"
    );
    assert_eq!(*snapshot, *told.lock().unwrap(), "{layer}: events");
    assert_eq!(*snapshot, Books::scraped(handle, layer), "{layer}: metrics");
    for line in handle.render().lines() {
        let gauge = line.starts_with("mainstay_calls_in_flight{")
            || line.starts_with("mainstay_queue_depth{");
        assert!(!gauge || line.ends_with(" 0"), "{line}");
    }
}

fn silent_panics() {
    // They are caught, and expected.
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let text = info.payload().downcast_ref::<&str>();
            if !text.is_some_and(|text| text.contains("told to panic")) {
                usual(info);
            }
        }));
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn of_layers_around_each_other(steps in prop::collection::vec(step(), 1..80)) {
        silent_panics();
        run(async |handle| {
            let probe = Probe::new();
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
                let b = bulkhead.snapshot();
                let waits = Books::new(b.outcomes, &b.rejections, b.given_up);
                let held = u64::from(b.in_flight) + u64::from(b.waiting);
                let s = shed.snapshot();
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
            let probe = Probe::new();
            let (observer, told) = observer();
            let bulkhead = BulkheadLayer::builder().limit(2).observer(observer);
            let bulkhead = bulkhead.build().unwrap();
            let (service, calls) = counted(bulkhead.layer(probe.clone()));
            let now = || {
                let snapshot = bulkhead.snapshot();
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
            let probe = Probe::new();
            let (observer, told) = observer();
            let limit = Limit::aimd().min(1).max(4).initial(2).build().unwrap();
            let shed = LoadShedLayer::builder().limit(limit).observer(observer);
            let shed = shed.build().unwrap();
            let (service, calls) = counted(shed.layer(probe.clone()));
            let now = || {
                let snapshot = shed.snapshot();
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
    let service = layer.layer(Probe::new());
    let held = support::start(&service, Act::Hang).await;
    let waits = support::start(&service, Act::Ok).await;
    tokio::time::advance(ms(300)).await;
    waits.abort();
    support::settle().await;
    let snapshot = layer.snapshot();
    assert_eq!((snapshot.given_up, snapshot.waiting), (1, 0));
    let told = told.lock().unwrap();
    let [EventKind::GivenUp { waited }] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!(*waited, ms(300));
    assert_eq!(
        snapshot.to_string(),
        "bulkhead stock: 1 of 1 in flight, 0 waiting; 0 ok, 0 failed, 0 ignored, 0 cancelled; none rejected, 1 given up"
    );
    held.abort();
}
