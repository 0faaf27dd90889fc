//! The edges of the protocols, over real sockets: whose fault a failure is, answers without a body, hints that say nothing.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mainstay::reqwest::SendThrough;
use mainstay::{Backoff, BoxError, BulkheadLayer, Error, RespondLayer, State};
use tokio::time::Instant;
use tonic::Status;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

use crate::common::{listener, serve};

#[tokio::test]
async fn a_callers_own_fault_does_not_open_the_circuit() {
    let address = serve(Router::new().fallback(|_: Bytes| async { "fine" })).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let layer = mainstay::http::circuit_breaker()
        .consecutive_failures(1)
        .build()
        .unwrap();
    let service = ServiceBuilder::new()
        .layer(layer.clone())
        .service(client.clone());

    let refused = client.get("ftp://payments/").send_through(&service).await;
    assert!(matches!(refused, Err(Error::Inner(error)) if error.is_builder()));
    assert_eq!(layer.handle().state(), State::Closed, "no such scheme");

    let upload =
        futures::stream::iter([Ok(Bytes::from_static(b"a")), Err(io::Error::other("gone"))]);
    let body = reqwest::Body::wrap_stream(upload);
    let broken = client.post(format!("http://{address}/")).body(body);
    assert!(broken.send_through(&service).await.is_err());
    assert_eq!(
        layer.handle().state(),
        State::Closed,
        "the upload broke off"
    );

    let nobody = client
        .get("http://127.0.0.1:1/")
        .send_through(&service)
        .await;
    assert!(nobody.is_err());
    assert_eq!(
        layer.handle().state(),
        State::Open,
        "nobody listens: that is the other side's"
    );
}

#[tokio::test]
async fn a_request_that_can_never_be_sent_is_not_retried() {
    let sent = Arc::new(AtomicU32::new(0));
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let layer = mainstay::http::circuit_breaker()
        .consecutive_failures(1)
        .build()
        .unwrap();
    let retry = mainstay::http::retry()
        .backoff(Backoff::constant(Duration::from_millis(1)))
        .build()
        .unwrap();
    let counted = Arc::clone(&sent);
    let service = ServiceBuilder::new()
        .layer(retry)
        .layer(layer.clone())
        .map_request(move |request: Request<Full<Bytes>>| {
            counted.fetch_add(1, Ordering::SeqCst);
            request
        })
        .service(client);
    let relative = Request::get("/relative").body(Full::default()).unwrap();
    service.oneshot(relative).await.unwrap_err();
    assert_eq!(sent.load(Ordering::SeqCst), 1);
    assert_eq!(layer.handle().state(), State::Closed);
}

#[tokio::test]
async fn a_rejected_head_has_no_body_over_http2_either() {
    let (listener, address) = listener().await;
    let app = ServiceBuilder::new()
        .layer(RespondLayer::new())
        .layer(BulkheadLayer::new(0))
        .service(Router::new());
    tokio::spawn(async move { axum::serve(listener, tower::make::Shared::new(app)).await });
    let io = TokioIo::new(tokio::net::TcpStream::connect(address).await.unwrap());
    let (mut client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    tokio::spawn(connection);
    for (method, has_body) in [(Method::HEAD, false), (Method::GET, true)] {
        let request = Request::builder()
            .method(&method)
            .uri(format!("http://{address}/"))
            .body(Full::<Bytes>::default())
            .unwrap();
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.status(), 503, "{method}");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(!body.is_empty(), has_body, "{method}");
    }
}

/// How many attempts are made at what always answers the same, and how long they take together.
async fn attempts<Res, Err, P, R>(
    policy: mainstay::RetryBuilder<P, R>,
    answer: impl Fn() -> Result<Res, Err> + Clone,
) -> (u32, Duration)
where
    P: mainstay::RetryPolicy<
            Request<BoxBody<Bytes, Infallible>>,
            R::Response,
            mainstay::Grown<Err>,
        >,
    R: mainstay::retry::Receive<Res>,
    Err: mainstay::WithRejection,
{
    let calls = &AtomicU32::new(0);
    let inner = service_fn(move |_: Request<BoxBody<Bytes, Infallible>>| {
        calls.fetch_add(1, Ordering::SeqCst);
        std::future::ready(answer())
    });
    let layer = policy
        .attempts(3)
        .backoff(Backoff::constant(Duration::from_secs(1)).jitter(mainstay::Jitter::None))
        .build()
        .unwrap();
    let request = Request::new(BoxBody::new(Empty::new()));
    let begun = Instant::now();
    let _ = layer.layer(inner).oneshot(request).await;
    (calls.load(Ordering::SeqCst), begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_hint_of_now_keeps_the_backoff() {
    for hint in ["0", "Sun, 06 Nov 1994 08:49:37 GMT"] {
        let answer = || {
            let response = Response::builder()
                .status(503)
                .header(header::RETRY_AFTER, hint);
            Ok::<_, io::Error>(response.body(()).unwrap())
        };
        let seen = attempts(mainstay::http::retry(), answer).await;
        assert_eq!(seen, (3, Duration::from_secs(2)), "{hint}");
    }
}

#[tokio::test(start_paused = true)]
async fn pushback_in_a_status_is_heeded() {
    for (pushback, expected) in [("-1", (1, 0)), ("nonsense", (1, 0)), ("400", (3, 800))] {
        let answer = || {
            let mut status = Status::unavailable("later");
            let metadata = status.metadata_mut();
            metadata.insert("grpc-retry-pushback-ms", pushback.parse().unwrap());
            Err::<Response<String>, _>(status)
        };
        let (calls, took) = attempts(mainstay::grpc::retry(), answer).await;
        assert_eq!((calls, took.as_millis()), expected, "{pushback}");
    }
}

#[tokio::test]
async fn an_error_that_is_mapped_is_told_in_the_callers_protocol() {
    let respond = RespondLayer::new()
        .map_error(|_: BoxError| {
            let mut response = Response::new(Full::<Bytes>::from("gone"));
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            response
        })
        .body_with(Full::<Bytes>::from);
    let inner = service_fn(|_: Request<()>| async {
        Err::<Response<Full<Bytes>>, _>(BoxError::from("broken"))
    });
    let service = respond.layer(inner);
    let request = |content_type: &str| {
        let request = Request::post("/").header(header::CONTENT_TYPE, content_type);
        request.body(()).unwrap()
    };
    let http = service
        .clone()
        .oneshot(request("text/plain"))
        .await
        .unwrap();
    assert_eq!(http.status(), 503);
    let grpc = service.oneshot(request("application/grpc")).await.unwrap();
    assert_eq!(grpc.status(), 200);
    assert_eq!(grpc.headers()["grpc-status"], "14");
    assert!(
        grpc.into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .is_empty()
    );
}

#[test]
fn a_full_bulkhead_is_answered_as_an_error_or_not_at_all() {
    for status in [100, 101, 200, 204, 304, 399, 600, 999] {
        let status = StatusCode::from_u16(status).unwrap();
        let error = RespondLayer::new().full_as(status).unwrap_err();
        assert_eq!(error.field(), "full_as");
    }
    for status in [400, 429, 503, 599] {
        let status = StatusCode::from_u16(status).unwrap();
        assert!(RespondLayer::new().full_as(status).is_ok());
    }
}
