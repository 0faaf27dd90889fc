//! What the errors of the others say to write. This compiles.

use axum::{Router, routing::get};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use mainstay::http::{ClassifyEnd, EndOfBody, HttpResponse};
use mainstay::reqwest::SendThrough;
use mainstay::{
    BoxError, BulkheadLayer, Carry, CircuitBreakerLayer, Classify, CorrelationLayer, Decision,
    Outcome, RespondLayer, RetryLayer, RetryRefused, TimeoutLayer, Verdict,
};
use std::convert::Infallible;
use std::io;
use std::marker::PhantomPinned;
use std::num::ParseIntError;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tonic::{client::GrpcService, transport::Channel};
use tower::util::{BoxCloneService, MapResponseLayer};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_http::compression::CompressionLayer;

const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct MyError;

impl mainstay::Plain for MyError {}

impl From<mainstay::Error<reqwest::Error>> for MyError {
    fn from(_: mainstay::Error<reqwest::Error>) -> Self {
        Self
    }
}

impl From<reqwest::Error> for MyError {
    fn from(_: reqwest::Error) -> Self {
        Self
    }
}

fn own_error() {
    let mut stack = ServiceBuilder::new()
        .layer(TimeoutLayer::new(SECOND))
        .service(service_fn(async |_: String| Err::<(), _>(MyError)));
    let _ = stack.ready();
}

fn foreign_error() -> impl Service<String> {
    ServiceBuilder::new()
        .layer(BulkheadLayer::new(8))
        .map_err(|error: ParseIntError| BoxError::from(error))
        .service(service_fn(async |page: String| page.parse::<u32>()))
}

fn axum_routers() -> Router {
    Router::new()
        .route("/", get(async || "hello"))
        .layer(
            ServiceBuilder::new()
                .layer(RespondLayer::new())
                .layer(BulkheadLayer::new(8)),
        )
        .layer(
            ServiceBuilder::new()
                .layer(
                    RespondLayer::new().map_error(|error: BoxError| -> http::Response<_> {
                        Response::new(error.to_string().into())
                    }),
                )
                .layer(tower::timeout::TimeoutLayer::new(SECOND)),
        )
}

fn error_of_no_layer() -> impl Service<Request<()>> {
    ServiceBuilder::new()
        .layer(RespondLayer::new().map_error(|_: io::Error| Response::new(String::new())))
        .map_err(mainstay::Error::from)
        .service(service_fn(async |_: Request<()>| {
            Ok::<_, io::Error>(Response::new(String::new()))
        }))
}

struct Page;

fn unknown_body() -> impl Service<Request<()>> {
    ServiceBuilder::new()
        .layer(RespondLayer::new().body_with(|_: Bytes| Page))
        .layer(BulkheadLayer::new(8))
        .service(service_fn(async |_: Request<()>| {
            Ok::<_, Infallible>(Response::new(Page))
        }))
}

struct Frame;

impl Carry for Frame {
    fn get(&self, _: &str) -> Option<&[u8]> {
        None
    }

    fn set(&mut self, _: &str, _: &str) {}
}

impl mainstay::WholeReply for Frame {}

fn replies_with_id() -> impl Service<Frame> {
    ServiceBuilder::new()
        .layer(CorrelationLayer::server())
        .service(service_fn(async |_: Frame| Ok::<_, Infallible>(Frame)))
}

fn no_reply() -> impl Service<Frame> {
    ServiceBuilder::new()
        .layer(CorrelationLayer::consumer())
        .service(service_fn(async |_: Frame| Ok::<_, Infallible>(())))
}

struct Json;

impl mainstay::http::ReplayBody for Json {
    type Kept = Self;

    fn keep(&mut self, _: usize) -> Option<Self> {
        None
    }

    fn again(_: &mut Self) -> Result<Self, RetryRefused> {
        Ok(Self)
    }
}

