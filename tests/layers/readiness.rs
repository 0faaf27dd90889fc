//! A readiness error of a service whose call then has to wait in a queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{self, Poll};

use crate::support::{Act, Broken, Probe, ms, secs, settle};
use mainstay::{BulkheadLayer, Error, RateLimitLayer, RetryLayer};
use tower::{Layer, Service, ServiceExt as _};

/// A probe whose `poll_ready` fails a number of times.
#[derive(Clone)]
struct FailsFirst {
    probe: Probe,
    failures: Arc<AtomicU32>,
}

impl FailsFirst {
    fn new(failures: u32) -> Self {
        Self {
            probe: Probe::default(),
            failures: Arc::new(failures.into()),
        }
    }
}

impl Service<Act> for FailsFirst {
    type Response = u32;
    type Error = Broken;
    type Future = <Probe as Service<Act>>::Future;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), Broken>> {
        let less = |left: u32| left.checked_sub(1);
        let failed = self
            .failures
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        if failed.is_ok() {
            return Poll::Ready(Err(Broken));
        }
        self.probe.poll_ready(cx)
    }

    fn call(&mut self, act: Act) -> Self::Future {
        self.probe.call(act)
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_the_answer_of_a_call_that_waited_for_a_bulkheads_permit() {
    // Whether `poll_ready` is called again once the bulkhead is full.
    for is_asked_again in [false, true] {
        let layer = BulkheadLayer::builder()
            .limit(1)
            .queue(1, secs(1))
            .build()
            .unwrap();
        let mut holder = layer.layer(Probe::default());
        let inner = FailsFirst::new(1);
        let mut service = layer.layer(inner.clone());

        service.ready().await.unwrap();
        let held = holder.ready().await.unwrap().call(Act::OkAfter(ms(100)));
        let held = tokio::spawn(held);
        settle().await;
        if is_asked_again {
            service.ready().await.unwrap();
        }
        let call = tokio::spawn(service.call(Act::Ok));
        settle().await;
        assert_eq!(layer.handle().waiting(), 1);
        held.await.unwrap().unwrap();
        let result = call.await.unwrap();
        assert!(matches!(result, Err(Error::Inner(Broken))), "{result:?}");
        assert_eq!(inner.probe.calls(), 0);
        let snapshot = layer.handle().snapshot();
        assert_eq!((snapshot.outcomes.failure, snapshot.in_flight), (1, 0));

        // The next call makes the service ready again.
        assert!(service.ready().await.unwrap().call(Act::Ok).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_the_answer_of_a_call_that_waited_for_a_rate_limits_permit() {
    let builder = RateLimitLayer::builder().per(10, secs(1)).burst(1);
    let layer = builder.max_wait(secs(1)).build().unwrap();
    let mut other = layer.layer(Probe::default());
    let inner = FailsFirst::new(1);
    let mut service = layer.layer(inner.clone());

    service.ready().await.unwrap();
    other.ready().await.unwrap().call(Act::Ok).await.unwrap();
    let call = tokio::spawn(service.call(Act::Ok));
    settle().await;
    assert_eq!(layer.handle().waiting(), 1);
    let result = call.await.unwrap();
    assert!(matches!(result, Err(Error::Inner(Broken))), "{result:?}");
    assert_eq!((inner.probe.calls(), layer.handle().waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_retry_outside_of_the_queue_knows_that_the_attempt_was_not_sent() {
    let queue = BulkheadLayer::builder()
        .limit(1)
        .queue(1, secs(1))
        .build()
        .unwrap();
    let mut holder = queue.layer(Probe::default());
    let inner = FailsFirst::new(1);
    // Retries only what was not sent.
    let retry = RetryLayer::builder().retry_if(|_: &Act, _: Result<&u32, &Error<Broken>>| false);
    let mut service = retry.build().unwrap().layer(queue.layer(inner.clone()));

    service.ready().await.unwrap();
    let held = tokio::spawn(holder.ready().await.unwrap().call(Act::OkAfter(ms(100))));
    settle().await;
    let call = tokio::spawn(service.call(Act::Ok));
    settle().await;
    assert_eq!(queue.handle().waiting(), 1);
    held.await.unwrap().unwrap();
    assert!(call.await.unwrap().is_ok());
    assert_eq!(inner.probe.calls(), 1);
}
