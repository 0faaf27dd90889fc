//! When the time of a call begins, and what becomes of it when the clock goes back.

use std::convert::Infallible;
use std::future::Future;

use crate::support::{Act, Probe, ms, recorder, rejected, secs, send, start};
use mainstay::{
    BulkheadLayer, CircuitBreakerLayer, EventKind, Limit, LoadShedLayer, RateLimitLayer, Reason,
    RetryLayer, State, TimeoutLayer, Window,
};
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
    for circuit in [circuit, slow] {
        let handle = circuit.handle();
        let mut service = ServiceBuilder::new()
            .layer(TimeoutLayer::new(secs(3_600)))
            .layer(circuit)
            .service(Probe::default());
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

/// A call that is made 3 s before it is first polled, and then waits for 1 s.
async fn polled_late<S>(layer: impl Layer<Probe, Service = S>)
where
    S: Service<Act, Future: Future<Output = Result<S::Response, S::Error>>>,
    S::Error: std::fmt::Debug,
{
    let mut service = layer.layer(Probe::default());
    let call = service.ready().await.unwrap().call(Act::OkAfter(secs(1)));
    advance(secs(3)).await;
    call.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_latency_begins_at_the_call() {
    let four = secs(4)..ms(4_100);
    let (observer, told) = recorder();
    let circuit = CircuitBreakerLayer::builder().observer(observer);
    let circuit = circuit.build().unwrap();
    polled_late(circuit.clone()).await;
    let latency = circuit.handle().snapshot().latency.unwrap();
    assert!(four.contains(&latency.max), "{latency}");
    let (observer, also_told) = recorder();
    let shed = LoadShedLayer::builder().limit(Limit::fixed(5));
    let shed = shed.observer(observer).build().unwrap();
    polled_late(shed.clone()).await;
    let latency = shed.handle().snapshot().latency.unwrap();
    assert!(four.contains(&latency.max), "{latency}");
    for told in [told, also_told] {
        for event in told.lock().unwrap().iter() {
            assert!(
                matches!(event, EventKind::Settled { latency: Some(latency), .. } if four.contains(latency)),
                "{event:?}"
            );
        }
    }
    let shed = LoadShedLayer::new(Limit::adaptive());
    polled_late(shed.clone()).await;
    let latency = shed.handle().snapshot().latency.unwrap();
    assert!(four.contains(&latency.max), "{latency}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_in_the_queue_begins_at_the_call() {
    let bulkhead = BulkheadLayer::builder().limit(1).queue(1, secs(2));
    let mut service = bulkhead.build().unwrap().layer(Probe::default());
    let _hung = start(&service, Act::Hang).await;
    let began = tokio::time::Instant::now();
    let call = service.ready().await.unwrap().call(Act::Ok);
    advance(secs(1)).await;
    assert_eq!(rejected(call.await).reason(), Reason::QueueTimeout);
    assert_eq!(began.elapsed(), secs(2));
}

// --- The clock goes back

#[test]
fn a_circuit_is_open_for_its_open_time_when_the_clock_goes_back() {
    let circuit = CircuitBreakerLayer::builder()
        .consecutive_failures(1)
        .open_for(secs(5))
        .jitter(0.0)
        .probes(1)
        .build()
        .unwrap();
    let handle = circuit.handle();
    let mut service = circuit.layer(Probe::default());
    paused().block_on(async {
        advance(secs(3_600)).await;
        send(&mut service, Act::Fail).await.unwrap_err();
        assert_eq!(handle.state(), State::Open);
        advance(secs(1)).await;
    });
    paused().block_on(async {
        let rejection = rejected(send(&mut service, Act::Ok).await);
        let left = rejection.retry_after().unwrap();
        assert!(left > secs(3) && left <= secs(5), "{left:?}");
        assert_eq!(handle.snapshot().retry_after, Some(left));
        advance(left).await;
        send(&mut service, Act::Ok).await.unwrap();
        assert_eq!(handle.state(), State::Closed);
    });
}

#[test]
fn a_circuit_forgets_in_its_time_when_the_clock_goes_back() {
    let circuit = CircuitBreakerLayer::builder();
    let circuit = circuit.window(Window::time(secs(10))).build().unwrap();
    let handle = circuit.handle();
    let mut service = circuit.layer(Probe::default());
    paused().block_on(async {
        advance(secs(3_600)).await;
        send(&mut service, Act::Ok).await.unwrap();
    });
    paused().block_on(async {
        for _ in 0..200 {
            send(&mut service, Act::Ok).await.unwrap();
        }
        advance(secs(20)).await;
        send(&mut service, Act::Ok).await.unwrap();
        assert_eq!(handle.snapshot().calls, 1);
        for _ in 0..20 {
            let _ = send(&mut service, Act::Fail).await;
        }
        assert_eq!(handle.state(), State::Open);
    });
}

#[test]
fn a_rate_limit_refills_at_its_rate_when_the_clock_goes_back() {
    let mut service = RateLimitLayer::per_second(2)
        .unwrap()
        .layer(Probe::default());
    paused().block_on(async {
        advance(secs(3_600)).await;
        for _ in 0..2 {
            send(&mut service, Act::Ok).await.unwrap();
        }
        rejected(send(&mut service, Act::Ok).await);
    });
    paused().block_on(async {
        for _ in 0..3 {
            let rejection = rejected(send(&mut service, Act::Ok).await);
            let left = rejection.retry_after().unwrap();
            assert!(left <= ms(500), "{left:?}");
            advance(left).await;
            send(&mut service, Act::Ok).await.unwrap();
        }
        advance(secs(1)).await;
        for _ in 0..2 {
            send(&mut service, Act::Ok).await.unwrap();
        }
        rejected(send(&mut service, Act::Ok).await);
    });
}