fn retry_of_own_body() -> impl Service<Request<Json>> {
    ServiceBuilder::new()
        .layer(mainstay::http::retry().build().unwrap())
        .service(service_fn(async |_: Request<Json>| {
            Ok::<_, io::Error>(Response::new(()))
        }))
}

fn no_http() -> impl Service<String> {
    ServiceBuilder::new()
        .layer(TimeoutLayer::new(SECOND))
        .layer(RetryLayer::new())
        .layer(CircuitBreakerLayer::builder().build().unwrap())
        .service(service_fn(async |_: String| Ok::<_, io::Error>(())))
}

fn no_clone() -> impl Service<Page> {
    let retry = RetryLayer::builder()
        .decide_cloning(
            |_: &Page| Some(Page),
            |_: &Page, _: Result<&(), &mainstay::Error<io::Error>>, _| Decision::Return,
        )
        .build()
        .unwrap();
    ServiceBuilder::new()
        .layer(retry)
        .service(service_fn(async |_: Page| Ok::<_, io::Error>(())))
}

fn boxed(inner: BoxCloneService<String, (), io::Error>) -> impl Service<String> {
    let bulkhead = BulkheadLayer::builder().queue(8, SECOND).build().unwrap();
    ServiceBuilder::new()
        .layer(RetryLayer::new())
        .layer(bulkhead)
        .service(inner)
}

struct Odd;

impl Classify<u32, mainstay::Error<io::Error>> for Odd {
    fn classify(&self, _: Result<&u32, &mainstay::Error<io::Error>>) -> Verdict {
        Outcome::Success.into()
    }
}

type Grown = mainstay::Error<io::Error>;

fn grown_errors() -> impl Service<String> {
    let retry = RetryLayer::builder()
        .retry_if(|_: &String, result: Result<&u32, &Grown>| result.is_err())
        .build()
        .unwrap();
    let by_closure = CircuitBreakerLayer::builder()
        .classify(|_: Result<&u32, &Grown>| Outcome::Success)
        .build()
        .unwrap();
    let by_type = CircuitBreakerLayer::builder()
        .classifier(Odd)
        .build()
        .unwrap();
    ServiceBuilder::new()
        .layer(retry)
        .layer(by_closure)
        .layer(by_type)
        .service(service_fn(async |_: String| Ok::<_, io::Error>(3)))
}

fn outcome_of_a_head() {
    let _ = mainstay::http::circuit_breaker().classify_head(|_| Outcome::Success);
}

fn clients() {
    let client = reqwest::Client::new();
    let stack = ServiceBuilder::new()
        .map_err(MyError::from)
        .layer(TimeoutLayer::new(SECOND))
        .layer(mainstay::http::retry().build().unwrap())
        .service(client.clone());
    let _ = client.get("http://localhost/").send_through(&stack);
}

struct UsersClient<T>(T);

impl<T: GrpcService<tonic::body::Body>> UsersClient<T> {
    fn new(inner: T) -> Self {
        Self(inner)
    }
}

fn stub(channel: Channel) {
    let stack = ServiceBuilder::new()
        .layer(TimeoutLayer::new(SECOND))
        .layer(mainstay::grpc::retry().build().unwrap())
        .service(channel);
    let UsersClient(_) = UsersClient::new(stack);
}

fn server_stacks() -> Result<Router, mainstay::ConfigError> {
    let respond = RespondLayer::new().map_error(|error: BoxError| -> http::Response<_> {
        Response::new(error.to_string().into())
    });
    Ok(Router::new().route("/", get(async || "hello")).layer(
        ServiceBuilder::new()
            .layer(mainstay::http::server("site").build()?)
            .layer(respond)
            .layer(tower::timeout::TimeoutLayer::new(SECOND)),
    ))
}

fn server_stack_of_own_error() -> impl Service<Request<()>> {
    let respond = RespondLayer::new()
        .map_error(|_: MyError| Response::new(String::from("failed")));
    ServiceBuilder::new()
        .layer(mainstay::http::server("site").build().unwrap())
        .layer(respond)
        .map_err(mainstay::Error::from)
        .service(service_fn(async |_: Request<()>| {
            Err::<Response<String>, _>(MyError)
        }))
}

