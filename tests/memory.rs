//! What an instance costs in memory, and that it gives everything back.

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use allocation_counter::measure;
use futures::FutureExt as _;
use futures::future::{BoxFuture, pending, ready};
use mainstay::admission::{Admission, AdmissionLayer, Refusal, Ticket};
use mainstay::registry::Registry;
use mainstay::{
    BulkheadLayer, CircuitBreakerLayer, Limit, LoadShedLayer, RateLimitLayer, RetryLayer,
    TimeoutLayer,
};
use tower::{Layer, Service, service_fn};

const INSTANCES: usize = 10_000;
/// Bytes of an instance that was never called, and of one that has waited.
const MOST_IDLE: i64 = 1_024;
const MOST_USED: i64 = 8 * 1_024;

type Answer = BoxFuture<'static, Result<(), Infallible>>;

/// The inner service: ready at once, or never.
fn inner(waits: bool) -> Answer {
    if waits {
        pending().boxed()
    } else {
        ready(Ok(())).boxed()
    }
}

/// Makes the thread's random generator. A circuit breaker uses it when it records a call that took
/// long, which a busy machine decides.
fn make_generator() {
    black_box(rand::rng());
}

struct All;

impl Admission for All {
    fn admit(&self) -> Result<Ticket, Refusal> {
        Ok(Ticket::new())
    }
}

/// Calls of a service that is called once, and of one that is called repeatedly: ready at once, and given up while they wait.
fn use_it<L>(layer: &L)
where
    L: Layer<tower::util::ServiceFn<fn(bool) -> Answer>, Service: Service<bool> + Clone>,
{
    let service = layer.layer(service_fn(inner as fn(bool) -> Answer));
    let mut repeatedly = service.clone();
    for waits in [false, true, false] {
        for service in [&mut service.clone(), &mut repeatedly] {
            let ready = futures::future::poll_fn(|cx| service.poll_ready(cx));
            assert!(ready.now_or_never().is_some_and(|ready| ready.is_ok()));
            let answer = service.call(waits).now_or_never();
            assert_eq!(answer.is_none(), waits);
        }
    }
}

macro_rules! owned {
    ($($name:ident: $make:expr;)*) => {$(
        #[tokio::test]
        async fn $name() {
            // A slot of the thread and the like are made once.
            make_generator();
            let _first = $make;
            use_it(&_first);
            tokio::task::yield_now().await;

            let mut one = None;
            let idle = measure(|| one = Some(black_box($make))).bytes_current;
            assert!(idle <= MOST_IDLE, "{idle} bytes for an instance that was never called");
            let used = measure(|| use_it(one.as_ref().unwrap())).bytes_current + idle;
            assert!(used <= MOST_USED, "{used} bytes for one that has waited");

            let left = measure(|| {
                for _ in 0..INSTANCES {
                    let layer = black_box($make);
                    use_it(&layer);
                }
            });
            assert!(left.count_total >= INSTANCES as u64, "it was not optimized away");
            assert_eq!(left.bytes_current, 0, "bytes that nobody owns");
        }
    )*};
}

