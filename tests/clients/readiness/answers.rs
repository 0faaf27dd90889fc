//! The error of readiness is the answer to the call that it belongs to, and to no other.

use std::future::{Ready, ready};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use mainstay::{BulkheadLayer, Context as Call, Error, Reason, RetryLayer, TimeoutLayer};
use tokio::time::sleep;
use tower::{Layer as _, Service, ServiceExt as _, service_fn};

use super::upstream::Upstream;

type Result<T> = std::result::Result<T, Error<io::Error>>;

const SECOND: Duration = Duration::from_secs(1);

/// It never repeats what was sent.
fn retry() -> RetryLayer<impl mainstay::RetryPolicy<u32, u32, Error<io::Error>>> {
    let never = |_: &u32, _: std::result::Result<&u32, &Error<io::Error>>| false;
    RetryLayer::builder().retry_if(never).build().unwrap()
}

/// It fails to be ready so often. Every call is sent, and then fails.
#[derive(Clone)]
struct Breaks {
    unready: Arc<AtomicU32>,
    calls: Arc<AtomicU32>,
}

impl Breaks {
    fn new(unready: u32) -> Self {
        Self {
            unready: Arc::new(unready.into()),
            calls: Arc::default(),
        }
    }

    fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Service<u32> for Breaks {
    type Response = u32;
    type Error = Error<io::Error>;
    type Future = Ready<Result<u32>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        let less = |left: u32| left.checked_sub(1);
        let fails = self
            .unready
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        Poll::Ready(match fails {
            Ok(_) => Err(Error::Inner(io::Error::other("not ready"))),
            Err(_) => Ok(()),
        })
    }

    fn call(&mut self, _: u32) -> Self::Future {
        self.calls.fetch_add(1, Ordering::SeqCst);
        ready(Err(Error::Inner(io::Error::other("reset"))))
    }
}

/// Makes both ready, and calls the second one.
#[derive(Clone)]
struct Second<S>(S, S);

impl<S: Service<u32>> Service<u32> for Second<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<std::result::Result<(), S::Error>> {
        std::task::ready!(self.0.poll_ready(cx))?;
        self.1.poll_ready(cx)
    }

    fn call(&mut self, request: u32) -> S::Future {
        self.1.call(request)
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_rejected_leaves_no_error_behind() {
    let upstream: Upstream<u32, _, _> = Upstream::new(|| io::Error::other("not ready"), || 7);
    let mut service = TimeoutLayer::new(SECOND).layer(upstream.clone());
    upstream.fail(1);
    service.ready().await.unwrap();
    let late = Call::current().with_timeout(Duration::ZERO);
    let rejected = late.scope(async { service.call(1).await }).await;
    let rejection = rejected.unwrap_err().as_rejection().cloned();
    assert_eq!(rejection.unwrap().reason(), Reason::DeadlinePassed);

    assert_eq!(service.ready().await.unwrap().call(2).await.unwrap(), 7);
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn another_service_that_was_not_ready_says_nothing_of_the_one_that_was_called() {
    let (first, second) = (Breaks::new(1), Breaks::new(0));
    let layer = TimeoutLayer::new(SECOND);
    let both = Second(layer.layer(first), layer.layer(second.clone()));
    retry().layer(both).oneshot(1).await.unwrap_err();
    assert_eq!(second.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_had_to_wait_after_all_was_sent() {
    let queue = BulkheadLayer::builder().limit(1).queue(2, SECOND);
    let queue = queue.build().unwrap();
    let busy = queue.layer(service_fn(|request: u32| async move {
        sleep(SECOND / 2).await;
        Ok::<_, Error<io::Error>>(request)
    }));
    let upstream = Breaks::new(1);
    let mut service = retry().layer(queue.layer(upstream.clone()));
    service.ready().await.unwrap();
    // Somebody else is faster. The call waits, and then uses a clone, which is ready.
    let busy = tokio::spawn(busy.oneshot(1));
    tokio::task::yield_now().await;
    service.call(1).await.unwrap_err();
    assert_eq!(upstream.calls(), 1);
    busy.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_later_attempt_of_an_inner_retry_was_sent() {
    let upstream = Breaks::new(1);
    let service = TimeoutLayer::new(SECOND).layer(upstream.clone());
    let service = retry().layer(retry().layer(service));
    service.oneshot(1).await.unwrap_err();
    assert_eq!(upstream.calls(), 1);
}
