//! When the time of a call begins, and what becomes of it when the clock goes back.

use std::convert::Infallible;
use std::future::Future;

use crate::support::{Act, Probe, secs, send};
use mainstay::{CircuitBreakerLayer, Limit, LoadShedLayer, RetryLayer, State, TimeoutLayer};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{advance, sleep};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

/// A runtime with a clock of its own, which begins now.
fn paused() -> Runtime {
    Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}

// --- The time of a call

/// Answers at once; the answer is that of a call through another stack, which is made an hour later, takes 5 s, and may take 10 s.
fn drives_another_stack()
-> impl Service<(), Response = bool, Error = Infallible, Future: Future> + Clone {
    service_fn(|()| {
        let other = TimeoutLayer::new(secs(10)).layer(service_fn(|()| async {
            sleep(secs(5)).await;
            Ok::<_, Infallible>(())
        }));
        let in_time = paused().block_on(async {
            advance(secs(3_600)).await;
            other.oneshot(()).await.is_ok()
        });
        std::future::ready(Ok(in_time))
    })
}

#[test]
fn a_limit_begins_with_its_own_call_whatever_the_stack_is_called_in() {
    fn in_time<S>(layer: impl Layer<S, Service: Service<(), Response = bool>>, inner: S) -> bool {
        let answer = futures::executor::block_on(layer.layer(inner).oneshot(()));
        answer.unwrap_or_else(|_| panic!("no answer"))
    }
    let retry = RetryLayer::new();
    assert!(in_time(retry, drives_another_stack()), "retry");
    let circuit = CircuitBreakerLayer::builder().slow_calls(secs(1), 0.5);
    let circuit = circuit.build().unwrap();
    assert!(in_time(circuit, drives_another_stack()), "circuit breaker");
    let shed = LoadShedLayer::builder().limit(Limit::fixed(5));
    let shed = shed.build().unwrap();
    assert!(in_time(shed, drives_another_stack()), "load shed");
}

#[tokio::test(start_paused = true)]
async fn calls_that_are_polled_late_succeed_when_they_end() {
    let circuit = CircuitBreakerLayer::new();
    let slow = CircuitBreakerLayer::builder()
        .slow_calls(secs(3_600), 0.5)
        .probe_life(secs(3_600))
        .build()
        .unwrap();
    for circuit in [circuit] {
        let handle = circuit.handle();
        let mut service = ServiceBuilder::new()
            .layer(TimeoutLayer::new(secs(3_600)))
            .layer(circuit)
            .service(Probe::new());
        let mut calls = Vec::new();
        for _ in 0..100 {
            calls.push(service.ready().await.unwrap().call(Act::Ok));
        }
        advance(secs(20)).await;
        for call in calls {
            call.await.unwrap();
        }
        for _ in 0..20 {
            send(&mut service, Act::Fail).await.unwrap_err();
        }
        assert_eq!(handle.state(), State::Closed, "20 of 120 calls failed");
    }
}