/// A name that no other instance has: it is owned as well.
fn name() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    format!("one-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

owned! {
    circuit_breaker: CircuitBreakerLayer::builder().name(name()).build().unwrap();
    circuit_breaker_with_a_threshold: CircuitBreakerLayer::builder()
        .name(name())
        .slow_calls(Duration::from_secs(1), 0.5)
        .build()
        .unwrap();
    bulkhead: BulkheadLayer::new(8);
    bulkhead_with_a_queue: BulkheadLayer::builder()
        .name(name())
        .limit(8)
        .queue(8, Duration::from_secs(1))
        .build()
        .unwrap();
    load_shed_fixed: LoadShedLayer::new(Limit::fixed(8));
    load_shed_adaptive: LoadShedLayer::builder()
        .name(name())
        .limit(Limit::adaptive())
        .build()
        .unwrap();
    rate_limit: RateLimitLayer::builder().name(name()).build().unwrap();
    timeout: TimeoutLayer::builder().name(name()).build().unwrap();
    retry: RetryLayer::builder().name(name()).build().unwrap();
    admission: AdmissionLayer::builder("all", All).name(name()).build().unwrap();
}

/// In their registry, too, whether they go one after the other or all together.
#[tokio::test]
async fn stacks_in_a_registry() {
    let registry = Registry::new();
    let make = || {
        let client = mainstay::client(name()).registry(&registry);
        client.build().unwrap()
    };
    make_generator();
    use_it(&make());
    tokio::task::yield_now().await;
    drop(registry.events());

    let left = measure(|| {
        for _ in 0..INSTANCES {
            let stack = black_box(make());
            use_it(&stack);
            let _events = registry.events();
        }
        let many: Vec<_> = (0..INSTANCES).map(|_| make()).collect();
        assert_eq!(registry.stacks().len(), INSTANCES);
        drop(black_box(many));
    });
    assert_eq!(left.bytes_current, 0, "bytes that nobody owns");
    assert!(registry.stacks().is_empty());
}

/// The name of a host that no other call has.
fn host() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    format!(
        "host-{}.example.com",
        NUMBER.fetch_add(1, Ordering::Relaxed)
    )
}

fn call<S: Service<bool>>(service: &mut S) {
    let ready = futures::future::poll_fn(|cx| service.poll_ready(cx));
    assert!(ready.now_or_never().is_some_and(|ready| ready.is_ok()));
    assert!(service.call(false).now_or_never().is_some());
}

/// A circuit breaker around a bulkhead, with an instance of both for each host.
macro_rules! keyed {
    () => {{
        let breaker = CircuitBreakerLayer::builder().name("hosts");
        let breaker = breaker.keyed(|_: &bool| host().into()).build().unwrap();
        let bulkhead = BulkheadLayer::builder().name("hosts").limit(8);
        let bulkhead = bulkhead.keyed(|_: &bool| host().into()).build().unwrap();
        breaker.layer(bulkhead.layer(service_fn(inner as fn(bool) -> Answer)))
    }};
}

/// Bytes of a key that was called once, of circuit breaker and bulkhead together.
const MOST_FOR_A_KEY: i64 = 1_472;

#[tokio::test]
async fn a_key_is_small() {
    make_generator();
    let mut service = keyed!();
    call(&mut service);
    const KEYS: i64 = 8_000;
    let bytes = measure(|| (0..KEYS).for_each(|_| call(&mut service))).bytes_current;
    let each = bytes / KEYS;
    assert!(each <= MOST_FOR_A_KEY, "{each} bytes for a key");
}

/// Bytes of a key that was called once, of a retry with a budget for each key.
const MOST_FOR_A_BUDGET: i64 = 1_472;

#[tokio::test]
async fn the_budget_of_a_key_is_small() {
    make_generator();
    let retry = RetryLayer::builder().keyed(|_: &bool| host().into());
    let retry = retry.build().unwrap();
    let mut service = retry.layer(service_fn(inner as fn(bool) -> Answer));
    call(&mut service);
    const KEYS: i64 = 8_000;
    let bytes = measure(|| (0..KEYS).for_each(|_| call(&mut service))).bytes_current;
    let each = bytes / KEYS;
    assert!(each <= MOST_FOR_A_BUDGET, "{each} bytes for a key");
}

#[tokio::test]
async fn a_million_keys_leave_memory_flat() {
    // A slot of the thread and the like are made once.
    make_generator();
    call(&mut keyed!());
    let mut service = None;
    let empty = measure(|| service = Some(keyed!())).bytes_current;
    let mut service = service.unwrap();
    let first = measure(|| (0..20_000).for_each(|_| call(&mut service))).bytes_current;
    let more = measure(|| (0..1_000_000).for_each(|_| call(&mut service))).bytes_current;
    assert!(more.abs() < first / 20, "{more} bytes more than {first}");
    let left = measure(|| drop(service)).bytes_current;
    assert_eq!(empty + first + more + left, 0, "bytes that nobody owns");
}
