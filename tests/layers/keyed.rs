//! Layers with an instance for each key.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use crate::support::{
    Act, Broken, Probe, ms, reason, rejected, secs, send, send_caught, settle, start,
};
use futures::FutureExt as _;
use mainstay::bulkhead::BulkheadBuilder;
use mainstay::circuit_breaker::{CircuitBreakerBuilder, CircuitBreakerHandle};
use mainstay::keyed::{Key, PerKey};
use mainstay::{
    AtResponse, BulkheadLayer, CircuitBreakerLayer, Event, EventKind, OnCancel, Reason, State,
    Window,
};
use tokio::time::advance;
use tower::{Layer, Service};

/// The key of a request, and its outcome.
pub(crate) type Job = (String, Act);

#[derive(Clone, Default)]
pub(crate) struct Inner(pub(crate) Probe);

impl Service<Job> for Inner {
    type Response = u32;
    type Error = Broken;
    type Future = <Probe as Service<Act>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, (_, act): Job) -> Self::Future {
        self.0.call(act)
    }
}

#[derive(Clone, Copy)]
pub(crate) struct ByTenant;

impl Key<Job> for ByTenant {
    fn key<'a>(&'a self, (tenant, _): &'a Job) -> Option<Cow<'a, str>> {
        match tenant.as_str() {
            "nobody" => None,
            "panics" => panic!("told to panic"),
            tenant => Some(tenant.into()),
        }
    }
}

pub(crate) fn job(tenant: &str, act: Act) -> Job {
    (tenant.to_owned(), act)
}

fn breaker() -> CircuitBreakerBuilder<AtResponse, PerKey<ByTenant>> {
    CircuitBreakerLayer::builder()
        .name("jobs")
        .window(Window::count(10))
        .without_failure_rate()
        .consecutive_failures(3)
        .jitter(0.0)
        .keyed_by(ByTenant)
}

fn bulkhead(
    limit: u32,
) -> BulkheadBuilder<mainstay::bulkhead::Rejecting, AtResponse, PerKey<ByTenant>> {
    BulkheadLayer::builder()
        .name("jobs")
        .limit(limit)
        .keyed_by(ByTenant)
}

pub(crate) type Seen = Arc<Mutex<Vec<(Option<String>, String)>>>;

/// The key and the text of each event.
pub(crate) fn seen() -> (impl Fn(&Event) + Send + Sync + 'static, Seen) {
    let seen = Seen::default();
    let list = Arc::clone(&seen);
    let observer = move |event: &Event| {
        let key = event.key().map(str::to_owned);
        list.lock().unwrap().push((key, event.to_string()));
    };
    (observer, seen)
}

// --- A circuit for each key

#[tokio::test(start_paused = true)]
async fn only_the_circuit_of_the_key_that_fails_opens() {
    let layer = breaker().build().unwrap();
    let mut service = layer.layer(Inner::default());
    for _ in 0..3 {
        for tenant in ["a", "b", "c"] {
            let act = if tenant == "b" { Act::Fail } else { Act::Ok };
            let _ = send(&mut service, job(tenant, act)).await;
        }
    }
    assert_eq!(send(&mut service, job("a", Act::Ok)).await.unwrap(), 10);
    let rejection = rejected(send(&mut service, job("b", Act::Ok)).await);
    assert_eq!(rejection.reason(), Reason::CircuitOpen);
    assert_eq!((rejection.name(), rejection.key()), ("jobs", Some("b")));
    assert_eq!(
        rejection.to_string(),
        "circuit_breaker `jobs` [b]: the circuit is open, retry after 5s"
    );
    assert_eq!(send(&mut service, job("c", Act::Ok)).await.unwrap(), 11);
}

