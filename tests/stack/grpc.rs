//! Stacks with nothing set around tonic's channel and its server, and both protocols on one port.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use futures::{Stream, StreamExt as _};
use mainstay::http::ServerStack;
use mainstay::{Reason, Rejection, State, grpc, http};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status};

use crate::common::{Door, listener, serve, until, within};
use crate::users::users_client::UsersClient;
use crate::users::users_server::{Users, UsersServer};
use crate::users::{GetRequest, ListRequest, User};

/// Knows everyone, but for names that are codes: these it answers with.
#[derive(Clone)]
struct Directory {
    calls: Arc<Mutex<Vec<tonic::metadata::MetadataMap>>>,
    door: Door,
}

impl Directory {
    fn new() -> Self {
        Self {
            calls: Arc::default(),
            door: Door::closed(),
        }
    }

    fn calls(&self) -> usize {
        self.calls.lock().unwrap().drain(..).count()
    }
}

fn user(name: impl ToString) -> User {
    let (name, email) = (name.to_string(), String::new());
    User { name, email }
}

#[tonic::async_trait]
impl Users for Directory {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<User>, Status> {
        self.calls.lock().unwrap().push(request.metadata().clone());
        let name = request.into_inner().name;
        match name.as_str() {
            "wait" => self.door.pass().await,
            "never" => std::future::pending().await,
            _ => {
                if let Ok(code) = name.parse::<i32>() {
                    return Err(Status::new(Code::from(code), "told to"));
                }
            }
        }
        Ok(Response::new(user(name)))
    }

    type ListStream = Pin<Box<dyn Stream<Item = Result<User, Status>> + Send>>;

    /// So many, and then an error where there are ten.
    async fn list(
        &self,
        request: Request<ListRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        self.calls.lock().unwrap().push(request.metadata().clone());
        let limit = request.into_inner().limit;
        if limit == 14 {
            return Err(Status::unavailable("told to"));
        }
        let users = futures::stream::iter((0..limit).map(|n| Ok(user(n))));
        let last =
            futures::stream::iter((limit == 10).then(|| Err(Status::unavailable("in the middle"))));
        Ok(Response::new(Box::pin(users.chain(last))))
    }
}

async fn by_tonic(directory: Directory, stack: ServerStack) -> SocketAddr {
    let (listener, address) = listener().await;
    let server = Server::builder()
        .layer(stack)
        .add_service(UsersServer::new(directory));
    let server = server.serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(async move { server.await.unwrap() });
    address
}

/// HTTP and gRPC on one port.
async fn by_axum(directory: Directory, stack: ServerStack) -> SocketAddr {
    let door = directory.door.clone();
    let routes = Routes::new(UsersServer::new(directory)).into_axum_router();
    let wait = get(move || async move { door.pass().await });
    let routes = routes.merge(
        Router::new()
            .route("/plain", get(|| async { "plain" }))
            .route("/wait", wait),
    );
    serve(routes.layer(stack)).await
}

fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect_lazy()
}

fn named(name: &str) -> GetRequest {
    let name = name.to_owned();
    GetRequest { name }
}

/// A stub has a type that can be written down.
#[derive(Clone)]
struct Upstream {
    users: UsersClient<grpc::Client<Channel>>,
    stack: grpc::ClientStack,
}

fn upstream(address: SocketAddr) -> Upstream {
    let stack = grpc::client("users").build().unwrap();
    let users = UsersClient::new(stack.wrap(channel(address)));
    Upstream { users, stack }
}

#[tokio::test]
async fn a_stub_works_and_repeats_what_may_be_repeated() {
    for is_tonic in [true, false] {
        let directory = Directory::new();
        let stack = grpc::server("users").build().unwrap();
        let address = if is_tonic {
            by_tonic(directory.clone(), stack.clone()).await
        } else {
            by_axum(directory.clone(), stack.clone()).await
        };
        let Upstream {
            mut users,
            stack: client,
        } = upstream(address);
        let ann = within("ann", users.get(named("ann"))).await.unwrap();
        assert!(ann.metadata().contains_key("x-correlation-id"));
        assert_eq!(ann.into_inner().name, "ann");
        {
            let calls = directory.calls.lock().unwrap();
            assert!(calls[0].contains_key("x-correlation-id"));
            // A default that nobody set is propagated to nobody.
            assert!(!calls[0].contains_key("grpc-timeout"));
            assert!(!calls[0].contains_key("x-request-timeout-ms"));
        }
        assert_eq!(directory.calls(), 1);
        for (code, attempts) in [(14, 3), (13, 1), (5, 1), (3, 1)] {
            let status = within("a status", users.get(named(&code.to_string())))
                .await
                .unwrap_err();
            assert_eq!(status.code(), Code::from(code));
            assert_eq!(status.message(), "told to");
            assert_eq!(directory.calls(), attempts, "{code}");
        }

        // Streams: whole, refused at once, and broken off, which is no time to begin again.
        let list = within("a list", users.list(ListRequest { limit: 5 }))
            .await
            .unwrap();
        assert_eq!(list.into_inner().map(Result::unwrap).count().await, 5);
        assert_eq!(directory.calls(), 1);
        let status = within("a status", users.list(ListRequest { limit: 14 }))
            .await
            .unwrap_err();
        assert_eq!((status.code(), directory.calls()), (Code::Unavailable, 3));
        let list = within("a list", users.list(ListRequest { limit: 10 }))
            .await
            .unwrap();
        let list: Vec<_> = list.into_inner().collect().await;
        assert_eq!(
            (list.len(), list[10].as_ref().unwrap_err().code()),
            (11, Code::Unavailable)
        );
        assert_eq!(directory.calls(), 1);

        assert_eq!(client.circuit_breaker().state(), State::Closed);
        until("all to be given back", || {
            client.bulkhead().in_flight()
                + stack.bulkhead().in_flight()
                + stack.load_shed().in_flight()
                == 0
        })
        .await;
    }
}

