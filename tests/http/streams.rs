//! Responses that stream, over real sockets: outcomes and permits last to their end, whoever serves and whoever calls.
#![cfg(all(feature = "axum", feature = "reqwest", feature = "tonic"))]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response as Answer};
use axum::routing::get;
use futures::{Stream, StreamExt as _, stream};
use mainstay::reqwest::SendThrough;
use mainstay::{Limit, RespondLayer, State, grpc, http};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status};
use tower::{Layer as _, ServiceBuilder};

use crate::users::users_client::UsersClient;
use crate::users::users_server::{Users, UsersServer};
use crate::users::{GetRequest, ListRequest, User};

use crate::common::{Door, listener, serve, until, within};

// --- gRPC

/// Lists as many users as it is asked for, and then ends as the request's metadata say.
#[derive(Clone)]
struct Directory {
    door: Door,
}

#[tonic::async_trait]
impl Users for Directory {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<User>, Status> {
        match request.into_inner().name.as_str() {
            "nobody" => Err(Status::not_found("nobody of that name")),
            "broken" => Err(Status::internal("broken")),
            name => Ok(Response::new(user(name))),
        }
    }

    type ListStream = Pin<Box<dyn Stream<Item = Result<User, Status>> + Send>>;

    async fn list(
        &self,
        request: Request<ListRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        let then = request
            .metadata()
            .get("then")
            .map(|then| then.to_str().unwrap().to_owned());
        let listed = (0..request.into_inner().limit).map(|number| Ok(user(&number.to_string())));
        let door = self.door.clone();
        let end = stream::once(async move {
            match then.as_deref() {
                Some("wait") => {
                    door.pass().await;
                    None
                }
                Some(_) => Some(Err(Status::unavailable("half-way"))),
                None => None,
            }
        });
        let users = stream::iter(listed).chain(end.filter_map(std::future::ready));
        Ok(Response::new(Box::pin(users)))
    }
}

fn user(name: &str) -> User {
    User {
        name: name.to_owned(),
        ..User::default()
    }
}

fn listing(limit: u32, then: Option<&'static str>) -> Request<ListRequest> {
    let mut request = Request::new(ListRequest { limit });
    if let Some(then) = then {
        request.metadata_mut().insert("then", then.parse().unwrap());
    }
    request
}

fn named(name: &str) -> GetRequest {
    GetRequest {
        name: name.to_owned(),
    }
}

async fn directory(door: &Door) -> SocketAddr {
    let (listener, address) = listener().await;
    let server = Server::builder()
        .add_service(UsersServer::new(Directory { door: door.clone() }))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    address
}

fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect_lazy()
}

#[tokio::test]
async fn streams_that_fail_half_way_open_the_circuit() {
    let address = directory(&Door::closed()).await;
    let layer = grpc::circuit_breaker()
        .consecutive_failures(3)
        .build()
        .unwrap();
    let circuit = layer.handle();
    let mut client = UsersClient::new(layer.layer(channel(address)));
    for failures in 1..=3 {
        let mut users = client
            .list(listing(2, Some("fail")))
            .await
            .unwrap()
            .into_inner();
        assert!(users.message().await.is_ok());
        assert!(users.message().await.is_ok());
        assert_eq!(circuit.snapshot().consecutive_failures, failures - 1);
        assert_eq!(users.message().await.unwrap_err().code(), Code::Unavailable);
        if failures < 3 {
            assert_eq!(circuit.snapshot().consecutive_failures, failures);
        }
    }
    assert_eq!(circuit.state(), State::Open);
    let refused = client.get(named("ada")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.metadata().contains_key("grpc-retry-pushback-ms"));
}

