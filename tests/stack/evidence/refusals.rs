//! A refusal that depends on the request or on its caller opens no circuit and lowers no limit.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full, StreamBody};
use mainstay::{Limit, Outcome, Reason, Rejection, State, grpc, http as resilient};
use tokio::time::Instant;
use tonic::{Code, Status};
use tower::{Layer, Service, ServiceExt as _, service_fn};

use crate::common::{Door, listener, until, within};
use crate::support::ms;
use crate::users::users_client::UsersClient;
use crate::users::users_server::{Users, UsersServer};
use crate::users::{GetRequest, ListRequest, User};

type Req = Request<Full<Bytes>>;

/// A request of one caller.
fn by(caller: &'static str) -> Req {
    let request = Request::builder().header("x-caller", caller);
    request.body(Full::default()).unwrap()
}

/// Answers one caller so, and everybody else well.
fn refuses(
    caller: &'static str,
    answer: impl Fn() -> Response<Body> + Clone + Send + 'static,
) -> impl Service<
    Req,
    Response = Response<Body>,
    Error = std::io::Error,
    Future = std::future::Ready<std::io::Result<Response<Body>>>,
> + Clone {
    service_fn(move |request: Req| {
        let is_refused = request.headers()["x-caller"] == caller;
        std::future::ready(Ok(if is_refused {
            answer()
        } else {
            Response::new(Body::empty())
        }))
    })
}

fn status(code: u16) -> Response<Body> {
    let mut response = Response::new(Body::from("no"));
    *response.status_mut() = code.try_into().unwrap();
    response
}