#[tokio::test(start_paused = true)]
async fn a_circuit_recovers_by_itself() {
    let layer = breaker().probes(1).build().unwrap();
    let mut service = layer.layer(Inner::default());
    for _ in 0..3 {
        let _ = send(&mut service, job("a", Act::Fail)).await;
    }
    let circuit = layer.handle().key("a").unwrap();
    assert_eq!(circuit.state(), State::Open);
    advance(secs(5)).await;
    send(&mut service, job("a", Act::Ok)).await.unwrap();
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn clones_and_services_share_the_circuits() {
    let layer = breaker().build().unwrap();
    let service = layer.layer(Inner::default());
    for _ in 0..3 {
        let _ = send(&mut service.clone(), job("a", Act::Fail)).await;
    }
    let mut other = layer.clone().layer(Inner::default());
    assert_eq!(
        reason(send(&mut other, job("a", Act::Ok)).await),
        Reason::CircuitOpen
    );
    assert!(send(&mut other, job("b", Act::Ok)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_closure_is_a_key() {
    let layer = CircuitBreakerLayer::builder()
        .keyed(|(tenant, _): &Job| tenant.as_str().into())
        .build()
        .unwrap();
    let mut service = layer.layer(Inner::default());
    send(&mut service, job("a", Act::Ok)).await.unwrap();
    send(&mut service, job("", Act::Ok)).await.unwrap();
    assert_eq!(layer.handle().keys(), ["a"]);
    let without = layer.handle().key("").unwrap().snapshot();
    assert_eq!((without.outcomes.success, without.key), (1, None));
}

#[tokio::test(start_paused = true)]
async fn calls_without_a_key_share_one_circuit() {
    let layer = breaker().build().unwrap();
    let mut service = layer.layer(Inner::default());
    for _ in 0..3 {
        let _ = send(&mut service, job("nobody", Act::Fail)).await;
    }
    let rejection = rejected(send(&mut service, job("nobody", Act::Ok)).await);
    assert_eq!((rejection.key(), rejection.name()), (None, "jobs"));
    assert!(layer.handle().keys().is_empty());
    assert!(send(&mut service, job("a", Act::Ok)).await.is_ok());
}

// --- Handles

#[tokio::test(start_paused = true)]
async fn the_handle_of_the_layer_is_about_all_keys() {
    let layer = breaker().build().unwrap();
    let circuits = layer.handle();
    assert_eq!(circuits.state(), State::Closed);
    let mut watch = circuits.watch();
    let mut service = layer.layer(Inner::default());
    send(&mut service, job("a", Act::Ok)).await.unwrap();
    send(&mut service, job("b", Act::Ok)).await.unwrap();
    for _ in 0..4 {
        let _ = send(&mut service, job("b", Act::Fail)).await;
    }
    assert_eq!(circuits.state(), State::Open);
    assert_eq!(watch.changed().now_or_never().flatten(), Some(State::Open));
    let mut keys = circuits.keys();
    keys.sort();
    assert_eq!(keys, ["a", "b"]);

    let all = circuits.snapshot();
    assert_eq!(all.states, [(State::Closed, 1), (State::Open, 1)]);
    assert_eq!((all.outcomes.success, all.outcomes.failure), (2, 3));
    assert_eq!((all.rejections.total(), all.opened), (1, 1));
    let keys = all.keys.unwrap();
    assert_eq!(
        (keys.keys, keys.max_keys, keys.evicted, keys.temporary),
        (2, 10_000, 0, 0)
    );
    assert!(
        all.to_string()
            .starts_with("circuit_breaker jobs: 2 of 10000 keys (closed 1, open 1); open for 0 us"),
        "{all}"
    );

    let one = circuits.key("b").unwrap().snapshot();
    assert_eq!((one.key.as_deref(), one.state), (Some("b"), State::Open));
    assert_eq!((one.outcomes.failure, one.rejections.total()), (3, 1));
    assert!(
        one.to_string()
            .starts_with("circuit_breaker jobs [b]: open for"),
        "{one}"
    );
    assert!(circuits.key("c").is_none());

    circuits.key("b").unwrap().reset();
    assert_eq!(circuits.state(), State::Closed);
    assert_eq!(
        watch.changed().now_or_never().flatten(),
        Some(State::Closed)
    );
}

#[tokio::test(start_paused = true)]
async fn all_keys_can_be_forced_also_new_ones() {
    let layer = breaker().build().unwrap();
    let circuits = layer.handle();
    let mut service = layer.layer(Inner::default());
    send(&mut service, job("a", Act::Ok)).await.unwrap();
    circuits.force_open();
    for tenant in ["a", "new"] {
        let rejected = send(&mut service, job(tenant, Act::Ok)).await;
        assert_eq!(reason(rejected), Reason::CircuitOpen);
    }
    assert_eq!(circuits.state(), State::ForcedOpen);
    circuits.reset();
    for tenant in ["a", "new", "newer"] {
        assert!(send(&mut service, job(tenant, Act::Ok)).await.is_ok());
    }
    circuits.key("a").unwrap().force_open();
    assert!(send(&mut service, job("a", Act::Ok)).await.is_err());
    assert!(send(&mut service, job("new", Act::Ok)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn events_name_the_key() {
    let (observer, seen) = seen();
    let layer = breaker().observer(observer).build().unwrap();
    let mut of_all = layer.handle().events();
    let mut service = layer.layer(Inner::default());
    send(&mut service, job("b", Act::Ok)).await.unwrap();
    let mut of_one = layer.handle().key("a");
    assert!(of_one.is_none());
    for _ in 0..4 {
        let _ = send(&mut service, job("a", Act::Fail)).await;
        of_one = layer.handle().key("a");
    }
    let mut of_one = of_one.unwrap().events();
    assert!(send(&mut service, job("a", Act::Ok)).await.is_err());
    let seen = seen.lock().unwrap();
    assert_eq!(seen[0].0.as_deref(), Some("b"));
    let lines: Vec<_> = seen.iter().map(|(_, line)| line.as_str()).collect();
    assert!(
        lines.contains(
            &"circuit_breaker jobs [a]: closed -> open (consecutive_failures: 3 of 3 failed, 0 slow)"
        ),
        "{lines:#?}"
    );
    assert!(lines.contains(&"circuit_breaker jobs [a]: rejected (circuit_open, retry after 5s)"));
    let count = std::iter::from_fn(|| of_all.try_recv()).count();
    assert_eq!(count, seen.len());
    let events: Vec<_> = std::iter::from_fn(|| of_one.try_recv()).collect();
    assert!(matches!(events[..], [ref one] if matches!(one.kind(), EventKind::Rejected(_))));
}

// --- A limit for each key

#[tokio::test(start_paused = true)]
async fn a_key_that_is_full_leaves_room_for_the_others() {
    let layer = bulkhead(1).build().unwrap();
    let service = layer.layer(Inner::default());
    let _first = start(&service, job("a", Act::Hang)).await;
    let rejection = rejected(send(&mut service.clone(), job("a", Act::Ok)).await);
    assert_eq!(
        (rejection.reason(), rejection.key()),
        (Reason::Full, Some("a"))
    );
    assert!(send(&mut service.clone(), job("b", Act::Ok)).await.is_ok());
    let all = layer.handle().snapshot();
    assert_eq!(
        (all.in_flight, all.limit, all.outcomes.success),
        (1, Some(1), 1)
    );
    assert_eq!(all.rejections.of(Reason::Full), 1);
    assert_eq!(
        all.to_string(),
        "bulkhead jobs: 2 of 10000 keys; 1 in flight, 0 waiting; \
         1 ok, 0 failed, 0 ignored, 0 cancelled; 1 rejected (full 1)"
    );
    let one = layer.handle().key("a").unwrap().snapshot();
    assert_eq!(
        one.to_string(),
        "bulkhead jobs [a]: 1 of 1 in flight, 0 waiting; \
         0 ok, 0 failed, 0 ignored, 0 cancelled; 1 rejected (full 1)"
    );
}

#[tokio::test(start_paused = true)]
async fn each_key_has_a_queue() {
    let layer = bulkhead(1).queue(1, secs(1)).build().unwrap();
    let service = layer.layer(Inner::default());
    let first = start(&service, job("a", Act::OkAfter(ms(100)))).await;
    let second = start(&service, job("a", Act::Ok)).await;
    assert_eq!(layer.handle().waiting(), 1);
    assert!(send(&mut service.clone(), job("b", Act::Ok)).await.is_ok());
    let full = send(&mut service.clone(), job("a", Act::Ok)).await;
    assert_eq!(reason(full), Reason::Full);
    assert!(first.await.unwrap().is_ok() && second.await.unwrap().is_ok());
    assert_eq!(
        (layer.handle().waiting(), layer.handle().in_flight()),
        (0, 0)
    );
}

// --- Bounds

#[tokio::test(start_paused = true)]
async fn an_idle_key_leaves_for_a_new_one_and_its_counts_stay() {
    let layer = bulkhead(1).max_keys(2).build().unwrap();
    let mut service = layer.layer(Inner::default());
    for tenant in 0..100 {
        send(&mut service, job(&tenant.to_string(), Act::Ok))
            .await
            .unwrap();
    }
    let all = layer.handle().snapshot();
    assert_eq!(all.outcomes.success, 100);
    let keys = all.keys.unwrap();
    assert_eq!((keys.keys, keys.evicted, keys.temporary), (2, 98, 0));
    assert_eq!(layer.handle().keys().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_first_key_stays_where_there_are_many() {
    for (limit, stays) in [(63, false), (64, true)] {
        let layer = bulkhead(1).max_keys(limit).build().unwrap();
        let service = layer.layer(Inner::default());
        for tenant in ["first", "second"] {
            send(&mut service.clone(), job(tenant, Act::Ok))
                .await
                .unwrap();
        }
        for tenant in 0..1_000 {
            let job = job(&tenant.to_string(), Act::Ok);
            send(&mut service.clone(), job).await.unwrap();
        }
        let handle = layer.handle();
        assert_eq!(handle.key("first").is_some(), stays, "{limit}");
        assert!(handle.key("second").is_none(), "{limit}");
        let all = handle.snapshot();
        let keys = all.keys.unwrap();
        assert_eq!((keys.keys, keys.temporary), (u64::from(limit), 0));
        assert_eq!(all.outcomes.success, 1_002);
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_with_calls_in_flight_never_leaves() {
    let layer = bulkhead(1).max_keys(2).build().unwrap();
    let service = layer.layer(Inner::default());
    let _a = start(&service, job("a", Act::Hang)).await;
    let _b = start(&service, job("b", Act::Hang)).await;
    // No room: each call has a limit of its own.
    for call in 0..10_u64 {
        send(&mut service.clone(), job("c", Act::Ok)).await.unwrap();
        let keys = layer.handle().snapshot().keys.unwrap();
        assert_eq!((keys.keys, keys.evicted, keys.temporary), (2, 0, call + 1));
    }
    assert_eq!(layer.handle().snapshot().outcomes.success, 10);
    for tenant in ["a", "b"] {
        let rejected = send(&mut service.clone(), job(tenant, Act::Ok)).await;
        assert_eq!(reason(rejected), Reason::Full);
    }
}

#[tokio::test(start_paused = true)]
async fn a_handle_keeps_its_key() {
    let layer = breaker().max_keys(1).build().unwrap();
    let mut service = layer.layer(Inner::default());
    send(&mut service, job("a", Act::Ok)).await.unwrap();
    let circuit = layer.handle().key("a").unwrap();
    for _ in 0..3 {
        send(&mut service, job("b", Act::Ok)).await.unwrap();
    }
    assert_eq!(circuit.snapshot().outcomes.success, 1);
    assert_eq!(layer.handle().snapshot().keys.unwrap().temporary, 3);
    drop(circuit);
    send(&mut service, job("b", Act::Ok)).await.unwrap();
    let all = layer.handle().snapshot();
    assert_eq!((all.outcomes.success, all.keys.unwrap().temporary), (5, 3));
    assert_eq!(layer.handle().keys(), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_leaves_last_and_not_silently() {
    let (observer, seen) = seen();
    let layer = breaker().max_keys(2).observer(observer).build().unwrap();
    let mut service = layer.layer(Inner::default());
    for _ in 0..3 {
        let _ = send(&mut service, job("open", Act::Fail)).await;
    }
    for tenant in 0..10 {
        send(&mut service, job(&tenant.to_string(), Act::Ok))
            .await
            .unwrap();
    }
    assert!(
        send(&mut service, job("open", Act::Ok)).await.is_err(),
        "it is still there"
    );
    for _ in 0..3 {
        let _ = send(&mut service, job("too", Act::Fail)).await;
    }
    assert_eq!(layer.handle().snapshot().states, [(State::Open, 2)]);
    seen.lock().unwrap().clear();
    send(&mut service, job("new", Act::Ok)).await.unwrap();
    let seen = seen.lock().unwrap();
    let (key, line) = &seen[0];
    let key = key.as_deref().unwrap();
    assert!(matches!(key, "open" | "too"), "{line}");
    let expected = format!("circuit_breaker jobs [{key}]: dropped to make room for another key");
    assert_eq!(*line, expected);
    let all = layer.handle().snapshot();
    assert_eq!(all.states, [(State::Closed, 1), (State::Open, 1)]);
    assert_eq!(
        (all.opened, all.outcomes.failure, all.outcomes.success),
        (2, 6, 11)
    );
}

#[tokio::test(start_paused = true)]
async fn hostile_keys_are_bounded_and_shown_escaped() {
    let layer = bulkhead(1).max_keys(100).build().unwrap();
    let service = layer.layer(Inner::default());
    let long = "x".repeat(10_000);
    for tenant in [&*long, "a\r\nb\u{1b}[31m", "\u{202e}\u{0}\u{feff}"] {
        let hangs = start(&service, job(tenant, Act::Hang)).await;
        let rejection = rejected(send(&mut service.clone(), job(tenant, Act::Ok)).await);
        let key = rejection.key().unwrap();
        assert!(
            key.len() <= 128 && !key.chars().any(char::is_control),
            "{key:?}"
        );
        assert!(
            layer.handle().key(tenant).is_some(),
            "found by what the function returned"
        );
        assert!(layer.handle().key(key).is_some(), "and by what is shown");
        hangs.abort();
    }
    settle().await;
    for tenant in 0..20_000_u32 {
        let tenant = format!("{tenant}{}", &long[..200]);
        send(&mut service.clone(), job(&tenant, Act::Ok))
            .await
            .unwrap();
    }
    let all = layer.handle().snapshot();
    assert_eq!(all.outcomes.success, 20_000);
    assert_eq!(
        (all.keys.unwrap().keys, all.keys.unwrap().temporary),
        (100, 0)
    );
}

#[tokio::test]
async fn a_key_function_that_panics_fails_its_call_alone() {
    let layer = bulkhead(1).build().unwrap();
    let service = layer.layer(Inner::default());
    for _ in 0..3 {
        assert!(send_caught(&service, job("panics", Act::Ok)).await.is_err());
        assert!(send(&mut service.clone(), job("a", Act::Ok)).await.is_ok());
    }
    let all = layer.handle().snapshot();
    assert_eq!(
        (all.in_flight, all.outcomes.success, all.outcomes.total()),
        (0, 3, 3)
    );
}

#[test]
fn the_number_of_keys_is_checked() {
    for keys in [0, 1_000_001] {
        let error = breaker().max_keys(keys).build().unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "circuit_breaker `jobs`: max_keys = {keys} is refused: must be from 1 to 1000000"
            )
        );
        assert!(bulkhead(1).max_keys(keys).build().is_err());
    }
    assert!(breaker().max_keys(1_000_000).build().is_ok());
}

#[tokio::test(start_paused = true)]
async fn settings_apply_to_each_key_in_any_order_of_the_setters() {
    let layer = CircuitBreakerLayer::builder()
        .keyed_by(ByTenant)
        .max_keys(5)
        .consecutive_failures(1)
        .on_cancel(OnCancel::Ignore)
        .classifier(mainstay::ErrorsFail)
        .name("late")
        .build()
        .unwrap();
    let mut service = layer.layer(Inner::default());
    let _ = send(&mut service, job("a", Act::Fail)).await;
    let rejection = rejected(send(&mut service, job("a", Act::Ok)).await);
    assert_eq!((rejection.name(), rejection.key()), ("late", Some("a")));
    assert!(send(&mut service, job("b", Act::Ok)).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_books_balance_while_keys_come_and_go() {
    let layer = bulkhead(2).max_keys(4).build().unwrap();
    let tasks: Vec<_> = (0..32_u32)
        .map(|task| {
            let mut service = layer.layer(Inner::default());
            tokio::spawn(async move {
                for call in 0..500_u32 {
                    let tenant = (task * 7 + call) % 10;
                    let act = if call % 5 == 0 { Act::Fail } else { Act::Ok };
                    let _ = send(&mut service, job(&tenant.to_string(), act)).await;
                    if call % 16 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let all = layer.handle().snapshot();
    assert_eq!(all.in_flight, 0);
    assert_eq!(all.outcomes.total() + all.rejections.total(), 16_000);
    assert!(all.keys.unwrap().keys <= 4);
}

#[tokio::test(start_paused = true)]
async fn a_key_with_settings_of_its_own_leaves_last_and_says_so() {
    let layer = BulkheadLayer::builder()
        .limit(4)
        .keyed_by(ByTenant)
        .max_keys(2)
        .build()
        .unwrap();
    let bulkhead = layer.handle();
    let mut events = bulkhead.events();
    let mut service = layer.layer(Inner::default());
    for tenant in ["own", "other"] {
        let _ = send(&mut service, job(tenant, Act::Ok)).await;
    }
    let own = bulkhead.key("own").unwrap();
    let _ = own.change(|settings| settings.limit = Some(1)).unwrap();
    // The same once more is no change.
    let _ = own.change(|settings| settings.limit = Some(1)).unwrap();
    drop(own);
    for n in 0..5 {
        let _ = send(&mut service, job(&format!("new{n}"), Act::Ok)).await;
        let own = bulkhead.key("own").unwrap();
        assert_eq!(own.limit(), Some(1), "the others have nothing to lose");
    }
    let mut seen = Vec::new();
    while let Some(event) = events.try_recv() {
        seen.extend(
            matches!(event.kind(), EventKind::Evicted).then(|| event.key().map(str::to_owned)),
        );
    }
    assert!(seen.is_empty(), "{seen:?}");
    // An update of all keys ends it.
    let _ = bulkhead
        .change(|settings| settings.limit = Some(3))
        .unwrap();
    assert_eq!(bulkhead.key("own").unwrap().limit(), Some(3));
}

#[tokio::test(start_paused = true)]
async fn a_key_in_the_state_that_was_forced_on_all_has_nothing_to_lose() {
    let layer = breaker().max_keys(2).build().unwrap();
    let circuits = layer.handle();
    circuits.force_closed();
    let mut events = circuits.events();
    let mut service = layer.layer(Inner::default());
    for n in 0..20 {
        let _ = send(&mut service, job(&format!("tenant{n}"), Act::Ok)).await;
    }
    while let Some(event) = events.try_recv() {
        assert!(!matches!(event.kind(), EventKind::Evicted), "{event}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_nobody_calls_any_more_has_nothing_to_lose() {
    for (rest, leaves_silently) in [(30, false), (120, true)] {
        let layer = breaker().max_keys(1).build().unwrap();
        let circuits = layer.handle();
        let mut events = circuits.events();
        let mut service = layer.layer(Inner::default());
        for _ in 0..3 {
            let _ = send(&mut service, job("dead", Act::Fail)).await;
        }
        assert_eq!(circuits.key("dead").unwrap().state(), State::Open);
        advance(secs(rest)).await;
        let _ = send(&mut service, job("live", Act::Ok)).await;
        let mut evicted = 0;
        while let Some(event) = events.try_recv() {
            evicted += usize::from(matches!(event.kind(), EventKind::Evicted));
        }
        assert_eq!(evicted == 0, leaves_silently, "after {rest} s");
        assert_eq!(circuits.state(), State::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_sees_a_forced_state_without_keys() {
    let layer = breaker().build().unwrap();
    let circuits = layer.handle();
    let mut watch = circuits.watch();
    for (state, act) in [
        (
            State::ForcedOpen,
            CircuitBreakerHandle::force_open as fn(&CircuitBreakerHandle),
        ),
        (State::Closed, CircuitBreakerHandle::reset),
        (State::ForcedClosed, CircuitBreakerHandle::force_closed),
    ] {
        act(&circuits);
        let changed = tokio::time::timeout(secs(1), watch.changed()).await;
        assert_eq!(changed, Ok(Some(state)));
    }
}
