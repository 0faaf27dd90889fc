//! A gateway with two upstreams, on real sockets and in memory: strangers in a hurry beside honest users.

use std::future::{Future, pending};
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::routing::get;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client as Hyper;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use mainstay::http::ClientStack;
use mainstay::{Error, State, grpc, http as resilient};
use tokio::time::{sleep, timeout};
use tonic::{Code, Status};
use tower::ServiceExt as _;

use crate::common::{listener, serve, within};
use crate::support::ms;
use crate::users::users_client::UsersClient;
use crate::users::users_server::{Users, UsersServer};
use crate::users::{GetRequest, ListRequest, User};

type Plain = Hyper<HttpConnector, Full<Bytes>>;

fn hyper() -> Plain {
    Hyper::builder(TokioExecutor::new()).build_http()
}

fn request(address: SocketAddr, path: &str) -> Request<Full<Bytes>> {
    let request = Request::builder().uri(format!("http://{address}{path}"));
    request.body(Full::default()).unwrap()
}

fn hurried(address: SocketAddr, path: &str, millis: u64) -> Request<Full<Bytes>> {
    let mut request = request(address, path);
    let millis = millis.to_string().parse().unwrap();
    request.headers_mut().insert("x-request-timeout-ms", millis);
    request
}

/// Answers after so many milliseconds; 0 is never.
async fn upstream(stack: bool) -> SocketAddr {
    let answer = |Path(millis): Path<u64>| async move {
        match millis {
            0 => pending().await,
            millis => sleep(ms(millis)).await,
        }
        "an answer"
    };
    let routes = Router::new().route("/{millis}", get(answer));
    if stack {
        serve(routes.layer(resilient::server("upstream").build().unwrap())).await
    } else {
        serve(routes).await
    }
}

struct Gateway {
    address: SocketAddr,
    clients: [ClientStack; 2],
}

/// `/a/{millis}` and `/b/{millis}` ask one of two upstreams. Nothing is set but what is said of the clients.
async fn gateway(upstreams: [SocketAddr; 2]) -> Gateway {
    let clients = ["a", "b"].map(|name| resilient::client(name).build().unwrap());
    let mut routes = Router::new();
    for (stack, upstream) in clients.iter().zip(upstreams) {
        let breaker = stack.circuit_breaker();
        let name = breaker.name();
        let client = stack.wrap(hyper());
        let ask = move |Path(millis): Path<u64>| async move {
            let asked = client
                .oneshot(request(upstream, &format!("/{millis}")))
                .await;
            match asked {
                Ok(response) => (response.status(), Body::new(response.into_body())),
                Err(Error::Rejected(rejection)) => (
                    StatusCode::SERVICE_UNAVAILABLE,
                    Body::from(rejection.to_string()),
                ),
                Err(error) => (StatusCode::BAD_GATEWAY, Body::from(error.to_string())),
            }
        };
        routes = routes.route(&format!("/{name}/{{millis}}"), get(ask));
    }
    let address = serve(routes.layer(resilient::server("gateway").build().unwrap())).await;
    Gateway { address, clients }
}

impl Gateway {
    fn assert_well(&self) {
        for client in &self.clients {
            let circuit = client.circuit_breaker().snapshot();
            assert_eq!(
                (circuit.state, circuit.opened),
                (State::Closed, 0),
                "{circuit}"
            );
            assert_eq!((circuit.failures, circuit.slow_calls), (0, 0), "{circuit}");
            let ended = circuit.outcomes.total();
            assert!(ended > 0, "nobody came: {circuit}");
        }
    }
}

/// Honest users ask both upstreams all the while, and are all answered.
async fn honest(address: SocketAddr, until: impl Future<Output = ()>) {
    let client = hyper();
    let ask = async {
        loop {
            for path in ["/a/5", "/b/20"] {
                let response = client.request(request(address, path)).await.unwrap();
                assert_eq!(response.status(), 200);
                let body = response.into_body().collect().await.unwrap();
                assert_eq!(body.to_bytes(), "an answer");
            }
            sleep(ms(20)).await;
        }
    };
    tokio::select! {
        () = ask => {}
        () = until => {}
    }
}

async fn flood(calls: u32, call: impl AsyncFn(u32)) {
    let call = &call;
    let calls = (0..calls).map(|n| async move {
        sleep(ms(20) * n).await;
        call(n).await;
    });
    futures::future::join_all(calls).await;
}

const PATHS: [&str; 4] = ["/a/400", "/b/400", "/a/0", "/b/0"];

#[tokio::test]
async fn tiny_deadlines_of_strangers_open_no_circuit() {
    for stack in [false, true] {
        let gateway = gateway([upstream(stack).await, upstream(stack).await]).await;
        let (address, client) = (gateway.address, hyper());
        let strangers = flood(120, async |n| {
            let path = PATHS[n as usize % 4];
            let response = client
                .request(hurried(address, path, 3 + u64::from(n % 30)))
                .await;
            let status = response.unwrap().status();
            assert!(status == 504 || status == 503, "{status}");
        });
        within("the flood", honest(address, strangers)).await;
        gateway.assert_well();
    }
}