#[tokio::test]
async fn what_a_stub_reads_to_its_end_is_judged_by_its_code() {
    let address = directory(&Door::closed()).await;
    let layer = grpc::circuit_breaker().min_calls(100).build().unwrap();
    let circuit = layer.handle();
    let mut client = UsersClient::new(layer.layer(channel(address)));
    client.get(named("ada")).await.unwrap();
    client.get(named("nobody")).await.unwrap_err();
    client.get(named("broken")).await.unwrap_err();
    let users = client.list(listing(3, None)).await.unwrap().into_inner();
    assert_eq!(users.count().await, 3);
    let seen = circuit.snapshot();
    assert_eq!((seen.calls, seen.failures), (4, 1));
}

#[tokio::test]
async fn a_stream_that_the_client_drops_is_cancelled_and_gives_its_place_back() {
    let door = Door::closed();
    let address = directory(&door).await;
    let breaker = grpc::circuit_breaker().build().unwrap();
    let bulkhead = grpc::bulkhead().limit(1).build().unwrap();
    let circuit = breaker.handle();
    let layers = (breaker, bulkhead.clone());
    let mut client = UsersClient::new(layers.layer(channel(address)));
    let mut users = client
        .list(listing(1, Some("wait")))
        .await
        .unwrap()
        .into_inner();
    assert!(users.message().await.unwrap().is_some());
    assert_eq!(bulkhead.handle().in_flight(), 1);
    let full = client.get(named("ada")).await.unwrap_err();
    assert_eq!(full.code(), Code::Unavailable);
    drop(users);
    assert_eq!(bulkhead.handle().in_flight(), 0);
    assert_eq!(circuit.snapshot().calls, 0);
}

#[tokio::test]
async fn a_server_that_dies_half_way_is_a_failure() {
    // It begins well: a head and a message, and then the connection ends.
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (_, mut respond) = connection.accept().await.unwrap().unwrap();
        let head = axum::http::Response::builder()
            .header("content-type", "application/grpc")
            .body(())
            .unwrap();
        let mut body = respond.send_response(head, false).unwrap();
        body.send_data(Bytes::from_static(&[0; 5]), false).unwrap();
        let served = tokio::time::timeout(Duration::from_millis(50), connection.accept());
        assert!(served.await.is_err());
    });
    let layer = grpc::circuit_breaker().min_calls(100).build().unwrap();
    let mut client = UsersClient::new(layer.layer(channel(address)));
    let call = client.list(listing(9, None));
    let mut users = within("a head", call).await.unwrap().into_inner();
    assert!(users.message().await.unwrap().is_some());
    within("the end", users.message()).await.unwrap_err();
    let seen = layer.handle().snapshot();
    assert_eq!((seen.calls, seen.failures), (1, 1));
}

#[tokio::test]
async fn a_server_counts_a_stream_until_it_is_over() {
    let door = Door::closed();
    let bulkhead = grpc::bulkhead().limit(1).build().unwrap();
    let shedder = grpc::load_shed().limit(Limit::fixed(9)).build().unwrap();
    let (listener, address) = listener().await;
    let server = Server::builder()
        .layer(
            ServiceBuilder::new()
                .layer(RespondLayer::new())
                .layer(shedder.clone())
                .layer(bulkhead.clone())
                .into_inner(),
        )
        .add_service(UsersServer::new(Directory { door: door.clone() }))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    let held = || (shedder.handle().in_flight(), bulkhead.handle().in_flight());

    let mut client = UsersClient::new(channel(address));
    let mut users = client
        .list(listing(1, Some("wait")))
        .await
        .unwrap()
        .into_inner();
    assert!(users.message().await.unwrap().is_some());
    assert_eq!(held(), (1, 1));
    let full = client.get(named("ada")).await.unwrap_err();
    assert_eq!(full.code(), Code::Unavailable);
    door.open();
    assert!(users.message().await.unwrap().is_none());
    until("the place to be free", || held() == (0, 0)).await;

    let users = client.list(listing(1, Some("wait"))).await.unwrap();
    drop(users);
    until("the place to be free again", || held() == (0, 0)).await;
    client.get(named("ada")).await.unwrap();
}

// --- HTTP

