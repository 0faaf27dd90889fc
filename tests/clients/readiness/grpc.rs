//! Behind `grpc::client`, with a stub in front of it.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use mainstay::{BoxError, Reason, Rejection, State, grpc};
use tonic::{Code, Status};
use tower::Service;

use super::upstream::Upstream;
use crate::users::GetRequest;
use crate::users::users_client::UsersClient;

type Req = http::Request<tonic::body::Body>;
type Res = http::Response<tonic::body::Body>;

/// An empty message and the trailers of a success.
fn answer() -> Res {
    let trailers = async {
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
        Some(Ok(trailers))
    };
    let body = Full::new(Bytes::from_static(&[0; 5])).with_trailers(trailers);
    let response = http::Response::builder().header("content-type", "application/grpc");
    response.body(tonic::body::Body::new(body)).unwrap()
}

fn stack() -> mainstay::stack::ClientBuilder<mainstay::stack::Grpc> {
    grpc::client("users")
}

fn breaker() -> mainstay::circuit_breaker::CircuitBreakerBuilder<
    mainstay::http::EndOfBody<mainstay::grpc::GrpcClassifier>,
> {
    grpc::circuit_breaker()
        .without_failure_rate()
        .consecutive_failures(10)
        .open_for(Duration::from_secs(5))
        .jitter(0.0)
        .probes(1)
}

async fn get<S>(service: S) -> Result<(), Status>
where
    S: tonic::client::GrpcService<tonic::body::Body, Error: Into<BoxError>>,
    S::ResponseBody: http_body::Body<Data = Bytes, Error: Into<BoxError> + Send> + Send + 'static,
{
    let name = String::from("ann");
    UsersClient::new(service)
        .get(GetRequest { name })
        .await
        .map(drop)
}

macro_rules! opens_and_closes {
    ($name:ident, $error:expr, $text:expr) => {
        #[tokio::test(start_paused = true)]
        async fn $name() {
            let upstream: Upstream<Req, _, _> = Upstream::new(|| $error, answer);
            let stack = stack()
                .without_retry()
                .circuit_breaker(breaker())
                .build()
                .unwrap();
            let client = stack.wrap(upstream.clone());
            upstream.fail(100);
            for call in 1..=10 {
                assert_eq!(stack.circuit_breaker().state(), State::Closed, "{call}");
                let status = get(client.clone()).await.unwrap_err();
                assert_eq!(status.code(), Code::Unavailable, "{status}");
                assert!(status.message().contains($text), "{status}");
                assert_eq!(upstream.failed(), call);
            }
            assert_eq!(stack.circuit_breaker().state(), State::Open);
            let status = get(client.clone()).await.unwrap_err();
            assert_eq!(status.code(), Code::Unavailable);
            assert!(status.message().contains("the circuit is open"), "{status}");
            assert_eq!(upstream.failed(), 10, "nobody asks any more");

            upstream.fail(0);
            tokio::time::sleep(Duration::from_secs(5)).await;
            get(client.clone()).await.unwrap();
            assert_eq!(stack.circuit_breaker().state(), State::Closed);
            assert_eq!(upstream.calls(), 1);
        }
    };
}

opens_and_closes!(of_a_status, Status::unknown("no wire"), "no wire");
opens_and_closes!(of_a_status_with_a_code, Status::unavailable("gone"), "gone");
opens_and_closes!(of_a_box, BoxError::from("no wire"), "no wire");
opens_and_closes!(
    of_a_boxed_status,
    BoxError::from(Status::unknown("no wire")),
    "no wire"
);
// It has no room for a status.
opens_and_closes!(
    of_an_error_of_its_own,
    io::Error::other("no wire"),
    "not ready"
);

/// A code that the service gives is that of the call.
#[tokio::test(start_paused = true)]
async fn a_code_is_kept() {
    let upstream: Upstream<Req, _, _> =
        Upstream::new(|| Status::unauthenticated("no token"), answer);
    upstream.fail(1);
    let stack = stack().without_retry().build().unwrap();
    let status = get(stack.wrap(upstream)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
}

/// The retry repeats it, and a half-open circuit that fails again stays open.
#[tokio::test(start_paused = true)]
async fn it_is_retried_and_a_probe_may_fail() {
    let upstream: Upstream<Req, _, _> = Upstream::new(|| BoxError::from("no wire"), answer);
    let stack = stack().retry(3).circuit_breaker(breaker()).build().unwrap();
    let client = stack.wrap(upstream.clone());
    let balance = stack.retry().budget().unwrap().balance();
    upstream.fail(2);
    get(client.clone()).await.unwrap();
    assert_eq!((upstream.failed(), upstream.calls()), (2, 1));
    assert_eq!(
        stack.retry().budget().unwrap().balance(),
        balance,
        "for nothing"
    );

    upstream.fail(100);
    while stack.circuit_breaker().state() == State::Closed {
        let status = get(client.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
    }
    let failed = upstream.failed();
    assert_eq!(failed, 12);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let status = get(client.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(upstream.failed(), failed + 1, "the probe");
    assert_eq!(stack.circuit_breaker().state(), State::Open);
    upstream.fail(0);
    tokio::time::sleep(Duration::from_secs(60)).await;
    get(client).await.unwrap();
    assert_eq!(stack.circuit_breaker().state(), State::Closed);
}

/// Without a stub the error is the service's own, grown.
#[tokio::test(start_paused = true)]
async fn without_a_retry_layer_the_error_is_the_services_own() {
    let upstream: Upstream<Req, _, _> = Upstream::new(|| io::Error::other("no wire"), answer);
    upstream.fail(1);
    let layers = tower::ServiceBuilder::new()
        .layer(grpc::circuit_breaker().build().unwrap())
        .layer(grpc::bulkhead().limit(1).build().unwrap());
    let mut service = layers.service(upstream);
    let request = || http::Request::new(tonic::body::Body::empty());
    std::future::poll_fn(|cx| service.poll_ready(cx))
        .await
        .unwrap();
    let error = service.call(request()).await.map(drop).unwrap_err();
    assert!(matches!(error, mainstay::Error::Inner(error) if error.to_string() == "no wire"));
    let error = service.call(request()).await.map(drop).unwrap_err();
    let rejection: Option<&Rejection> = error.as_rejection();
    assert_eq!(rejection.unwrap().reason(), Reason::NotReady);
}
