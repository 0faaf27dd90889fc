//! The layers under tonic, over real sockets: on the server, and around a client's channel.
#![cfg(all(feature = "tonic", feature = "axum"))]

use std::convert::Infallible;
use std::future::{Pending, pending};
use std::net::SocketAddr;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use mainstay::{
    BoxError, BulkheadLayer, CircuitBreakerLayer, Context, CorrelationLayer, Limit, LoadShedLayer,
    Reason, Rejection, RespondLayer, State, TimeoutLayer, grpc,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::service::{LayerExt, Routes};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status};
use tower::{Layer, Service, ServiceBuilder};

use crate::users::users_client::UsersClient;
use crate::users::users_server::{Users, UsersServer};
use crate::users::{GetRequest, ListRequest, User};

use crate::common::{Door, listener, until, within};

/// Knows everyone, but for a few names that mean something.
#[derive(Clone)]
struct Directory {
    door: Door,
}

impl Directory {
    fn new() -> Self {
        Self {
            door: Door::closed(),
        }
    }
}

#[tonic::async_trait]
impl Users for Directory {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<User>, Status> {
        let id = request.metadata().get("x-correlation-id");
        let email = id.map_or("", |id| id.to_str().unwrap()).to_owned();
        let name = request.into_inner().name;
        match name.as_str() {
            "wait" => self.door.pass().await,
            "never" => pending().await,
            "nobody" => return Err(Status::not_found("nobody of that name")),
            "broken" => return Err(Status::internal("broken")),
            "context" => {
                let email = Context::current().correlation_id().unwrap().to_string();
                return Ok(Response::new(User { name, email }));
            }
            _ => {}
        }
        Ok(Response::new(User { name, email }))
    }

    type ListStream = tokio_stream::Iter<std::vec::IntoIter<Result<User, Status>>>;

    async fn list(
        &self,
        request: Request<ListRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        let users: Vec<_> = (0..request.into_inner().limit)
            .map(|number| {
                Ok(User {
                    name: number.to_string(),
                    ..User::default()
                })
            })
            .collect();
        Ok(Response::new(tokio_stream::iter(users)))
    }
}

/// Serves the directory behind these layers until the test ends. A macro, because nobody wants to write the type.
macro_rules! serve {
    ($layers:expr, $directory:expr) => {{
        let (listener, address) = listener().await;
        let server = Server::builder()
            .layer($layers)
            .add_service(UsersServer::new($directory))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(async move { server.await.unwrap() });
        address
    }};
}

fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect_lazy()
}

fn named(name: &str) -> GetRequest {
    GetRequest {
        name: name.to_owned(),
    }
}

/// What a plain client sees of a call for this name.
async fn rejected(address: SocketAddr, name: &str) -> Status {
    let mut client = UsersClient::new(channel(address));
    within("a status", client.get(named(name)))
        .await
        .unwrap_err()
}

/// What a plain client sees while another call is held behind the door.
async fn rejected_while_held(address: SocketAddr, door: Door) -> Status {
    let held =
        tokio::spawn(async move { UsersClient::new(channel(address)).get(named("wait")).await });
    until("the first call", || door.entered() == 1).await;
    let status = rejected(address, "ann").await;
    door.open();
    held.await.unwrap().unwrap();
    status
}

fn pushback(status: &Status) -> Option<u64> {
    let value = status.metadata().get("grpc-retry-pushback-ms")?;
    Some(value.to_str().unwrap().parse().unwrap())
}

/// A service that is never ready.
#[derive(Clone)]
struct NeverReady;

impl<Req> Service<Req> for NeverReady {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pending<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Pending
    }

    fn call(&mut self, _: Req) -> Self::Future {
        panic!("called, although it was not ready");
    }
}