#[tokio::test(start_paused = true)]
async fn what_depends_on_the_request_opens_no_circuit_over_http() {
    for code in [
        400, 401, 403, 404, 405, 408, 411, 413, 414, 415, 421, 422, 425, 429, 431, 501, 505,
    ] {
        let stack = resilient::client("catalog")
            .without_retry()
            .build()
            .unwrap();
        let service = stack.layer(refuses("greedy", move || status(code)));
        for _ in 0..100 {
            let refused = service.clone().oneshot(by("greedy")).await.unwrap();
            assert_eq!(refused.status(), code);
        }
        assert_eq!(stack.circuit_breaker().state(), State::Closed, "{code}");
        assert_eq!(stack.circuit_breaker().snapshot().failures, 0, "{code}");
        let honest = service.oneshot(by("honest")).await.unwrap();
        assert_eq!(honest.status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn what_depends_on_the_request_opens_no_circuit_over_grpc() {
    let in_head = |code: &'static str| {
        move || {
            let response = Response::builder().header("content-type", "application/grpc");
            response
                .header("grpc-status", code)
                .body(Body::empty())
                .unwrap()
        }
    };
    let in_trailers = |code: &'static str| {
        move || {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static(code));
            let frames = [
                http_body::Frame::data(Bytes::from("message")),
                http_body::Frame::trailers(trailers),
            ];
            let body = StreamBody::new(futures::stream::iter(frames.map(Ok::<_, Infallible>)));
            let response = Response::builder().header("content-type", "application/grpc");
            response.body(Body::new(body)).unwrap()
        }
    };
    for code in ["3", "5", "6", "7", "8", "9", "10", "11", "12", "16"] {
        for late in [false, true] {
            let stack = grpc::client("users").without_retry().build().unwrap();
            let service = if late {
                stack.layer(tower::util::BoxCloneService::new(refuses(
                    "greedy",
                    in_trailers(code),
                )))
            } else {
                stack.layer(tower::util::BoxCloneService::new(refuses(
                    "greedy",
                    in_head(code),
                )))
            };
            for _ in 0..100 {
                let refused = service.clone().oneshot(by("greedy")).await.unwrap();
                let _ = refused.into_body().collect().await;
            }
            let circuit = stack.circuit_breaker().snapshot();
            assert_eq!(
                (circuit.state, circuit.failures),
                (State::Closed, 0),
                "{code}"
            );
        }
    }
    // Of a proxy that knows no code.
    for code in [400, 413, 429, 431] {
        let stack = grpc::client("users").without_retry().build().unwrap();
        let service = stack.layer(refuses("greedy", move || status(code)));
        for _ in 0..100 {
            service.clone().oneshot(by("greedy")).await.unwrap();
        }
        let circuit = stack.circuit_breaker().snapshot();
        assert_eq!(
            (circuit.state, circuit.failures),
            (State::Closed, 0),
            "{code}"
        );
        assert_eq!(circuit.outcomes.ignored, 100);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_for_counts() {
    let circuit = resilient::circuit_breaker().classify_head(|head| match head.status().as_u16() {
        429 | 500.. => Outcome::Failure,
        _ => Outcome::Success,
    });
    let stack = resilient::client("catalog")
        .without_retry()
        .circuit_breaker(circuit)
        .build()
        .unwrap();
    let service = stack.layer(refuses("greedy", || status(429)));
    for _ in 0..30 {
        let _ = service.clone().oneshot(by("greedy")).await;
    }
    assert_eq!(stack.circuit_breaker().state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_quota_is_retried_by_its_hint_and_a_bystander_calls_on() {
    let calls = Arc::new(AtomicU32::new(0));
    let at_first = |answer: fn() -> Response<Body>| {
        let calls = Arc::clone(&calls);
        service_fn(move |_: Req| {
            let first = calls.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
            let response = if first {
                answer()
            } else {
                Response::new(Body::empty())
            };
            std::future::ready(Ok::<_, std::io::Error>(response))
        })
    };
    let http = resilient::client("catalog").build().unwrap();
    let began = Instant::now();
    let service = http.layer(at_first(|| {
        let mut response = status(429);
        response
            .headers_mut()
            .insert("retry-after", HeaderValue::from_static("2"));
        response
    }));
    assert_eq!(service.oneshot(by("greedy")).await.unwrap().status(), 200);
    assert_eq!(began.elapsed(), Duration::from_secs(2));
    assert_eq!(http.circuit_breaker().snapshot().outcomes.ignored, 1);

    let grpc = grpc::client("users").build().unwrap();
    let began = Instant::now();
    let service = grpc.layer(at_first(|| {
        let response = Response::builder().header("content-type", "application/grpc");
        let response = response
            .header("grpc-status", "8")
            .header("grpc-retry-pushback-ms", "700");
        response.body(Body::empty()).unwrap()
    }));
    assert!(
        !service
            .oneshot(by("greedy"))
            .await
            .unwrap()
            .headers()
            .contains_key("grpc-status")
    );
    assert_eq!(began.elapsed(), Duration::from_millis(700));
    assert_eq!(grpc.circuit_breaker().snapshot().outcomes.ignored, 1);
    assert_eq!(calls.load(Ordering::SeqCst), 4);
}

#[tokio::test(start_paused = true)]
async fn a_quota_lowers_no_limit() {
    for answer in [
        || status(429),
        || {
            let response = Response::builder().header("content-type", "application/grpc");
            response
                .header("grpc-status", "8")
                .body(Body::empty())
                .unwrap()
        },
    ] {
        let limit = Limit::aimd().initial(100).build().unwrap();
        let layer = resilient::load_shed().limit(limit).build().unwrap();
        let service = layer.layer(refuses("greedy", answer));
        for _ in 0..200 {
            let service = service.clone();
            service.oneshot(by("greedy")).await.unwrap();
            tokio::time::sleep(ms(10)).await;
        }
        assert_eq!(layer.handle().limit().unwrap(), 100);
    }
}

/// A service that waits behind a door.
struct Directory(Door);

#[tonic::async_trait]
impl Users for Directory {
    async fn get(
        &self,
        request: tonic::Request<GetRequest>,
    ) -> Result<tonic::Response<User>, Status> {
        let name = request.into_inner().name;
        match name.as_str() {
            "large" => Err(Status::resource_exhausted(
                "grpc: received message larger than max (5 vs. 4)",
            )),
            "wait" => {
                self.0.pass().await;
                Ok(tonic::Response::new(User::default()))
            }
            _ => Ok(tonic::Response::new(User {
                name,
                ..User::default()
            })),
        }
    }

    type ListStream = futures::stream::Empty<Result<User, Status>>;

    async fn list(
        &self,
        _: tonic::Request<ListRequest>,
    ) -> Result<tonic::Response<Self::ListStream>, Status> {
        Ok(tonic::Response::new(futures::stream::empty()))
    }
}

fn named(name: &str) -> GetRequest {
    GetRequest {
        name: name.to_owned(),
    }
}

#[tokio::test]
async fn over_large_messages_open_no_circuit_and_a_full_server_does() {
    let door = Door::closed();
    let server = grpc::server("users")
        .without_load_shed()
        .bulkhead(1)
        .build()
        .unwrap();
    let (listener, address) = listener().await;
    let server = tonic::transport::Server::builder()
        .layer(server)
        .add_service(UsersServer::new(Directory(door.clone())));
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    tokio::spawn(server.serve_with_incoming(incoming));
    let stack = grpc::client("users").without_retry().build().unwrap();
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
    let client = UsersClient::new(stack.wrap(channel.connect_lazy()));

    for _ in 0..50 {
        let large = within("a refusal", client.clone().get(named("large"))).await;
        assert_eq!(large.unwrap_err().code(), Code::ResourceExhausted);
    }
    let circuit = stack.circuit_breaker();
    assert_eq!(circuit.state(), State::Closed);
    assert_eq!(circuit.snapshot().outcomes.ignored, 50);
    within("an answer", client.clone().get(named("ann")))
        .await
        .unwrap();

    // The server's own bulkhead is full: that is real.
    let mut other = client.clone();
    let held = tokio::spawn(async move { other.get(named("wait")).await });
    until("the first call", || door.entered() == 1).await;
    let mut last = Status::ok("");
    while circuit.state() == State::Closed {
        last = within("a rejection", client.clone().get(named("ann")))
            .await
            .unwrap_err();
        assert_eq!(last.code(), Code::Unavailable);
    }
    assert_eq!(last.message(), "the bulkhead is full");
    let open = client.clone().get(named("ann")).await.unwrap_err();
    assert_eq!(
        Rejection::find(&open).unwrap().reason(),
        Reason::CircuitOpen
    );
    door.open();
    held.await.unwrap().unwrap();
}