#[tokio::test]
async fn strangers_who_hang_up_open_no_circuit() {
    let gateway = gateway([upstream(false).await, upstream(true).await]).await;
    let (address, client) = (gateway.address, hyper());
    let strangers = flood(120, async |n| {
        let path = PATHS[n as usize % 4];
        let asked = client.request(request(address, path));
        assert!(timeout(ms(30), asked).await.is_err());
    });
    within("the flood", honest(address, strangers)).await;
    gateway.assert_well();
}

#[tokio::test]
async fn an_upstream_that_hangs_behind_callers_who_give_it_a_little_is_found() {
    let gateway = gateway([upstream(false).await, upstream(true).await]).await;
    let (address, client) = (gateway.address, hyper());
    within(
        "the flood",
        flood(200, async |n| {
            let path = ["/a/0", "/b/0"][n as usize % 2];
            let _ = client.request(hurried(address, path, 1_300)).await;
        }),
    )
    .await;
    for client in &gateway.clients {
        let circuit = client.circuit_breaker().snapshot();
        assert_eq!(circuit.state, State::Open, "{circuit}");
    }
}

/// Answers to a name that is a number after so many milliseconds; 0 is never.
#[derive(Clone)]
struct Directory;

async fn directory(name: &str) -> User {
    match name.parse().unwrap() {
        0 => pending().await,
        millis => sleep(ms(millis)).await,
    }
    User::default()
}

#[tonic::async_trait]
impl Users for Directory {
    async fn get(
        &self,
        request: tonic::Request<GetRequest>,
    ) -> Result<tonic::Response<User>, Status> {
        Ok(tonic::Response::new(
            directory(&request.into_inner().name).await,
        ))
    }

    type ListStream = futures::stream::Empty<Result<User, Status>>;

    async fn list(
        &self,
        _: tonic::Request<ListRequest>,
    ) -> Result<tonic::Response<Self::ListStream>, Status> {
        Ok(tonic::Response::new(futures::stream::empty()))
    }
}

type Stub = UsersClient<grpc::Client<tonic::transport::Channel>>;

/// Asks another directory.
#[derive(Clone)]
struct Proxy(Stub);

#[tonic::async_trait]
impl Users for Proxy {
    async fn get(
        &self,
        request: tonic::Request<GetRequest>,
    ) -> Result<tonic::Response<User>, Status> {
        self.0.clone().get(request.into_inner()).await
    }

    type ListStream = futures::stream::Empty<Result<User, Status>>;

    async fn list(
        &self,
        _: tonic::Request<ListRequest>,
    ) -> Result<tonic::Response<Self::ListStream>, Status> {
        Ok(tonic::Response::new(futures::stream::empty()))
    }
}

async fn serve_users(users: impl Users, stack: bool) -> SocketAddr {
    let (listener, address) = listener().await;
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let users = UsersServer::new(users);
    let mut server = tonic::transport::Server::builder();
    if stack {
        let stack = grpc::server("users").build().unwrap();
        let server = server.layer(stack).add_service(users);
        tokio::spawn(server.serve_with_incoming(incoming));
    } else {
        tokio::spawn(server.add_service(users).serve_with_incoming(incoming));
    }
    address
}

fn channel(address: SocketAddr) -> tonic::transport::Channel {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"));
    endpoint.unwrap().connect_lazy()
}

fn get_user(millis: u64, deadline: Option<Duration>) -> tonic::Request<GetRequest> {
    let name = millis.to_string();
    let mut request = tonic::Request::new(GetRequest { name });
    if let Some(deadline) = deadline {
        request.set_timeout(deadline);
    }
    request
}

#[tokio::test]
async fn the_same_over_grpc() {
    for stack in [false, true] {
        let upstream = serve_users(Directory, stack).await;
        let client = grpc::client("users").build().unwrap();
        let proxy = Proxy(UsersClient::new(client.wrap(channel(upstream))));
        let address = serve_users(proxy, true).await;
        let stub = UsersClient::new(channel(address));
        let strangers = flood(150, async |n| {
            let mut stub = stub.clone();
            let millis = [400, 0][n as usize % 2];
            if n % 3 == 0 {
                let call = stub.get(get_user(millis, None));
                assert!(timeout(ms(30), call).await.is_err());
            } else {
                let deadline = ms(3 + u64::from(n % 30));
                let status = stub
                    .get(get_user(millis, Some(deadline)))
                    .await
                    .unwrap_err();
                assert!(
                    matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled),
                    "{status}"
                );
            }
        });
        let honest = async {
            let mut stub = stub.clone();
            loop {
                stub.get(get_user(10, None)).await.unwrap();
                sleep(ms(20)).await;
            }
        };
        within("the flood", async {
            tokio::select! {
                () = honest => {}
                () = strangers => {}
            }
        })
        .await;
        let circuit = client.circuit_breaker().snapshot();
        assert_eq!(
            (circuit.state, circuit.opened),
            (State::Closed, 0),
            "{circuit}"
        );
        assert_eq!(circuit.failures, 0, "{circuit}");
        assert!(circuit.outcomes.cancelled > 50, "{circuit}");
    }
}
