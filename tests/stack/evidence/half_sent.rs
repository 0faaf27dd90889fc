//! Callers who do not send the rest of their request, in front of a gateway: nobody else is to blame for what they wait for.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::join_all;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use mainstay::http as resilient;
use mainstay::{CircuitBreakerHandle, State};
use tokio::time::{sleep, timeout};
use tower::util::BoxCloneService;
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::support::secs;

type Gateway = BoxCloneService<Request<Body>, u16, Infallible>;

/// A byte a second, and nothing more after `count` of them; or the end.
fn pieces(count: usize, ends: bool) -> Body {
    let pieces = futures::stream::iter(0..count).then(async |_| {
        sleep(secs(1)).await;
        Ok::<_, Infallible>(Bytes::from_static(b"x"))
    });
    if ends {
        Body::from_stream(pieces)
    } else {
        Body::from_stream(pieces.chain(futures::stream::once(pending())))
    }
}

/// A gateway that sends requests on as they come, and the circuit to its upstream, which reads a request to its end or not at all.
fn gateway(limit: Option<Duration>, reads: bool) -> (Gateway, CircuitBreakerHandle) {
    let upstream = service_fn(move |request: Request<Body>| async move {
        if !reads {
            pending::<()>().await;
        }
        // What breaks off is never answered.
        if request.into_body().collect().await.is_err() {
            pending::<()>().await;
        }
        Ok::<_, Infallible>(Response::new(Body::empty()))
    });
    let stack = resilient::client("upstream").build().unwrap();
    let circuit = stack.circuit_breaker();
    let client = stack.layer(upstream);
    let handler = service_fn(move |request: Request<Body>| {
        let client = client.clone();
        async move {
            let (_, body) = request.into_parts();
            let request = Request::post("/").body(body).unwrap();
            let status = match client.oneshot(request).await {
                Ok(response) => response.status(),
                Err(_) => StatusCode::BAD_GATEWAY,
            };
            let response = Response::builder().status(status);
            Ok::<_, Infallible>(response.body(Body::empty()).unwrap())
        }
    });
    let mut server = resilient::server("gateway");
    if let Some(limit) = limit {
        server = server.timeout(limit);
    }
    let server = server.build().unwrap().layer(handler);
    let status = server.map_response(|response| response.status().as_u16());
    (BoxCloneService::new(status), circuit)
}

/// Thirty at once, each by a caller who hangs up after so long.
async fn flood(gateway: &Gateway, body: fn() -> Body, patience: Duration) {
    let calls = (0..30).map(|_| {
        let request = Request::post("/").body(body()).unwrap();
        timeout(patience, gateway.clone().oneshot(request))
    });
    join_all(calls).await;
}

#[tokio::test(start_paused = true)]
async fn an_upload_through_a_gateway_is_ended_by_no_default() {
    let (gateway, _) = gateway(None, true);
    let request = Request::post("/").body(pieces(40, true)).unwrap();
    assert_eq!(gateway.oneshot(request).await, Ok(200));
}

#[tokio::test(start_paused = true)]
async fn half_sent_requests_open_no_circuit() {
    // Ended by the default limit, by one that is set, and by callers who hang up.
    for (limit, patience) in [
        (None, secs(3_600)),
        (Some(secs(5)), secs(3_600)),
        (None, secs(5)),
        (Some(secs(20)), secs(5)),
    ] {
        let (gateway, circuit) = gateway(limit, true);
        flood(&gateway, || pieces(2, false), patience).await;
        assert_eq!(circuit.state(), State::Closed, "{limit:?}, {patience:?}");
        let outcomes = circuit.snapshot().outcomes;
        let ended = outcomes.ignored + outcomes.cancelled;
        assert_eq!((ended, outcomes.failure), (30, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_does_not_read_is_found() {
    for (limit, patience) in [
        (None, secs(3_600)),
        (Some(secs(5)), secs(3_600)),
        (None, secs(5)),
    ] {
        let (gateway, circuit) = gateway(limit, false);
        flood(&gateway, || pieces(2, false), patience).await;
        assert_eq!(circuit.state(), State::Open, "{limit:?}, {patience:?}");
    }
    // Nor is it the caller's fault once all of the request is sent.
    let (gateway, circuit) = gateway(None, false);
    flood(&gateway, || Body::from("all of it"), secs(5)).await;
    assert_eq!(circuit.state(), State::Open);
}
