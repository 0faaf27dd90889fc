//! Settings that change while calls run: what is in force, what stays, and what is refused.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{Act, Probe, ms, reason, secs, send, settle, start};
use mainstay::bulkhead::QueueSettings;
use mainstay::circuit_breaker::SlowCalls;
use mainstay::{
    BulkheadLayer, CircuitBreakerLayer, Event, EventKind, Mode, OnCancel, RateLimitLayer, Reason,
    State, Window,
};
use tokio::time::{Instant, advance};
use tower::Layer;

// --- Bulkhead

#[tokio::test(start_paused = true)]
async fn a_lowered_limit_admits_no_call_until_enough_have_left() {
    let layer = BulkheadLayer::new(4);
    let bulkhead = layer.handle();
    let mut service = layer.layer(Probe::default());
    let mut calls = Vec::new();
    for seconds in 1..=4 {
        calls.push(start(&service, Act::OkAfter(secs(seconds))).await);
    }
    let changes = bulkhead
        .change(|settings| settings.limit = Some(2))
        .unwrap();
    assert_eq!(changes.to_string(), "limit: 4 -> 2");
    assert_eq!((bulkhead.in_flight(), bulkhead.limit()), (4, Some(2)));
    for left in [3, 2, 1] {
        assert_eq!(reason(send(&mut service, Act::Ok).await), Reason::Full);
        advance(secs(1)).await;
        settle().await;
        assert_eq!(bulkhead.in_flight(), left);
    }
    assert!(send(&mut service, Act::Ok).await.is_ok());
    for call in calls {
        assert!(call.await.unwrap().is_ok(), "calls in flight go on");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lowered_limit_passes_no_permit_to_the_queue_until_enough_have_left() {
    let layer = BulkheadLayer::builder()
        .limit(3)
        .queue(9, secs(60))
        .build()
        .unwrap();
    let bulkhead = layer.handle();
    let probe = Probe::default();
    let service = layer.layer(probe.clone());
    let mut calls = Vec::new();
    for _ in 0..6 {
        calls.push(start(&service, Act::OkAfter(secs(1))).await);
    }
    assert_eq!((bulkhead.in_flight(), bulkhead.waiting()), (3, 3));
    let _ = bulkhead
        .change(|settings| settings.limit = Some(1))
        .unwrap();
    let begun = Instant::now();
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
    // Three at once, then one after the other.
    assert_eq!((begun.elapsed(), probe.max_in_flight()), (secs(4), 3));
}

#[tokio::test(start_paused = true)]
async fn a_raised_limit_admits_waiting_calls_at_once() {
    let layer = BulkheadLayer::builder()
        .limit(1)
        .queue(9, secs(60))
        .build()
        .unwrap();
    let bulkhead = layer.handle();
    let service = layer.layer(Probe::default());
    let mut calls = Vec::new();
    for _ in 0..5 {
        calls.push(start(&service, Act::OkAfter(secs(1))).await);
    }
    let _ = bulkhead
        .change(|settings| settings.limit = Some(3))
        .unwrap();
    assert_eq!((bulkhead.in_flight(), bulkhead.waiting()), (3, 2));
    let _ = bulkhead
        .change(|settings| settings.mode = Mode::Off)
        .unwrap();
    assert_eq!((bulkhead.in_flight(), bulkhead.waiting()), (5, 0));
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
    assert_eq!(bulkhead.snapshot().outcomes.success, 5);
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_removed_keeps_its_calls_and_takes_no_more() {
    let layer = BulkheadLayer::builder()
        .limit(1)
        .queue(9, secs(2))
        .build()
        .unwrap();
    let bulkhead = layer.handle();
    let mut service = layer.layer(Probe::default());
    let first = start(&service, Act::OkAfter(secs(1))).await;
    let waits = start(&service, Act::OkAfter(secs(1))).await;
    let changes = bulkhead.change(|settings| settings.queue = None).unwrap();
    assert_eq!(changes.to_string(), "queue: {calls 9, max_wait 2s} -> off");
    assert_eq!(reason(send(&mut service, Act::Ok).await), Reason::Full);
    assert!(first.await.unwrap().is_ok() && waits.await.unwrap().is_ok());
    let added = QueueSettings::new(1, ms(500));
    let changes = bulkhead
        .change(|settings| settings.queue = Some(added.clone()))
        .unwrap();
    assert_eq!(
        changes.to_string(),
        "queue: off -> {calls 1, max_wait 500ms}"
    );
    let _first = start(&service, Act::OkAfter(secs(1))).await;
    assert_eq!(
        reason(send(&mut service, Act::Ok).await),
        Reason::QueueTimeout
    );
}

#[tokio::test(start_paused = true)]
async fn a_bulkhead_in_shadow_mode_rejects_nothing_and_says_what_it_would_reject() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let layer = {
        let told = Arc::clone(&told);
        BulkheadLayer::builder()
            .limit(1)
            .queue(1, secs(1))
            .mode(Mode::Shadow)
            .observer(move |event: &Event| told.lock().unwrap().push(event.to_string()))
            .build()
            .unwrap()
    };
    let bulkhead = layer.handle();
    let service = layer.layer(Probe::default());
    let mut calls = Vec::new();
    for _ in 0..4 {
        calls.push(start(&service, Act::OkAfter(secs(1))).await);
    }
    let snapshot = bulkhead.snapshot();
    // The second call would have waited.
    assert_eq!(
        (snapshot.in_flight, snapshot.would_reject.of(Reason::Full)),
        (4, 2)
    );
    assert_eq!(
        (snapshot.mode, snapshot.rejections.total()),
        (Mode::Shadow, 0)
    );
    assert_eq!(
        *told.lock().unwrap(),
        ["bulkhead default: would reject (full)"; 2]
    );
    assert!(
        snapshot.to_string().contains("4 of 1 in flight (shadow)"),
        "{snapshot}"
    );
    let mut service = service.clone();
    let _ = bulkhead
        .change(|settings| settings.mode = Mode::Enforce)
        .unwrap();
    let _ = bulkhead.change(|settings| settings.queue = None).unwrap();
    assert_eq!(reason(send(&mut service, Act::Ok).await), Reason::Full);
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
    assert!(send(&mut service, Act::Ok).await.is_ok());
    let snapshot = bulkhead.snapshot();
    assert_eq!(
        (snapshot.outcomes.total(), snapshot.rejections.total()),
        (5, 1)
    );
}

#[test]
fn an_invalid_update_changes_nothing_and_names_the_field() {
    let layer = BulkheadLayer::builder()
        .name("stock")
        .limit(8)
        .build()
        .unwrap();
    let bulkhead = layer.handle();
    let before = bulkhead.settings();
    let error = bulkhead
        .change(|settings| settings.limit = Some(0))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "bulkhead `stock`: limit = 0 is refused: must be from 1 to 16777215"
    );
    let queue = QueueSettings::new(4, ms(10));
    let error = bulkhead
        .change(|settings| settings.queue = Some(queue.clone()))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "bulkhead `stock`: queue = 4 calls is refused: this bulkhead was built without a queue: \
         build it with `queueable()`"
    );
    assert_eq!(bulkhead.settings(), before);
    assert!(bulkhead.update(&before).unwrap().is_empty());
}

