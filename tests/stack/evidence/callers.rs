//! Callers with short deadlines, and callers who hang up, in front of a circuit breaker.

use std::future::Future;
use std::time::Duration;

use mainstay::circuit_breaker::CircuitBreakerBuilder;
use mainstay::{
    CircuitBreakerHandle, CircuitBreakerLayer, Context, OnCancel, Recovery, State, TimeoutLayer,
    Window,
};
use tokio::time::{advance, sleep, timeout};
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt as _};

use crate::support::{Act, Broken, Probe, ms, secs};

type Client = BoxCloneSyncService<Act, u32, mainstay::Error<Broken>>;

/// Where the program's own time limits stand, as seen from the circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Limits {
    Outside,
    Inside,
}

const BOTH: [Limits; 2] = [Limits::Outside, Limits::Inside];

fn builder() -> CircuitBreakerBuilder {
    CircuitBreakerLayer::builder()
}

/// A circuit breaker in front of a probe, and a time limit around it or within.
fn client(
    builder: CircuitBreakerBuilder,
    limits: Limits,
    limit: TimeoutLayer,
) -> (Client, CircuitBreakerHandle) {
    let layer = builder.build().unwrap();
    let circuit = layer.handle();
    let client = match limits {
        Limits::Outside => BoxCloneSyncService::new(limit.layer(layer.layer(Probe::default()))),
        Limits::Inside => BoxCloneSyncService::new(layer.layer(limit.layer(Probe::default()))),
    };
    (client, circuit)
}

fn default_limit() -> TimeoutLayer {
    TimeoutLayer::builder().build().unwrap()
}

/// A call of a caller who gives it so long.
async fn call_within(client: &Client, deadline: Duration, act: Act) {
    let call = client.clone().oneshot(act);
    let _ = Context::current().with_timeout(deadline).scope(call).await;
}

/// A call of a caller who hangs up after so long.
async fn hang_up(client: &Client, after: Duration, act: Act) {
    let _ = timeout(after, client.clone().oneshot(act)).await;
}

/// So many at a time, twenty a second.
async fn flood<F: Future<Output = ()> + Send + 'static>(calls: u32, mut call: impl FnMut() -> F) {
    let mut tasks = Vec::new();
    for _ in 0..calls {
        tasks.push(tokio::spawn(call()));
        sleep(ms(50)).await;
    }
    for task in tasks {
        task.await.unwrap();
    }
}

macro_rules! flood {
    ($calls:expr, $client:ident, $call:ident($time:expr, $act:expr)) => {
        flood($calls, || {
            let client = $client.clone();
            async move { $call(&client, $time, $act).await }
        })
    };
}

