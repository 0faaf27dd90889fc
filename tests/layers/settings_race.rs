//! Updates that race with calls: every call is in exactly one count, and nothing is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::support::Broken;
use mainstay::bulkhead::QueueSettings;
use mainstay::circuit_breaker::SlowCalls;
use mainstay::{
    BulkheadLayer, CircuitBreakerLayer, Error, Limit, LoadShedLayer, Mode, RateLimitLayer,
    RetryLayer, Window,
};
use tower::{Layer, Service, ServiceExt, service_fn};

const TASKS: u64 = 64;
const UPDATES: u64 = 1_000;
const CALLS_PER_UPDATE: u64 = 4;

/// A repeatable sequence of numbers (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn small(&mut self, end: u64) -> u32 {
        u32::try_from(self.below(end)).unwrap()
    }

    fn mode(&mut self) -> Mode {
        [Mode::Enforce, Mode::Enforce, Mode::Shadow, Mode::Off][self.below(4) as usize]
    }
}

/// Calls a service from many tasks until the updates are over, and drops some of the calls. Returns
/// the number of calls.
async fn race<S>(service: S, mut update: impl FnMut(&mut Numbers)) -> u64
where
    S: Service<u64, Response = (), Error = Error<Broken>, Future: Send> + Clone + Send + 'static,
{
    let is_over = Arc::new(AtomicBool::new(false));
    let calls = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (mut service, is_over) = (service.clone(), Arc::clone(&is_over));
            let calls = Arc::clone(&calls);
            tokio::spawn(async move {
                let mut numbers = Numbers(task);
                while !is_over.load(Ordering::Relaxed) {
                    let call = service.ready().await.unwrap().call(numbers.below(10));
                    calls.fetch_add(1, Ordering::Relaxed);
                    if numbers.below(20) == 0 {
                        let _ = futures::poll!(Box::pin(call));
                    } else {
                        let _ = call.await;
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let mut numbers = Numbers(7);
    for n in 0..UPDATES {
        while calls.load(Ordering::Relaxed) < n * CALLS_PER_UPDATE {
            tokio::task::yield_now().await;
        }
        update(&mut numbers);
    }
    is_over.store(true, Ordering::Relaxed);
    // Waiting calls end with their longest wait, or when others release permits.
    for task in tasks {
        task.await.unwrap();
    }
    calls.load(Ordering::Relaxed)
}

/// Yields as often as its request says, and fails for odd numbers.
fn inner() -> impl Service<u64, Response = (), Error = Broken, Future: Send> + Clone + Send {
    service_fn(|yields: u64| async move {
        for _ in 0..yields {
            tokio::task::yield_now().await;
        }
        if yields.is_multiple_of(2) {
            Ok(())
        } else {
            Err(Broken)
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bulkhead_counts_every_call_once() {
    let layer = BulkheadLayer::builder()
        .limit(8)
        .queueable()
        .build()
        .unwrap();
    let bulkhead = layer.handle();
    let calls = race(layer.layer(inner()), |numbers| {
        let mode = numbers.mode();
        let limit = 1 + numbers.small(20);
        let queue = QueueSettings::new(1 + numbers.small(9), Duration::from_millis(20));
        let queue = Some(queue).filter(|_| numbers.below(2) == 0);
        let _ = bulkhead
            .change(|settings| {
                (settings.mode, settings.limit) = (mode, Some(limit));
                settings.queue.clone_from(&queue);
            })
            .unwrap();
    })
    .await;
    let snapshot = bulkhead.snapshot();
    assert_eq!((snapshot.in_flight, snapshot.waiting), (0, 0));
    let counted = snapshot.outcomes.total() + snapshot.rejections.total() + snapshot.given_up;
    assert_eq!(counted, calls, "{snapshot}");
    let _ = bulkhead
        .change(|settings| (settings.mode, settings.limit) = (Mode::Enforce, Some(1)))
        .unwrap();
    let mut service = layer.layer(inner());
    assert!(
        service.ready().await.unwrap().call(0).await.is_ok(),
        "all permits are back"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_shedder_counts_every_call_once() {
    let layer = LoadShedLayer::new(Limit::fixed(8));
    let load = layer.handle();
    let calls = race(layer.layer(inner()), |numbers| {
        let mode = numbers.mode();
        let limit = match numbers.below(3) {
            0 => Limit::scheduler_lag(),
            1 => Limit::gradient2().min(2).max(40).build().unwrap(),
            _ => Limit::fixed(1 + numbers.small(20)),
        };
        let _ = load
            .change(|settings| (settings.mode, settings.limit) = (mode, limit))
            .unwrap();
    })
    .await;
    let snapshot = load.snapshot();
    assert_eq!((snapshot.in_flight, snapshot.streaming), (0, 0));
    assert_eq!(
        snapshot.outcomes.total() + snapshot.rejections.total(),
        calls,
        "{snapshot}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_circuit_breaker_counts_every_call_once() {
    let layer = CircuitBreakerLayer::new();
    let circuit = layer.handle();
    let calls = race(layer.layer(inner()), |numbers| {
        let mode = numbers.mode();
        let window = match numbers.below(3) {
            0 => Window::count(100 + numbers.small(100)),
            1 => Window::time(Duration::from_millis(500)),
            _ => Window::time(Duration::from_secs(10)).buckets(30),
        };
        let slow = Some(SlowCalls::new(Duration::from_millis(1), 0.9));
        let slow = slow.filter(|_| numbers.below(2) == 0);
        let rate = (1 + numbers.small(10)).into();
        let open_for = Duration::from_millis(1 + numbers.below(5));
        let _ = circuit
            .change(|settings| {
                (settings.mode, settings.window, settings.slow_calls) = (mode, window, slow);
                (settings.failure_rate, settings.open_for) = (Some(f64::min(rate, 1.0)), open_for);
            })
            .unwrap();
        if numbers.below(10) == 0 {
            circuit.reset();
        }
    })
    .await;
    let snapshot = circuit.snapshot();
    assert_eq!(
        snapshot.outcomes.total() + snapshot.rejections.total(),
        calls,
        "{snapshot}"
    );
    assert_eq!(snapshot.probes_in_flight, 0, "{snapshot}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_limit_counts_every_call_once_while_it_is_on() {
    let layer = RateLimitLayer::builder()
        .per(100, Duration::from_millis(1))
        .queueable();
    let layer = layer.build().unwrap();
    let limit = layer.handle();
    let calls = race(layer.layer(inner()), |numbers| {
        let mode = [Mode::Enforce, Mode::Shadow][numbers.below(2) as usize];
        let permits = 1 + numbers.small(500);
        let max_wait = Some(Duration::from_millis(5)).filter(|_| numbers.below(2) == 0);
        let _ = limit
            .change(|settings| {
                (settings.mode, settings.permits, settings.max_wait) = (mode, permits, max_wait);
            })
            .unwrap();
    })
    .await;
    let snapshot = limit.snapshot();
    let counted = snapshot.outcomes.total() + snapshot.rejections.total() + snapshot.given_up;
    assert_eq!((counted, snapshot.waiting), (calls, 0), "{snapshot}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_counts_every_attempt_once() {
    let attempts = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&attempts);
    let inner = service_fn(move |yields: u64| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move {
            tokio::task::yield_now().await;
            if yields.is_multiple_of(2) {
                Ok(())
            } else {
                Err(Broken)
            }
        }
    });
    let layer = RetryLayer::builder()
        .backoff(mainstay::Backoff::constant(Duration::ZERO))
        .build()
        .unwrap();
    let retry = layer.handle();
    let calls = race(layer.layer(inner), |numbers| {
        let mode = numbers.mode();
        let (attempts, ratio) = (1 + numbers.small(5), f64::from(numbers.small(4)));
        let _ = retry
            .change(|settings| {
                (settings.mode, settings.attempts) = (mode, attempts);
                if let Some(budget) = &mut settings.budget {
                    budget.ratio = ratio;
                }
            })
            .unwrap();
    })
    .await;
    let snapshot = retry.snapshot();
    let retries: u64 = snapshot.retries.iter().map(|(_, count)| count).sum();
    assert_eq!(
        calls + retries - snapshot.given_up,
        attempts.load(Ordering::Relaxed)
    );
}
