//! A caller who does not send all of its request: nobody can answer it, and that is no evidence against the upstream.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt as _;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use mainstay::{State, http as resilient};
use tokio::time::{sleep, timeout};
use tower::{ServiceExt as _, service_fn};

const SECOND: Duration = Duration::from_secs(1);

/// It answers when it has all of the request.
async fn upstream(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let _ = request.into_body().collect().await;
    Ok(Response::default())
}

/// Half of a body, which then stands still for so long.
fn half(stands: Duration) -> Request<Body> {
    let rest = futures::stream::once(async move {
        sleep(stands).await;
        Ok(Bytes::from_static(b"half"))
    });
    let half = futures::stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"half"))]);
    let body = Body::from_stream(half.chain(rest));
    Request::post("/").body(body).unwrap()
}

#[tokio::test(start_paused = true)]
async fn callers_who_hang_up_in_the_middle_of_their_request_open_nothing() {
    for set in [false, true] {
        let stack = resilient::client("store");
        let stack = if set {
            stack.timeout(20 * SECOND)
        } else {
            stack
        };
        let stack = stack.build().unwrap();
        let client = stack.wrap(service_fn(upstream));
        for _ in 0..50 {
            client.clone().oneshot(Request::default()).await.unwrap();
        }
        let calls = (0..50).map(|_| {
            let call = client.clone().oneshot(half(3_600 * SECOND));
            timeout(5 * SECOND, call)
        });
        for answer in futures::future::join_all(calls).await {
            answer.unwrap_err();
        }
        let snapshot = stack.circuit_breaker().snapshot();
        assert_eq!((snapshot.state, snapshot.failures), (State::Closed, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn callers_who_never_send_the_rest_of_their_request_open_nothing() {
    for set in [false, true] {
        let stack = resilient::client("store");
        let stack = if set {
            stack.timeout(20 * SECOND).attempt_timeout(10 * SECOND)
        } else {
            stack
        };
        let stack = stack.build().unwrap();
        let client = stack.wrap(service_fn(upstream));
        let calls = (0..50).map(|_| client.clone().oneshot(half(3_600 * SECOND)));
        for answer in futures::future::join_all(calls).await {
            answer.unwrap_err();
        }
        let snapshot = stack.circuit_breaker().snapshot();
        assert_eq!((snapshot.state, snapshot.failures), (State::Closed, 0));
    }
}

/// From the last piece on, its time counts.
#[tokio::test(start_paused = true)]
async fn an_upstream_that_hangs_after_an_upload_is_found() {
    let stack = resilient::client("store").build().unwrap();
    let client = stack.wrap(service_fn(|request: Request<Body>| async {
        let _ = request.into_body().collect().await;
        std::future::pending::<Result<Response<Body>, Infallible>>().await
    }));
    for ran in [SECOND / 2, 2 * SECOND] {
        let calls = (0..30).map(|_| {
            let call = client.clone().oneshot(half(5 * SECOND));
            timeout(5 * SECOND + ran, call)
        });
        for answer in futures::future::join_all(calls).await {
            answer.unwrap_err();
        }
        let state = stack.circuit_breaker().snapshot().state;
        assert_eq!(state == State::Open, ran > SECOND, "{ran:?}");
    }
}

/// In gRPC the server may have to say something first.
#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_before_the_first_message_of_a_conversation_is_found() {
    let stack = mainstay::grpc::client("chat")
        .timeout(5 * SECOND)
        .build()
        .unwrap();
    let client = stack.wrap(service_fn(upstream));
    let calls = (0..50).map(|_| {
        let mut request = half(3_600 * SECOND);
        let grpc = http::HeaderValue::from_static("application/grpc");
        request.headers_mut().insert("content-type", grpc);
        client.clone().oneshot(request)
    });
    for answer in futures::future::join_all(calls).await {
        drop(answer);
    }
    assert_eq!(stack.circuit_breaker().snapshot().state, State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_long_upload_that_succeeds_hides_no_upstream_that_hangs() {
    let stack = resilient::client("store").build().unwrap();
    let client = stack.wrap(service_fn(upstream));
    client.oneshot(half(25 * SECOND)).await.unwrap();
    let client = stack.wrap(service_fn(|request: Request<Body>| async {
        let _ = request.into_body().collect().await;
        std::future::pending::<Result<Response<Body>, Infallible>>().await
    }));
    let calls = (0..50).map(|_| {
        let call = client.clone().oneshot(half(Duration::ZERO));
        timeout(5 * SECOND, call)
    });
    for answer in futures::future::join_all(calls).await {
        answer.unwrap_err();
    }
    assert_eq!(stack.circuit_breaker().snapshot().state, State::Open);
}