fn client_stacks(
    channel: Channel,
    boxed: BoxCloneService<Request<String>, Response<String>, MyError>,
) -> Result<(), mainstay::ConfigError> {
    let users = mainstay::grpc::client("users").retry(mainstay::grpc::retry());
    let UsersClient(_) = UsersClient::new(users.build()?.wrap(channel));

    let http = reqwest::Client::new();
    let payments = mainstay::reqwest::client("payments")
        .timeout(SECOND)
        .retry(3)
        .bulkhead(BulkheadLayer::builder().limit(3))
        .circuit_breaker(CircuitBreakerLayer::builder())
        .build()?;
    let _ = http
        .get("http://localhost/")
        .send_through(&payments.wrap(http.clone()));
    let _ = payments.wrap(boxed);
    let _ = tower::Layer::layer(&payments, Router::<()>::new());
    Ok(())
}

#[derive(Clone)]
struct Ours;

impl<Res: HttpResponse, Err> Classify<Res, Err> for Ours {
    fn classify(&self, _: Result<&Res, &Err>) -> Verdict {
        Outcome::Success.into()
    }
}

impl ClassifyEnd for Ours {}

fn judgements(
    client: reqwest::Client,
) -> Result<mainstay::reqwest::Client, mainstay::ConfigError> {
    let by_head = mainstay::http::load_shed().classify_head(|_| Outcome::Success);
    let _ = mainstay::http::server("site").load_shed(by_head).build()?;
    let ours = mainstay::http::circuit_breaker().tracker(EndOfBody::new(Ours));
    let stack = mainstay::reqwest::client("payments").circuit_breaker(ours);
    Ok(stack.build()?.wrap(client))
}

struct Pinned(PhantomPinned);

impl Body for Pinned {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }
}

fn server_stack_over_pinned_body() -> impl Service<Request<()>> {
    ServiceBuilder::new()
        .layer(mainstay::http::server("site").build().unwrap())
        .map_response(|response: http::Response<_>| response.map(axum::body::Body::new))
        .service(service_fn(async |_: Request<()>| {
            Ok::<_, Infallible>(Response::new(Pinned(PhantomPinned)))
        }))
}

fn request_layer_of_unknown_body() -> Router {
    let stack = mainstay::http::server("site")
        .with_request_layer(MapResponseLayer::new(|response: http::Response<_>| {
            response.map(axum::body::Body::new)
        }))
        .with_request_layer(CompressionLayer::new())
        .build()
        .unwrap();
    Router::new().route("/", get(async || "hello")).layer(stack)
}

type Foreign = tower_http::body::UnsyncBoxBody<Bytes, io::Error>;
type Boxed = http_body_util::combinators::UnsyncBoxBody<Bytes, io::Error>;

fn client_stack_of_unknown_body() -> impl Service<Request<Foreign>> {
    ServiceBuilder::new()
        .map_request(|request: Request<Foreign>| {
            request.map(http_body_util::BodyExt::boxed_unsync)
        })
        .layer(mainstay::http::client("orders").build().unwrap())
        .service(service_fn(async |_: Request<Boxed>| {
            Ok::<_, io::Error>(Response::new(String::new()))
        }))
}

fn main() {
    own_error();
    outcome_of_a_head();
    clients();
    let _ = (
        foreign_error(),
        axum_routers(),
        error_of_no_layer(),
        unknown_body(),
    );
    let _ = (replies_with_id(), no_reply(), retry_of_own_body());
    let _ = (no_http(), no_clone(), grown_errors(), boxed, stub);
    let _ = (server_stacks(), server_stack_of_own_error(), client_stacks);
    let _ = judgements;
    let _ = (server_stack_over_pinned_body(), request_layer_of_unknown_body());
    let _ = client_stack_of_unknown_body();
}
