//! Over real sockets, however a call ends: the gauges come back to 0, and every call is counted once.
#![cfg(all(feature = "metrics", feature = "axum", feature = "tonic"))]

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::{StreamExt as _, stream};
use mainstay::snapshot::Outcomes;
use mainstay::{grpc, http};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Status};

use crate::users::users_client::UsersClient;
use crate::users::users_server::{Users, UsersServer};
use crate::users::{GetRequest, ListRequest, User};

use crate::common::{listener, serve, until, within};

macro_rules! recorded {
    ($handle:ident) => {
        let recorder = PrometheusBuilder::new().build_recorder();
        let $handle = recorder.handle();
        // Servers, clients and calls are all in the thread of the test.
        let _recording = metrics::set_default_local_recorder(&recorder);
    };
}

/// The sum of all series of this name and with these labels.
fn sum(handle: &PrometheusHandle, name: &str, labels: &str) -> f64 {
    let text = handle.render();
    let lines = text.lines().filter_map(|line| line.strip_prefix(name));
    let values = lines
        .filter(|line| line.starts_with('{') && line.contains(labels))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    values.sum()
}

fn told(outcomes: &Outcomes) -> [(&'static str, u64); 4] {
    [
        ("success", outcomes.success),
        ("failure", outcomes.failure),
        ("ignored", outcomes.ignored),
        ("cancelled", outcomes.cancelled),
    ]
}

/// Metrics and snapshot tell the same.
#[track_caller]
fn agree(handle: &PrometheusHandle, layer: &str, outcomes: &Outcomes) {
    for (outcome, count) in told(outcomes) {
        let labels = format!(r#"layer="{layer}",name="shop",outcome="{outcome}""#);
        let counted = sum(handle, "mainstay_calls_total", &labels);
        assert_eq!(counted, count as f64, "{labels}\n{}", handle.render());
    }
}

fn chunks(then_breaks: bool) -> Body {
    let chunks = stream::iter(0..3).map(|_| Ok(Bytes::from_static(b"chunk")));
    if then_breaks {
        let breaks = stream::once(async { Err(io::Error::other("half-way")) });
        return Body::from_stream(chunks.chain(breaks));
    }
    Body::from_stream(chunks.chain(stream::pending()))
}

fn answer(head: &[(header::HeaderName, &'static str)], status: StatusCode, body: Body) -> Response {
    let mut response = (status, body).into_response();
    for (name, value) in head {
        let value = header::HeaderValue::from_static(value);
        response.headers_mut().insert(name.clone(), value);
    }
    response
}

/// Sends a request, reads until something of this is in what comes, and hangs up.
async fn hang_up(address: SocketAddr, path: &str, after: Option<&str>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let Some(after) = after else {
        // The request is there, and its answer is not.
        tokio::time::sleep(Duration::from_millis(20)).await;
        return;
    };
    let mut read = Vec::new();
    within("an answer", async {
        while !String::from_utf8_lossy(&read).contains(after) {
            let mut some = [0; 1024];
            let count = stream.read(&mut some).await.unwrap();
            assert!(count > 0, "{}", String::from_utf8_lossy(&read));
            read.extend_from_slice(&some[..count]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_of_http() {
    recorded!(handle);
    let stack = http::server("shop").build().unwrap();
    let ok = StatusCode::OK;
    let router = Router::new()
        .route("/whole", get(async || "whole"))
        .route("/wrong", get(async || StatusCode::INTERNAL_SERVER_ERROR))
        .route("/never", get(async || std::future::pending::<&str>().await))
        .route(
            "/endless",
            get(async move || answer(&[], ok, chunks(false))),
        )
        .route("/breaks", get(async move || answer(&[], ok, chunks(true))))
        .route(
            "/events",
            get(async move || {
                let head = [(header::CONTENT_TYPE, "text/event-stream")];
                answer(&head, ok, chunks(false))
            }),
        )
        .route(
            "/upgrade",
            get(async || {
                let head = [(header::UPGRADE, "echo"), (header::CONNECTION, "upgrade")];
                answer(&head, StatusCode::SWITCHING_PROTOCOLS, Body::empty())
            }),
        )
        .route(
            "/panics",
            get(async || -> &'static str {
                tokio::task::yield_now().await;
                panic!("on purpose")
            }),
        )
        .layer(stack.clone());
    let address = serve(router).await;
    let calls = [
        ("/whole", Some("whole")),
        ("/wrong", Some("HTTP/1.1 500")),
        ("/never", None),
        ("/endless", Some("chunk")),
        ("/breaks", None),
        ("/events", Some("chunk")),
        ("/upgrade", Some("HTTP/1.1 101")),
        ("/panics", None),
    ];
    for round in 1..=2_u64 {
        for (path, after) in calls {
            hang_up(address, path, after).await;
        }
        until("the end of all calls", || {
            let told = stack.snapshot();
            let (shed, bulkhead) = (told.load_shed.unwrap(), told.bulkhead.unwrap());
            (shed.in_flight, bulkhead.in_flight) == (0, 0)
                && shed.outcomes.total() == 8 * round
                && bulkhead.outcomes.total() == 8 * round
        })
        .await;
        assert_eq!(sum(&handle, "mainstay_calls_in_flight", "shop"), 0.0);
        assert_eq!(sum(&handle, "mainstay_queue_depth", "shop"), 0.0);
        let told = stack.snapshot();
        let shed = told.load_shed.unwrap().outcomes;
        // Whole, the events, the upgrade, and a body that nobody wanted to the end; what was wrong, what broke and the panic; no answer yet.
        let [success, failure, cancelled] = [shed.success, shed.failure, shed.cancelled];
        assert_eq!([success, failure, cancelled], [4 * round, 3 * round, round]);
        agree(&handle, "load_shed", &shed);
        agree(&handle, "bulkhead", &told.bulkhead.unwrap().outcomes);
    }
}

struct Directory;

#[tonic::async_trait]
impl Users for Directory {
    async fn get(&self, request: Request<GetRequest>) -> Result<tonic::Response<User>, Status> {
        match request.into_inner().name.as_str() {
            "broken" => Err(Status::internal("broken")),
            "never" => std::future::pending().await,
            _ => Ok(tonic::Response::new(User::default())),
        }
    }

    type ListStream = stream::BoxStream<'static, Result<User, Status>>;

    async fn list(
        &self,
        request: Request<ListRequest>,
    ) -> Result<tonic::Response<Self::ListStream>, Status> {
        let limit = request.into_inner().limit;
        let users = stream::iter(0..limit).map(|_| Ok(User::default()));
        let listed = match limit {
            1 => users.boxed(),
            2 => users
                .chain(stream::once(async { Err(Status::unavailable("half-way")) }))
                .boxed(),
            _ => users.chain(stream::pending()).boxed(),
        };
        Ok(tonic::Response::new(listed))
    }
}

#[tokio::test]
async fn a_client_of_grpc() {
    recorded!(handle);
    let (listener, address) = listener().await;
    let server = Server::builder().add_service(UsersServer::new(Directory));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let stack = grpc::client("shop").without_retry().build().unwrap();
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let mut client = UsersClient::new(stack.wrap(channel.connect_lazy()));

    let named = |name: &str| GetRequest {
        name: name.to_owned(),
    };
    client.get(named("ada")).await.unwrap();
    client.get(named("broken")).await.unwrap_err();
    let soon = Duration::from_millis(20);
    let never = tokio::time::timeout(soon, client.get(named("never"))).await;
    assert!(never.is_err());
    for limit in [1, 2, 3] {
        let list = client.list(ListRequest { limit }).await.unwrap();
        let mut list = list.into_inner();
        for _ in 0..limit {
            list.message().await.unwrap().unwrap();
        }
        match limit {
            1 => assert!(list.message().await.unwrap().is_none()),
            2 => drop(list.message().await.unwrap_err()),
            // Dropped while more could come.
            _ => assert!(tokio::time::timeout(soon, list.message()).await.is_err()),
        }
    }
    let breaker = stack.snapshot().circuit_breaker.unwrap();
    let bulkhead = stack.snapshot().bulkhead.unwrap();
    let success_failure_cancelled =
        |of: &Outcomes| [of.success, of.failure, of.cancelled, of.ignored];
    assert_eq!(success_failure_cancelled(&breaker.outcomes), [2, 2, 2, 0]);
    assert_eq!(success_failure_cancelled(&bulkhead.outcomes), [2, 2, 2, 0]);
    assert_eq!(sum(&handle, "mainstay_calls_in_flight", "shop"), 0.0);
    agree(&handle, "circuit_breaker", &breaker.outcomes);
    agree(&handle, "bulkhead", &bulkhead.outcomes);
    let took = sum(&handle, "mainstay_call_duration_seconds_count", "shop");
    assert_eq!(took, 6.0);
    // The first `get` that was given up counts with the time after which it was, and lists with that of their heads.
    assert_eq!(breaker.latency.unwrap().calls, 6);
}