#[tokio::test]
async fn rejections_on_either_side_have_their_codes() {
    let directory = Directory::new();
    let server = grpc::server("users")
        .timeout(Duration::from_millis(150))
        .without_load_shed()
        .bulkhead(1);
    let server = server.build().unwrap();
    let address = by_tonic(directory.clone(), server.clone()).await;
    // The server's, as a bare client sees them.
    let mut bare = UsersClient::new(channel(address));
    let status = within("a status", bare.get(named("never")))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    until("the place to be given back", || {
        server.bulkhead().in_flight() == 0
    })
    .await;
    // The client's own, with the rejection as the source.
    let stack = grpc::client("users")
        .timeout(Duration::from_millis(100))
        .attempt_timeout(Duration::from_millis(60))
        .without_retry();
    let stack = stack.build().unwrap();
    let mut users = UsersClient::new(stack.wrap(channel(address)));
    let status = within("a status", users.get(named("never")))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    stack.circuit_breaker().force_open();
    let status = within("a status", users.get(named("ann")))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let rejection = Rejection::find(&status).unwrap();
    assert_eq!(
        (rejection.layer(), rejection.name(), rejection.reason()),
        ("circuit_breaker", "users", Reason::CircuitOpen)
    );
}

#[tokio::test]
async fn on_one_port_each_caller_is_answered_in_its_own_protocol() {
    for stack in [http::server("both"), grpc::server("both")] {
        let directory = Directory::new();
        let stack = stack.without_load_shed().bulkhead(1).build().unwrap();
        let address = by_axum(directory.clone(), stack.clone()).await;
        let plain = reqwest::get(format!("http://{address}/plain"))
            .await
            .unwrap();
        assert_eq!(plain.text().await.unwrap(), "plain");
        let mut users = UsersClient::new(channel(address));
        until("nobody to be in", || stack.bulkhead().in_flight() == 0).await;
        assert_eq!(
            users.get(named("ann")).await.unwrap().into_inner().name,
            "ann"
        );
        until("nobody to be in", || stack.bulkhead().in_flight() == 0).await;

        // One is in, and both others are told so.
        let held = tokio::spawn(reqwest::get(format!("http://{address}/wait")));
        until("one to be in", || directory.door.entered() == 1).await;
        let plain = reqwest::get(format!("http://{address}/plain"))
            .await
            .unwrap();
        assert_eq!(plain.status(), 503);
        assert_eq!(plain.headers()["content-type"], "application/problem+json");
        assert!(plain.headers().contains_key("x-correlation-id"));
        let status = within("a status", users.get(named("ann")))
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.metadata().contains_key("x-correlation-id"));
        directory.door.open();
        assert_eq!(held.await.unwrap().unwrap().status(), 200);
    }
}

#[tokio::test]
async fn stubs_of_one_stack_share_its_circuit() {
    let directory = Directory::new();
    let address = by_tonic(directory.clone(), grpc::server("users").build().unwrap()).await;
    let breaker = grpc::circuit_breaker()
        .consecutive_failures(2)
        .failures([grpc::Code::Internal]);
    let stack = grpc::client("users")
        .circuit_breaker(breaker)
        .build()
        .unwrap();
    for _ in 0..2 {
        let mut users = UsersClient::new(stack.clone().wrap(channel(address)));
        assert_eq!(
            users.get(named("13")).await.unwrap_err().code(),
            Code::Internal
        );
    }
    let mut users = UsersClient::new(stack.wrap(channel(address)));
    let status = users.get(named("ann")).await.unwrap_err();
    assert!(Rejection::find(&status).is_some(), "{status}");
    assert_eq!(directory.calls(), 2);
}

#[tokio::test]
async fn towers_own_timeout_around_the_attempts_of_a_stub() {
    let address = by_tonic(Directory::new(), grpc::server("users").build().unwrap()).await;
    let limit = tower::timeout::TimeoutLayer::new(Duration::from_millis(60));
    let stack = grpc::client("users")
        .with_attempt_layer(limit)
        .without_retry()
        .build()
        .unwrap();
    let mut users = UsersClient::new(stack.wrap(channel(address)));
    assert_eq!(
        users.get(named("ann")).await.unwrap().into_inner().name,
        "ann"
    );
    let status = within("a status", users.get(named("never")))
        .await
        .unwrap_err();
    assert_ne!(status.code(), Code::Ok);
    stack.circuit_breaker().force_open();
    let status = within("a status", users.get(named("ann")))
        .await
        .unwrap_err();
    assert_eq!(
        Rejection::find(&status).map(Rejection::reason),
        Some(Reason::CircuitOpen),
        "{status:?}"
    );
}