#[tokio::test(start_paused = true)]
async fn short_deadlines_open_nothing() {
    for limits in BOTH {
        let (client, circuit) = client(builder(), limits, default_limit());
        flood!(200, client, call_within(ms(3), Act::Hang)).await;
        let snapshot = circuit.snapshot();
        assert_eq!(
            (snapshot.state, snapshot.calls),
            (State::Closed, 0),
            "{limits:?}"
        );
        assert_eq!(snapshot.outcomes.cancelled, 200, "{limits:?}");
        assert_eq!(snapshot.outcomes.total(), 200, "{limits:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn hanging_up_opens_nothing() {
    for limits in BOTH {
        let (client, circuit) = client(builder(), limits, default_limit());
        flood!(200, client, hang_up(ms(30), Act::Hang)).await;
        let snapshot = circuit.snapshot();
        assert_eq!(
            (snapshot.state, snapshot.calls),
            (State::Closed, 0),
            "{limits:?}"
        );
        assert_eq!(snapshot.outcomes.cancelled, 200, "{limits:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn deadlines_that_are_too_short_for_a_slow_route_open_nothing() {
    let windows = [Window::default(), Window::count(100)];
    for (limits, window) in windows.iter().flat_map(|window| BOTH.map(|b| (b, *window))) {
        let (client, circuit) = client(builder().window(window), limits, default_limit());
        client.clone().oneshot(Act::OkAfter(secs(3))).await.unwrap();
        let honest = client.clone();
        let honest = tokio::spawn(async move {
            for _ in 0..10 {
                honest.clone().oneshot(Act::OkAfter(secs(3))).await.unwrap();
            }
        });
        flood!(300, client, call_within(ms(1_500), Act::OkAfter(secs(3)))).await;
        flood!(100, client, hang_up(ms(1_500), Act::OkAfter(secs(3)))).await;
        honest.await.unwrap();
        let snapshot = circuit.snapshot();
        assert_eq!(
            (snapshot.state, snapshot.failures),
            (State::Closed, 0),
            "{limits:?}"
        );
        assert_eq!(snapshot.opened, 0, "{limits:?}");
        assert_eq!(
            (snapshot.outcomes.success, snapshot.outcomes.cancelled),
            (11, 400)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_hangs_is_found_although_all_callers_give_it_two_seconds() {
    for limits in BOTH {
        for hang_ups in [false, true] {
            let (client, circuit) = client(builder(), limits, default_limit());
            for _ in 0..50 {
                client.clone().oneshot(Act::OkAfter(ms(100))).await.unwrap();
            }
            if hang_ups {
                flood!(60, client, hang_up(secs(2), Act::Hang)).await;
            } else {
                flood!(60, client, call_within(secs(2), Act::Hang)).await;
            }
            assert_eq!(circuit.state(), State::Open, "{limits:?} {hang_ups}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_slow_call_threshold_is_the_lower_bound_where_one_is_set() {
    for limits in BOTH {
        let slow = || builder().slow_calls(ms(200), 0.5);
        let (client, circuit) = client(slow(), limits, default_limit());
        flood!(200, client, call_within(ms(150), Act::Hang)).await;
        let snapshot = circuit.snapshot();
        assert_eq!(
            (snapshot.state, snapshot.slow_calls),
            (State::Closed, 0),
            "{limits:?}"
        );
        flood!(30, client, call_within(ms(250), Act::Hang)).await;
        assert_eq!(circuit.state(), State::Open, "{limits:?}");
        assert!(circuit.snapshot().changes[0].slow_calls >= 20);
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_the_programs_own_is_evidence_in_full() {
    let half = || TimeoutLayer::new(ms(500));
    for limits in BOTH {
        for limit in [half(), default_limit()] {
            let (client, circuit) = client(builder(), limits, limit);
            let calls = (0..30).map(|_| client.clone().oneshot(Act::Hang));
            futures::future::join_all(calls).await;
            assert_eq!(circuit.state(), State::Open, "{limits:?}");
        }
    }
    // Two of them within: the outer one ends the call, and the inner one says so.
    let layer = builder().build().unwrap();
    let limits = (half(), TimeoutLayer::new(secs(2)));
    let service = layer.layer(limits.0.layer(limits.1.layer(Probe::default())));
    let calls = (0..30).map(|_| service.clone().oneshot(Act::Hang));
    futures::future::join_all(calls).await;
    assert_eq!(layer.handle().state(), State::Open);
    // One around and one within.
    let layer = builder().build().unwrap();
    let service = half().layer(layer.layer(TimeoutLayer::new(secs(2)).layer(Probe::default())));
    let calls = (0..30).map(|_| service.clone().oneshot(Act::Hang));
    futures::future::join_all(calls).await;
    assert_eq!(layer.handle().state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_callers_deadline_within_the_programs_limit_is_none() {
    for limits in BOTH {
        let (client, circuit) = client(builder(), limits, TimeoutLayer::new(ms(500)));
        flood!(200, client, call_within(ms(400), Act::Hang)).await;
        flood!(200, client, hang_up(ms(400), Act::Hang)).await;
        assert_eq!(circuit.state(), State::Closed, "{limits:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn probes_of_hostile_callers_give_their_permits_back() {
    for limits in BOTH {
        for recovery in [
            Recovery::AtOnce,
            Recovery::Stepwise {
                steps: 2,
                over: secs(10),
            },
        ] {
            let builder = builder().consecutive_failures(5).recovery(recovery);
            let (client, circuit) = client(builder, limits, default_limit());
            for _ in 0..5 {
                assert!(client.clone().oneshot(Act::Fail).await.is_err());
            }
            assert_eq!(circuit.state(), State::Open);
            advance(secs(6)).await;
            flood!(50, client, call_within(ms(3), Act::Hang)).await;
            flood!(50, client, hang_up(ms(30), Act::Hang)).await;
            let snapshot = circuit.snapshot();
            assert_eq!(
                (snapshot.state, snapshot.calls),
                (State::HalfOpen, 0),
                "{limits:?}"
            );
            assert_eq!(snapshot.probes_in_flight, 0);
            for _ in 0..3 {
                client.clone().oneshot(Act::Ok).await.unwrap();
            }
            if recovery != Recovery::AtOnce {
                assert_eq!(circuit.state(), State::Recovering);
                flood!(100, client, call_within(ms(3), Act::Hang)).await;
                assert_eq!(circuit.snapshot().failures, 0);
                advance(secs(10)).await;
                client.clone().oneshot(Act::Ok).await.unwrap();
            }
            assert_eq!(circuit.state(), State::Closed);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_chosen_holds() {
    for limits in BOTH {
        let ignores = builder().on_cancel(OnCancel::Ignore);
        let (never, circuit) = client(ignores, limits, default_limit());
        flood!(50, never, call_within(secs(5), Act::Hang)).await;
        flood!(50, never, hang_up(secs(5), Act::Hang)).await;
        assert_eq!(circuit.state(), State::Closed, "{limits:?}");

        let after = builder().on_cancel(OnCancel::FailureAfter(ms(300)));
        let (after, circuit) = client(after, limits, default_limit());
        flood!(50, after, call_within(ms(250), Act::Hang)).await;
        assert_eq!(circuit.state(), State::Closed, "{limits:?}");
        flood!(30, after, call_within(ms(350), Act::Hang)).await;
        assert_eq!(circuit.state(), State::Open, "{limits:?}");
    }
}