/// Endless, slow, cut off or small bodies.
fn upstream(door: &Door) -> Router {
    let at_the_door = door.clone();
    let ticking = move || {
        let door = at_the_door.clone();
        async move {
            let first = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"first "))]);
            let last = stream::once(async move {
                door.pass().await;
                Ok(Bytes::from_static(b"last"))
            });
            Body::from_stream(first.chain(last))
        }
    };
    let events = ticking.clone();
    Router::new()
        .route("/stream", get(ticking))
        .route(
            "/events",
            get(async move || {
                (
                    [(header::CONTENT_TYPE, "text/event-stream")],
                    events().await,
                )
            }),
        )
        .route("/small", get(async || "small"))
        .route("/broken", get(async || (StatusCode::BAD_GATEWAY, "broken")))
        .route("/upgrade", get(async || upgraded()))
}

fn upgraded() -> Answer {
    let headers = [(header::UPGRADE, "echo"), (header::CONNECTION, "upgrade")];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

#[tokio::test]
async fn an_axum_server_counts_a_stream_until_it_is_over() {
    let door = Door::closed();
    let bulkhead = http::bulkhead().limit(1).build().unwrap();
    let layers = ServiceBuilder::new()
        .layer(RespondLayer::new())
        .layer(bulkhead.clone());
    let address = serve(upstream(&door).layer(layers)).await;
    let client = reqwest::Client::new();
    let ask = |path: &str| client.get(format!("http://{address}{path}")).send();

    let mut streamed = ask("/stream").await.unwrap();
    assert_eq!(streamed.chunk().await.unwrap().unwrap(), "first ");
    assert_eq!(bulkhead.handle().in_flight(), 1);
    assert_eq!(ask("/small").await.unwrap().status(), 503);
    door.open();
    assert_eq!(streamed.text().await.unwrap(), "last");
    until("the place to be free", || {
        bulkhead.handle().in_flight() == 0
    })
    .await;
    assert_eq!(ask("/small").await.unwrap().text().await.unwrap(), "small");
}

#[tokio::test]
async fn a_client_that_hangs_up_gives_the_place_back() {
    let door = Door::closed();
    let bulkhead = http::bulkhead().limit(2).build().unwrap();
    let layers = ServiceBuilder::new()
        .layer(RespondLayer::new())
        .layer(bulkhead.clone());
    let address = serve(upstream(&door).layer(layers)).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = b"GET /stream HTTP/1.1\r\nhost: a\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut begun = [0; 64];
    assert!(stream.read(&mut begun).await.unwrap() > 0);
    assert_eq!(bulkhead.handle().in_flight(), 1);
    drop(stream);
    until("the place to be free", || {
        bulkhead.handle().in_flight() == 0
    })
    .await;
}

#[tokio::test]
async fn event_streams_and_upgrades_take_no_place() {
    let door = Door::closed();
    let bulkhead = http::bulkhead().limit(1).build().unwrap();
    let layers = ServiceBuilder::new()
        .layer(RespondLayer::new())
        .layer(bulkhead.clone());
    let address = serve(upstream(&door).layer(layers)).await;
    let client = reqwest::Client::new();
    let mut open = Vec::new();
    for _ in 0..5 {
        let mut events = client
            .get(format!("http://{address}/events"))
            .send()
            .await
            .unwrap();
        assert_eq!(events.chunk().await.unwrap().unwrap(), "first ");
        open.push(events);
    }
    assert_eq!(bulkhead.handle().in_flight(), 0);
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request =
        b"GET /upgrade HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 101");
    assert_eq!(bulkhead.handle().in_flight(), 0);
}