#[test]
fn a_change_is_an_event_and_a_panic_in_the_closure_changes_nothing() {
    let layer = BulkheadLayer::new(8);
    let bulkhead = layer.handle();
    let mut events = bulkhead.events();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        bulkhead.change(|settings| {
            settings.limit = Some(1);
            panic!("in the closure");
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(bulkhead.limit(), Some(8));
    let _ = bulkhead.change(|settings| settings.limit = None).unwrap();
    assert_eq!(bulkhead.limit(), None);
    let event = events.try_recv().unwrap();
    assert_eq!(
        event.to_string(),
        "bulkhead default: settings changed (limit: 8 -> off)"
    );
    assert!(
        matches!(event.kind(), EventKind::SettingsChanged(changes) if changes.iter().len() == 1)
    );
    assert!(events.try_recv().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_changes_all_take_effect() {
    let layer = BulkheadLayer::new(1);
    let bulkhead = layer.handle();
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let bulkhead = bulkhead.clone();
            tokio::spawn(async move {
                for _ in 0..50 {
                    let _ = bulkhead
                        .change(|settings| settings.limit = settings.limit.map(|limit| limit + 1))
                        .unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(bulkhead.limit(), Some(801));
}

// --- Circuit breaker

#[tokio::test(start_paused = true)]
async fn an_open_circuit_stays_open_for_its_time() {
    let layer = CircuitBreakerLayer::builder()
        .consecutive_failures(1)
        .open_for(secs(10))
        .jitter(0.0)
        .build()
        .unwrap();
    let circuit = layer.handle();
    let mut service = layer.layer(Probe::default());
    let _ = send(&mut service, Act::Fail).await;
    assert_eq!(circuit.state(), State::Open);
    let _ = circuit
        .change(|settings| {
            settings.open_for = secs(1);
            settings.window = Window::time(secs(60));
            settings.slow_calls = Some(SlowCalls::new(secs(1), 0.5));
        })
        .unwrap();
    advance(secs(9)).await;
    assert_eq!(
        reason(send(&mut service, Act::Ok).await),
        Reason::CircuitOpen
    );
    advance(secs(1)).await;
    assert!(send(&mut service, Act::Ok).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn counts_stay_where_the_window_has_the_same_kind() {
    let windows = [
        (Window::count(100), Window::count(50), (40, 10)),
        (Window::count(100), Window::count(20), (20, 10)),
        (Window::count(50), Window::count(1_000), (40, 10)),
        (Window::time(secs(10)), Window::time(secs(60)), (40, 10)),
        (
            Window::time(secs(10)),
            Window::time(secs(10)).buckets(100),
            (40, 10),
        ),
        // The older half has expired in the new window.
        (Window::time(secs(20)), Window::time(secs(2)), (20, 10)),
        (Window::time(secs(10)), Window::count(100), (0, 0)),
        (Window::count(100), Window::time(secs(10)), (0, 0)),
    ];
    for (from, to, expected) in windows {
        let layer = CircuitBreakerLayer::builder()
            .failure_rate(0.9)
            .window(from)
            .build()
            .unwrap();
        let circuit = layer.handle();
        let mut service = layer.layer(Probe::default());
        for _ in 0..20 {
            let _ = send(&mut service, Act::Ok).await;
        }
        advance(secs(5)).await;
        for n in 0..20 {
            let act = if n % 2 == 0 { Act::Fail } else { Act::Ok };
            let _ = send(&mut service, act).await;
        }
        let _ = circuit.change(|settings| settings.window = to).unwrap();
        let snapshot = circuit.snapshot();
        assert_eq!(
            (snapshot.calls, snapshot.failures),
            expected,
            "{from} -> {to}"
        );
        let _ = send(&mut service, Act::Fail).await;
        let failures = circuit.snapshot().failures;
        // The oldest of the last 20 calls is a failure.
        let left = u64::from(to == Window::count(20));
        assert_eq!(failures, expected.1 + 1 - left, "{from} -> {to}");
        assert_eq!(circuit.state(), State::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_rule_applies_from_the_next_outcome_on() {
    let layer = CircuitBreakerLayer::new();
    let circuit = layer.handle();
    let mut service = layer.layer(Probe::default());
    for n in 0..30 {
        let act = if n % 3 == 0 { Act::Fail } else { Act::Ok };
        let _ = send(&mut service, act).await;
    }
    assert_eq!(circuit.state(), State::Closed);
    let changes = circuit
        .change(|settings| settings.failure_rate = Some(0.3))
        .unwrap();
    assert_eq!(changes.to_string(), "failure_rate: 0.5 -> 0.3");
    let _ = send(&mut service, Act::Fail).await;
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_that_is_switched_off_admits_all_and_remembers() {
    let layer = CircuitBreakerLayer::builder()
        .consecutive_failures(1)
        .build()
        .unwrap();
    let circuit = layer.handle();
    let mut service = layer.layer(Probe::default());
    let _ = send(&mut service, Act::Fail).await;
    for mode in [Mode::Off, Mode::Shadow] {
        let _ = circuit.change(|settings| settings.mode = mode).unwrap();
        assert!(send(&mut service, Act::Ok).await.is_ok(), "{mode}");
    }
    let _ = circuit
        .change(|settings| settings.mode = Mode::Enforce)
        .unwrap();
    assert_eq!(
        reason(send(&mut service, Act::Ok).await),
        Reason::CircuitOpen
    );
    assert_eq!(circuit.snapshot().would_reject.total(), 1);
}

#[test]
fn settings_in_force_contain_the_derived_ones_and_changes_keep_them_derived() {
    let layer = CircuitBreakerLayer::new();
    let circuit = layer.handle();
    let settings = circuit.settings();
    assert_eq!(settings.probe_life, Some(secs(10)));
    assert_eq!(settings.on_cancel, Some(OnCancel::FailureIfSlow));
    let _ = circuit
        .change(|settings| {
            assert_eq!(settings.probe_life, None);
            settings.probes = 4;
        })
        .unwrap();
    let slow = Some(SlowCalls::new(secs(20), 0.5));
    let _ = circuit
        .change(|settings| settings.slow_calls = slow)
        .unwrap();
    assert_eq!(circuit.settings().probe_life, Some(secs(20)));
    let error = circuit
        .change(|settings| settings.probe_life = Some(secs(19)))
        .unwrap_err();
    assert_eq!(error.field(), "probe_life");
    assert_eq!(circuit.settings().probes, 4);
}

// --- Rate limit

#[tokio::test(start_paused = true)]
async fn permits_in_use_remain_in_use() {
    let layer = RateLimitLayer::per_second(10).unwrap();
    let limit = layer.handle();
    let mut service = layer.layer(Probe::default());
    for _ in 0..10 {
        assert!(send(&mut service, Act::Ok).await.is_ok());
    }
    assert_eq!(limit.available(), 0);
    let _ = limit.change(|settings| settings.permits = 100).unwrap();
    assert_eq!(limit.available(), 90);
    let _ = limit.change(|settings| settings.permits = 5).unwrap();
    assert_eq!(limit.available(), 0);
    advance(ms(200)).await;
    assert_eq!(limit.available(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_call_is_admitted_at_the_new_rate() {
    let layer = RateLimitLayer::builder()
        .per(1, secs(60))
        .max_wait(secs(3_600))
        .build()
        .unwrap();
    let limit = layer.handle();
    let service = layer.layer(Probe::default());
    let begun = Instant::now();
    let calls = {
        let mut calls = Vec::new();
        for _ in 0..4 {
            calls.push(start(&service, Act::Ok).await);
        }
        calls
    };
    assert_eq!(limit.waiting(), 3);
    let _ = limit.change(|settings| settings.per = secs(1)).unwrap();
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
    assert_eq!(begun.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_are_admitted_when_the_rate_limit_is_switched_off() {
    for mode in [Mode::Off, Mode::Shadow] {
        let layer = RateLimitLayer::builder()
            .per(1, secs(60))
            .max_wait(secs(3_600))
            .build()
            .unwrap();
        let limit = layer.handle();
        let service = layer.layer(Probe::default());
        let begun = Instant::now();
        let mut calls = Vec::new();
        for _ in 0..4 {
            calls.push(start(&service, Act::Ok).await);
        }
        let _ = limit.change(|settings| settings.mode = mode).unwrap();
        for call in calls {
            assert!(call.await.unwrap().is_ok());
        }
        assert_eq!(
            (begun.elapsed(), limit.waiting()),
            (Duration::ZERO, 0),
            "{mode}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_in_shadow_mode_says_what_it_would_reject() {
    let layer = RateLimitLayer::builder()
        .per(2, secs(1))
        .mode(Mode::Shadow)
        .build()
        .unwrap();
    let limit = layer.handle();
    let mut service = layer.layer(Probe::default());
    for _ in 0..5 {
        assert!(send(&mut service, Act::Ok).await.is_ok());
    }
    let snapshot = limit.snapshot();
    assert_eq!(snapshot.would_reject.of(Reason::RateLimited), 3);
    assert_eq!(
        (snapshot.outcomes.success, snapshot.rejections.total()),
        (5, 0)
    );
    let _ = limit
        .change(|settings| settings.mode = Mode::Enforce)
        .unwrap();
    assert_eq!(
        reason(send(&mut service, Act::Ok).await),
        Reason::RateLimited
    );
}
