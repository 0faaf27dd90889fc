//! Behind the HTTP stacks.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::Full;
use mainstay::{Error, Reason, Rejection, RespondLayer, State, http as stacks};
use tower::{Layer, Service, ServiceBuilder, ServiceExt as _, service_fn};

use super::upstream::Upstream;

type Req = Request<Full<Bytes>>;

fn request(method: &str) -> Req {
    let request = Request::builder().method(method).uri("http://shop/orders");
    request.body(Full::new(Bytes::from_static(b"one"))).unwrap()
}

fn upstream() -> Upstream<Req, io::Error, Response<Body>> {
    Upstream::new(|| io::Error::other("no wire"), Response::default)
}

fn is_no_wire<T>(result: Result<T, Error<io::Error>>) -> bool {
    matches!(result, Err(Error::Inner(error)) if error.to_string() == "no wire")
}

/// Whatever it is: it was not sent.
#[tokio::test(start_paused = true)]
async fn every_request_succeeds_at_the_second_attempt() {
    for method in ["GET", "POST", "PATCH"] {
        let upstream = upstream();
        let stack = stacks::client("shop").retry(3).build().unwrap();
        let balance = stack.snapshot().retry.unwrap().balance.unwrap();
        let client = stack.wrap(upstream.clone());
        upstream.fail(1);
        client.oneshot(request(method)).await.unwrap();
        assert_eq!((upstream.failed(), upstream.calls()), (1, 1), "{method}");
        assert_eq!(stack.snapshot().retry.unwrap().balance.unwrap(), balance);
        let retries = stack.snapshot().retry.unwrap().retries;
        assert_eq!(retries, [(mainstay::RetryCause::NotSent, 1)]);
        assert_eq!(stack.circuit_breaker().snapshot().failures, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_are_bounded_and_the_error_is_the_answer() {
    let upstream = upstream();
    let stack = stacks::client("shop").retry(3).build().unwrap();
    let client = stack.wrap(upstream.clone());
    upstream.fail(100);
    assert!(is_no_wire(client.oneshot(request("POST")).await));
    assert_eq!((upstream.failed(), upstream.calls()), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn the_circuit_counts_it_opens_and_closes() {
    let upstream = upstream();
    let breaker = stacks::circuit_breaker()
        .without_failure_rate()
        .consecutive_failures(5)
        .open_for(Duration::from_secs(5))
        .jitter(0.0)
        .probes(1);
    let stack = stacks::client("shop")
        .without_retry()
        .circuit_breaker(breaker);
    let stack = stack.build().unwrap();
    let client = stack.wrap(upstream.clone());
    upstream.fail(100);
    for _ in 0..5 {
        assert!(is_no_wire(client.clone().oneshot(request("GET")).await));
    }
    let rejected = client.clone().oneshot(request("GET")).await.unwrap_err();
    assert_eq!(
        rejected.as_rejection().unwrap().reason(),
        Reason::CircuitOpen
    );
    upstream.fail(0);
    tokio::time::sleep(Duration::from_secs(5)).await;
    client.oneshot(request("GET")).await.unwrap();
    assert_eq!(stack.circuit_breaker().state(), State::Closed);
}

/// Another layer around each attempt, which makes its inner service ready in `poll_ready` or in the call.
#[derive(Clone)]
struct Passes<S>(S);

impl<S: Service<Req>> Service<Req> for Passes<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> S::Future {
        self.0.call(request)
    }
}

/// With the usual box, around the service that was made ready.
#[derive(Clone)]
struct Boxes<S>(S);

impl<S> Service<Req> for Boxes<S>
where
    S: Service<Req, Future: Send, Error: Send> + Clone + Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let clone = self.0.clone();
        let mut inner = std::mem::replace(&mut self.0, clone);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            inner.call(request).await
        })
    }
}

#[tokio::test(start_paused = true)]
async fn layers_around_each_attempt_do_not_hide_it() {
    let upstream = upstream();
    let stack = stacks::client("shop")
        .retry(3)
        .with_attempt_layer(tower::layer::layer_fn(Passes))
        .with_attempt_layer(tower::layer::layer_fn(Boxes));
    let client = stack.build().unwrap().wrap(upstream.clone());
    upstream.fail(2);
    client.oneshot(request("POST")).await.unwrap();
    assert_eq!((upstream.failed(), upstream.calls()), (2, 1));
}