#[tokio::test]
async fn a_client_sees_the_code_of_each_kind_of_rejection() {
    let breaker = CircuitBreakerLayer::builder()
        .name("secret")
        .build()
        .unwrap();
    breaker.handle().force_open();
    let address = serve!((RespondLayer::new(), breaker), Directory::new());
    let status = rejected(address, "ann").await;
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.message(), "the circuit is open");

    let full = BulkheadLayer::new(0);
    let address = serve!((RespondLayer::new(), full), Directory::new());
    let status = rejected(address, "ann").await;
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.message(), "the bulkhead is full");
    assert_eq!(pushback(&status), None);

    let queue = BulkheadLayer::builder().limit(1);
    let queue = queue.queue(8, Duration::from_millis(10)).build().unwrap();
    let directory = Directory::new();
    let door = directory.door.clone();
    let address = serve!((RespondLayer::new(), queue), directory);
    let status = rejected_while_held(address, door).await;
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.message(), "the wait for a permit was too long");

    let shed = LoadShedLayer::new(Limit::fixed(1));
    let directory = Directory::new();
    let door = directory.door.clone();
    let address = serve!((RespondLayer::new(), shed), directory);
    let status = rejected_while_held(address, door).await;
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.message(), "load is being shed");

    let never_ready = tower::layer::layer_fn(|_: Routes| NeverReady);
    let layers = (
        RespondLayer::new(),
        LoadShedLayer::on_readiness(),
        never_ready,
    );
    let address = serve!(layers, Directory::new());
    let status = rejected(address, "ann").await;
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.message(), "the service is not ready");

    let slow = TimeoutLayer::new(Duration::from_millis(10));
    let address = serve!((RespondLayer::new(), slow.clone()), Directory::new());
    let status = rejected(address, "never").await;
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(
        status.message(),
        "the call took longer than the timeout of 10ms"
    );

    let late = (RespondLayer::new(), TimeoutLayer::new(Duration::ZERO), slow);
    let address = serve!(late, Directory::new());
    let status = rejected(address, "ann").await;
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(status.message(), "the deadline had already passed");
}

#[tokio::test]
async fn a_client_is_told_when_to_come_back() {
    let breaker = grpc::circuit_breaker()
        .consecutive_failures(1)
        .open_for(Duration::from_secs(5))
        .build()
        .unwrap();
    let handle = breaker.handle();
    let address = serve!((RespondLayer::new(), breaker), Directory::new());
    // What is the caller's fault does not open it, a failure does.
    assert_eq!(rejected(address, "nobody").await.code(), Code::NotFound);
    assert_eq!(handle.state(), State::Closed);
    assert_eq!(rejected(address, "broken").await.code(), Code::Internal);
    assert_eq!(handle.state(), State::Open);
    let status = rejected(address, "ann").await;
    assert_eq!(status.code(), Code::Unavailable);
    let after = pushback(&status).unwrap();
    assert!((4_000..=6_000).contains(&after), "{after}");
}

#[tokio::test]
async fn one_limit_for_all_connections_of_a_server() {
    let directory = Directory::new();
    let door = directory.door.clone();
    let address = serve!((RespondLayer::new(), BulkheadLayer::new(1)), directory);
    let held =
        tokio::spawn(async move { UsersClient::new(channel(address)).get(named("wait")).await });
    until("the first call", || door.entered() == 1).await;
    for _ in 0..5 {
        let status = rejected(address, "wait").await;
        assert_eq!(status.code(), Code::Unavailable);
    }
    assert_eq!(door.entered(), 1);
    door.open();
    held.await.unwrap().unwrap();
}

#[tokio::test]
async fn http_and_grpc_on_one_port_each_get_their_own_answer() {
    let grpc = Routes::new(UsersServer::new(Directory::new())).into_axum_router();
    let routes = grpc.route("/hello", axum::routing::get(|| async { "hello" }));
    let (listener, address) = listener().await;
    let breaker = CircuitBreakerLayer::new();
    let handle = breaker.handle();
    let server = Server::builder()
        .accept_http1(true)
        .layer((CorrelationLayer::server(), RespondLayer::new(), breaker))
        .add_routes(Routes::from(routes))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(async move { server.await.unwrap() });

    let url = format!("http://{address}/hello");
    let response = reqwest::get(&url).await.unwrap();
    assert_eq!(response.text().await.unwrap(), "hello");
    let mut client = UsersClient::new(channel(address));
    let user = client.get(named("context")).await.unwrap();
    assert_eq!(user.get_ref().email.len(), 36);

    handle.force_open();
    let response = reqwest::get(&url).await.unwrap();
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("x-correlation-id"));
    let problem: serde_json::Value = response.json().await.unwrap();
    assert_eq!(problem["reason"], "circuit_open");
    let status = rejected(address, "ann").await;
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.metadata().contains_key("x-correlation-id"));
}