#[tokio::test]
async fn reqwest_holds_a_place_until_the_body_is_read_and_stays_itself() {
    let door = Door::closed();
    let address = serve(upstream(&door)).await;
    let breaker = http::circuit_breaker().min_calls(100).build().unwrap();
    let bulkhead = http::bulkhead().limit(2).build().unwrap();
    let shedder = http::load_shed().limit(Limit::fixed(9)).build().unwrap();
    let circuit = breaker.handle();
    let client = reqwest::Client::new();
    let stack = ServiceBuilder::new()
        .layer(shedder.clone())
        .layer(breaker)
        .layer(bulkhead.clone())
        .service(client.clone());
    let ask = |path: &str| {
        let url = format!("http://{address}{path}");
        client.get(url).send_through(&stack)
    };
    let held = || (shedder.handle().in_flight(), bulkhead.handle().in_flight());

    let small = ask("/small").await.unwrap();
    assert_eq!(held(), (1, 1));
    assert_eq!(circuit.snapshot().calls, 0);
    assert_eq!(small.url().as_str(), format!("http://{address}/small"));
    assert_eq!(small.content_length(), Some(5));
    assert_eq!(small.remote_addr(), Some(address));
    assert_eq!(small.text().await.unwrap(), "small");
    assert_eq!(held(), (0, 0));
    assert_eq!(circuit.snapshot().calls, 1);

    let broken = ask("/broken").await.unwrap();
    assert_eq!(circuit.snapshot().failures, 1);
    assert_eq!(held(), (1, 1));
    drop(broken);
    assert_eq!(held(), (0, 0));

    let mut streamed = ask("/stream").await.unwrap();
    assert_eq!(streamed.chunk().await.unwrap().unwrap(), "first ");
    assert_eq!(held(), (1, 1));
    drop(streamed);
    assert_eq!(held(), (0, 0));
    let seen = circuit.snapshot();
    assert_eq!((seen.calls, seen.failures), (3, 1));

    let url = format!("http://{address}/small");
    let head = client.head(url).send_through(&stack).await.unwrap();
    assert_eq!(held(), (0, 0));
    drop(head);
}

#[tokio::test]
async fn reqwests_streams_leave_the_count_of_a_limit_that_adapts() {
    let door = Door::closed();
    let address = serve(upstream(&door)).await;
    let limit = Limit::aimd().initial(1).min(1).max(1).build().unwrap();
    let shedder = http::load_shed().limit(limit).build().unwrap();
    let bulkhead = http::bulkhead().limit(9).build().unwrap();
    let client = reqwest::Client::new();
    let stack = ServiceBuilder::new()
        .layer(shedder.clone())
        .layer(bulkhead.clone())
        .service(client.clone());
    let ask = |path: &str| {
        let url = format!("http://{address}{path}");
        client.get(url).send_through(&stack)
    };
    let counts = || {
        (
            shedder.handle().in_flight(),
            shedder.handle().snapshot().streaming,
            bulkhead.handle().in_flight(),
        )
    };
    let mut open = Vec::new();
    for streams in 1..=3 {
        let mut streamed = ask("/stream").await.unwrap();
        assert_eq!(streamed.chunk().await.unwrap().unwrap(), "first ");
        open.push(streamed);
        assert_eq!(counts(), (0, streams, streams));
    }
    assert_eq!(ask("/small").await.unwrap().text().await.unwrap(), "small");
    door.open();
    for streamed in open {
        assert_eq!(streamed.text().await.unwrap(), "last");
    }
    assert_eq!(counts(), (0, 0, 0));
    assert_eq!(shedder.handle().snapshot().outcomes.success, 4);
}

#[tokio::test]
async fn a_body_that_is_cut_off_opens_reqwests_circuit() {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let half = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly half";
            let _ = stream.write_all(half).await;
        }
    });
    let layer = http::circuit_breaker()
        .consecutive_failures(2)
        .build()
        .unwrap();
    let client = reqwest::Client::new();
    let stack = layer.layer(client.clone());
    for _ in 0..2 {
        assert_eq!(layer.handle().state(), State::Closed);
        let call = client
            .get(format!("http://{address}/"))
            .send_through(&stack);
        let response = within("a head", call).await.unwrap();
        assert_eq!(response.status(), 200);
        response.text().await.unwrap_err();
    }
    assert_eq!(layer.handle().state(), State::Open);
}