/// A service that was called has perhaps done what it was asked for, and then used another one that was not ready.
#[tokio::test(start_paused = true)]
async fn a_service_that_was_called_is_not_called_again() {
    for queue in [false, true] {
        let other = upstream();
        other.fail(100);
        let bulkhead = mainstay::BulkheadLayer::builder().limit(1);
        let bulkhead = bulkhead.queue(5, Duration::from_secs(60)).build().unwrap();
        let nested = mainstay::BulkheadLayer::new(10).layer(other.clone());
        let called = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        let count = std::sync::Arc::clone(&called);
        let composite = service_fn(move |request: Req| {
            let (nested, count) = (nested.clone(), count.clone());
            async move {
                if request.method() == "PUT" {
                    std::future::pending::<()>().await;
                }
                count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                nested.oneshot(request).await
            }
        });
        let retry = stacks::retry().attempts(3).build().unwrap();
        let mut client = ServiceBuilder::new()
            .layer(retry)
            .layer(stacks::circuit_breaker().build().unwrap())
            .layer(bulkhead.clone())
            .service(composite);
        let held = queue.then(|| tokio::spawn(client.clone().oneshot(request("PUT"))));
        while queue && bulkhead.handle().in_flight() == 0 {
            tokio::task::yield_now().await;
        }
        client.ready().await.unwrap();
        let call = client.call(request("POST"));
        if let Some(held) = held {
            held.abort();
        }
        assert!(is_no_wire(call.await));
        assert_eq!(called.load(std::sync::atomic::Ordering::SeqCst), 1);
    }
}

/// The call waits for a permit, and then the service is not ready. With a bulkhead for each host, a
/// call is ready before its host is known.
#[tokio::test(start_paused = true)]
async fn what_waited_in_a_queue_was_not_sent_either() {
    let upstream = upstream();
    let bulkhead = mainstay::BulkheadLayer::builder().limit(1);
    let bulkhead = bulkhead.queue(5, Duration::from_millis(500));
    let stack = stacks::client("shop").retry(3).bulkhead(bulkhead);
    let stack = stack.one_for_all();
    let stack = stack.with_attempt_layer(tower::layer::layer_fn(Boxes));
    let stack = stack.build().unwrap();
    let client = stack.wrap(upstream.clone());
    upstream.hang(true);
    let hung = tokio::spawn(client.clone().oneshot(request("GET")));
    while upstream.calls() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    upstream.hang(false);
    upstream.fail(1);
    let call = tokio::spawn(client.oneshot(request("POST")));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!((stack.bulkhead().waiting(), upstream.failed()), (1, 0));
    hung.abort();
    call.await.unwrap().unwrap();
    assert_eq!((upstream.failed(), upstream.calls()), (1, 2));
    assert_eq!(stack.bulkhead().in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_answers_503() {
    let unready = || Rejection::new("pool", "disks", Reason::NotReady);
    let upstream: Upstream<Req, _, _> = Upstream::new(unready, Response::<Body>::default);
    let service = stacks::server("shop")
        .build()
        .unwrap()
        .wrap(upstream.clone());
    upstream.fail(1);
    let answer = service.clone().oneshot(request("GET")).await.unwrap();
    assert_eq!(answer.status(), 503);
    let answer = service.oneshot(request("GET")).await.unwrap();
    assert_eq!((answer.status().as_u16(), upstream.calls()), (200, 1));
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_services_own_is_answered_as_the_user_says() {
    let upstream = upstream();
    let respond = RespondLayer::new().map_error(|error: io::Error| {
        let mut answer = Response::new(Body::from(error.to_string()));
        *answer.status_mut() = http::StatusCode::BAD_GATEWAY;
        answer
    });
    let service = ServiceBuilder::new()
        .layer(respond)
        .layer(mainstay::TimeoutLayer::new(Duration::from_secs(1)))
        .service(upstream.clone());
    upstream.fail(1);
    let answer = service.clone().oneshot(request("GET")).await.unwrap();
    assert_eq!(answer.status(), 502);
    assert_eq!(service.oneshot(request("GET")).await.unwrap().status(), 200);
}