#[tokio::test]
async fn layers_on_one_service_only() {
    let layers = (
        CorrelationLayer::server(),
        RespondLayer::new(),
        BulkheadLayer::new(0),
    );
    let service = layers.named_layer(UsersServer::new(Directory::new()));
    let (listener, address) = listener().await;
    let server = Server::builder()
        .add_service(service)
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(async move { server.await.unwrap() });
    let status = rejected(address, "ann").await;
    assert_eq!(status.code(), Code::Unavailable);
}

/// The directory without any layer.
async fn plain() -> (SocketAddr, Door) {
    let directory = Directory::new();
    let door = directory.door.clone();
    (serve!(tower::layer::util::Identity::new(), directory), door)
}

#[tokio::test]
async fn a_stub_sees_the_code_through_the_layers() {
    let (address, door) = plain().await;
    let breaker = grpc::circuit_breaker().name("users").build().unwrap();
    let bulkhead = grpc::bulkhead().name("users").limit(1).build().unwrap();
    let handle = breaker.handle();
    let stack = ServiceBuilder::new()
        .layer(CorrelationLayer::client())
        .layer(grpc::retry().build().unwrap())
        .layer(breaker)
        .layer(bulkhead)
        .layer(TimeoutLayer::new(Duration::from_secs(10)))
        .service(channel(address));
    let mut client = UsersClient::new(stack);

    assert_eq!(
        client.get(named("ann")).await.unwrap().get_ref().name,
        "ann"
    );
    let mut list = client
        .list(ListRequest { limit: 3 })
        .await
        .unwrap()
        .into_inner();
    let mut count = 0;
    while let Some(_user) = list.message().await.unwrap() {
        count += 1;
    }
    assert_eq!(count, 3);
    let status = client.get(named("nobody")).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);

    let hurry = Context::current().with_timeout(Duration::from_millis(50));
    let call = hurry.scope(client.get(named("never")));
    let status = within("the deadline", call).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(Rejection::find(&status).unwrap().reason(), Reason::TimedOut);

    let mut other = client.clone();
    let held = tokio::spawn(async move { other.get(named("wait")).await });
    until("the first call", || door.entered() == 1).await;
    let status = client.get(named("ann")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let rejection = Rejection::find(&status).unwrap();
    assert_eq!((rejection.layer(), rejection.name()), ("bulkhead", "users"));
    assert_eq!(status.message(), rejection.to_string());
    door.open();
    held.await.unwrap().unwrap();

    handle.force_open();
    let status = client.get(named("ann")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let reason = Rejection::find(&status).unwrap().reason();
    assert_eq!(reason, Reason::CircuitOpen);
}

#[tokio::test]
async fn a_stub_sees_the_code_behind_towers_layers() {
    let (address, _door) = plain().await;
    let broken = grpc::circuit_breaker()
        .consecutive_failures(1)
        .build()
        .unwrap();
    // Each of them boxes the error or hides it in one of its own.
    let stack = ServiceBuilder::new()
        .layer(tower::buffer::BufferLayer::<http::Request<Body>>::new(8))
        .layer(CorrelationLayer::client())
        .layer(TimeoutLayer::new(Duration::from_secs(5)))
        .layer(tower::timeout::TimeoutLayer::new(Duration::from_secs(5)))
        .layer(broken)
        .layer(TimeoutLayer::new(Duration::from_millis(50)))
        .layer(BulkheadLayer::new(8))
        .service(channel(address));
    let mut client = UsersClient::new(stack);
    let status = client.get(named("never")).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    let status = client.get(named("ann")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(pushback(&status).is_some());
    let reason = Rejection::find(&status).unwrap().reason();
    assert_eq!(reason, Reason::CircuitOpen);

    // Here the rejection meets a box before there was any status.
    let stack = ServiceBuilder::new()
        .layer(tower::buffer::BufferLayer::<http::Request<Body>>::new(8))
        .layer(BulkheadLayer::new(0))
        .map_err(BoxError::from)
        .service(channel(address));
    let status = UsersClient::new(stack).get(named("ann")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert_eq!(Rejection::find(&status).unwrap().reason(), Reason::Full);
}

#[tokio::test]
async fn a_channel_that_cannot_connect_opens_the_circuit() {
    let (listener, address) = listener().await;
    drop(listener);
    let breaker = grpc::circuit_breaker()
        .consecutive_failures(2)
        .build()
        .unwrap();
    let handle = breaker.handle();
    let mut client = UsersClient::new(breaker.layer(channel(address)));
    for _ in 0..2 {
        let status = client.get(named("ann")).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(Rejection::find(&status).is_none());
    }
    assert_eq!(handle.state(), State::Open);
}

/// A connection on which somebody has asked for Ann, and heard nothing but empty settings.
async fn asked_for_ann(listener: TcpListener) -> TcpStream {
    let (mut connection, _) = listener.accept().await.unwrap();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    connection.write_all(&settings).await.unwrap();
    let mut received = Vec::new();
    while !received.windows(5).any(|part| part == b"\x0a\x03ann") {
        let read = connection.read_buf(&mut received).await.unwrap();
        assert!(read > 0, "the client left");
    }
    connection
}

#[tokio::test]
async fn a_connection_that_breaks_in_the_middle_of_a_call_is_unavailable() {
    let (listener, address) = listener().await;
    let server = tokio::spawn(async move { drop(asked_for_ann(listener).await) });
    let breaker = grpc::circuit_breaker()
        .consecutive_failures(1)
        .build()
        .unwrap();
    let handle = breaker.handle();
    let mut client = UsersClient::new(breaker.layer(channel(address)));
    let call = client.get(named("ann"));
    let status = within("a status", call).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(Rejection::find(&status).is_none());
    assert_eq!(handle.state(), State::Open);
    server.await.unwrap();
}

#[tokio::test]
async fn a_call_that_a_server_turns_away_as_it_shuts_down_is_unavailable() {
    // A GOAWAY without an error that says that no stream was seen.
    const GO_AWAY: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let (listener, address) = listener().await;
    let server = tokio::spawn(async move {
        let mut connection = asked_for_ann(listener).await;
        connection.write_all(GO_AWAY).await.unwrap();
        // Until the client leaves, too.
        while connection.read_u8().await.is_ok() {}
    });
    let breaker = grpc::circuit_breaker().build().unwrap();
    let mut client = UsersClient::new(breaker.layer(channel(address)));
    let call = client.get(named("ann"));
    let status = within("a status", call).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    drop(client);
    within("the client's leave", server).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_is_lost_at_once_is_unavailable() {
    let (listener, address) = listener().await;
    let server = tokio::spawn(async move {
        loop {
            drop(listener.accept().await.unwrap());
        }
    });
    let breaker = grpc::circuit_breaker()
        .mode(mainstay::Mode::Shadow)
        .build()
        .unwrap();
    // It is found out in one of several places, as it happens.
    let mut client = UsersClient::new(breaker.layer(channel(address)));
    for _ in 0..100 {
        let call = client.get(named("ann"));
        let status = within("a status", call).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    }
    server.abort();
}

#[tokio::test]
async fn tonics_own_time_limit_is_a_deadline_and_a_failure() {
    let (address, _door) = plain().await;
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .timeout(Duration::from_millis(20))
        .connect_lazy();
    let breaker = grpc::circuit_breaker()
        .consecutive_failures(1)
        .build()
        .unwrap();
    let handle = breaker.handle();
    let mut client = UsersClient::new(breaker.layer(channel));
    let status = client.get(named("never")).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(handle.state(), State::Open);
}

#[tokio::test]
async fn the_correlation_id_is_sent() {
    let (address, _door) = plain().await;
    let channel = CorrelationLayer::client().layer(channel(address));
    let mut client = UsersClient::new(channel);
    let context = Context::current().with_correlation_id("order-4711".parse().unwrap());
    let user = context.scope(client.get(named("ann"))).await.unwrap();
    assert_eq!(user.get_ref().email, "order-4711");
    let user = client.get(named("ann")).await.unwrap();
    assert_eq!(user.get_ref().email.len(), 36);
}
