//! One client stack for several hosts: each host has its own circuit and bulkhead, with nothing set.

use std::future::{Ready, ready};
use std::task::{Context, Poll};

use ::http::{Request, Response, StatusCode};
use axum::Router;
use axum::routing::post;
use bytes::Bytes;
use http_body_util::{Empty, Full};
use hyper_util::client::legacy::Client as Hyper;
use hyper_util::rt::TokioExecutor;
use mainstay::reqwest::SendThrough as _;
use mainstay::{Error, Reason, State, grpc, http, reqwest as resilient};
use tower::{Layer as _, Service, ServiceExt as _, service_fn};

use crate::common::serve;

/// Opens a circuit with default settings.
const FAILURES: usize = 20;

/// The addresses of three servers, of which the second has died.
async fn servers() -> [String; 3] {
    let answers = |status: StatusCode| async move {
        let router = Router::new().route("/", post(async move || status));
        serve(router).await.to_string()
    };
    [
        answers(StatusCode::OK).await,
        answers(StatusCode::INTERNAL_SERVER_ERROR).await,
        answers(StatusCode::OK).await,
    ]
}

#[tokio::test]
async fn one_reqwest_client_calls_three_hosts_and_only_the_circuit_of_the_dead_one_opens() {
    let servers = servers().await;
    let bare = reqwest::Client::new();
    let stack = resilient::client("upstreams").build().unwrap();
    let client = stack.wrap(bare.clone());
    let mut last = Vec::new();
    for _ in 0..=FAILURES {
        last.clear();
        for server in &servers {
            let call = bare.post(format!("http://{server}/"));
            last.push(call.send_through(&client).await);
        }
    }
    assert_eq!(last[0].as_ref().unwrap().status(), 200);
    assert_eq!(last[2].as_ref().unwrap().status(), 200);
    let Err(Error::Rejected(rejection)) = &last[1] else {
        panic!("{last:?}")
    };
    assert_eq!(rejection.reason(), Reason::CircuitOpen);
    assert_eq!(rejection.key(), Some(&*servers[1]));

    let circuits = stack.circuit_breaker();
    assert_eq!(circuits.state(), State::Open);
    let mut keys = circuits.keys();
    keys.sort();
    let mut expected = servers.clone();
    expected.sort();
    assert_eq!(keys, expected);
    assert_eq!(circuits.key(&servers[0]).unwrap().state(), State::Closed);
    assert_eq!(
        client.circuit_breaker().key(&servers[1]).unwrap().state(),
        State::Open
    );
    let snapshot = stack.snapshot();
    assert_eq!(
        snapshot.circuit_breaker.unwrap().states,
        [(State::Closed, 2), (State::Open, 1)]
    );
    assert_eq!(snapshot.bulkhead.unwrap().keys.unwrap().keys, 3);
}

#[tokio::test]
async fn so_does_one_client_of_hyper() {
    let servers = servers().await;
    let hyper = Hyper::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let stack = http::client("upstreams").build().unwrap();
    let client = stack.wrap(hyper);
    for call in 0..=FAILURES {
        for (server, is_dead) in servers.iter().zip([false, true, false]) {
            let request = Request::post(format!("http://{server}/"))
                .body(Full::default())
                .unwrap();
            let answer = client.clone().oneshot(request).await;
            let is_rejected = match &answer {
                Ok(response) => {
                    assert_eq!(response.status() != 200, is_dead);
                    false
                }
                Err(error) => matches!(error, Error::Rejected(_)),
            };
            assert_eq!(is_rejected, is_dead && call == FAILURES);
        }
    }
    assert_eq!(stack.circuit_breaker().keys().len(), 3);
}

/// Fails for requests to a path that ends in `/Bad`, or to the host `bad`.
#[derive(Clone)]
struct Upstream;

impl<B> Service<Request<B>> for Upstream {
    type Response = Response<Empty<Bytes>>;
    type Error = std::io::Error;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let uri = request.uri();
        let is_bad = uri.path().ends_with("/Bad") || uri.host() == Some("bad");
        let mut response = Response::new(Empty::new());
        let mut code = "0";
        if is_bad {
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            code = "13";
        }
        let headers = response.headers_mut();
        headers.insert("grpc-status", code.parse().unwrap());
        ready(Ok(response))
    }
}

fn post_to(uri: &str) -> Request<Empty<Bytes>> {
    Request::post(uri).body(Empty::new()).unwrap()
}

/// Calls a URI as often as a circuit needs to open. Whether the last call was rejected.
async fn call<S, E>(client: &S, uri: &str) -> bool
where
    S: Service<Request<Empty<Bytes>>, Error = Error<E>> + Clone,
{
    let mut last = false;
    for _ in 0..=FAILURES {
        let answer = client.clone().oneshot(post_to(uri)).await;
        last = matches!(answer, Err(Error::Rejected(_)));
    }
    last
}

#[tokio::test(start_paused = true)]
async fn one_for_all_switches_the_keys_off() {
    let stack = http::client("upstreams").one_for_all().build().unwrap();
    let client = stack.layer(Upstream);
    assert!(call(&client, "http://bad/").await);
    assert!(call(&client, "http://good/").await, "one for all");
    assert!(stack.circuit_breaker().keys().is_empty());
    let keyed = http::client("upstreams").build().unwrap();
    let _same_type: fn() -> http::ClientStack = || http::client("a").one_for_all().build().unwrap();
    let client = keyed.layer(Upstream);
    assert!(call(&client, "http://bad/").await);
    assert!(!call(&client, "http://good/").await);
    assert!(call(&client, "http://BAD:80/").await, "the same host");
}

#[tokio::test(start_paused = true)]
async fn a_stack_takes_any_key() {
    let stack = http::client("upstreams")
        .keyed(|request| request.path().into())
        .max_keys(2)
        .build()
        .unwrap();
    let client = stack.layer(Upstream);
    assert!(call(&client, "http://one/Bad").await);
    assert!(call(&client, "http://other/Bad").await);
    assert!(!call(&client, "http://one/good").await);
    let keys = stack.snapshot().circuit_breaker.unwrap().keys.unwrap();
    assert_eq!((keys.keys, keys.max_keys), (2, 2));
    assert!(http::client("upstreams").max_keys(0).build().is_err());

    let stack = http::client("upstreams")
        .keyed_by(http::by_header("x-tenant"))
        .build()
        .unwrap();
    let client = stack.layer(Upstream);
    assert!(call(&client, "http://one/Bad").await);
    assert!(
        stack.circuit_breaker().keys().is_empty(),
        "no request has the header"
    );
}

#[tokio::test(start_paused = true)]
async fn a_grpc_stack_has_one_circuit_or_one_for_each_method() {
    let (bad, good) = ("http://host/users.Users/Bad", "http://host/users.Users/Get");
    let stack = grpc::client("users").build().unwrap();
    let client = stack.layer(Upstream);
    assert!(call(&client, bad).await);
    assert!(call(&client, good).await, "one for all");

    let stack = grpc::client("users")
        .keyed_by(grpc::by_method())
        .build()
        .unwrap();
    let client = stack.layer(Upstream);
    assert!(call(&client, bad).await);
    assert!(!call(&client, good).await);
    let mut keys = stack.circuit_breaker().keys();
    keys.sort();
    assert_eq!(keys, ["users.Users/Bad", "users.Users/Get"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_limits_each_tenant() {
    let stack = http::server("search")
        .rate_limit(1)
        .keyed_by(http::by_header("x-tenant"))
        .build()
        .unwrap();
    let server = stack.layer(service_fn(|_: Request<Empty<Bytes>>| async {
        Ok::<_, std::convert::Infallible>(Response::new(Empty::<Bytes>::new()))
    }));
    let mut statuses = Vec::new();
    for tenant in ["a", "a", "b", "a"] {
        let request = Request::post("/")
            .header("x-tenant", tenant)
            .body(Empty::new())
            .unwrap();
        let response = server.clone().oneshot(request).await.unwrap();
        statuses.push(response.status().as_u16());
    }
    assert_eq!(statuses, [200, 429, 200, 429]);
    let all = stack.snapshot().rate_limit.unwrap();
    assert_eq!((all.keys.unwrap().keys, all.rejections.total()), (2, 2));
}

/// The `host` header of a proxied request is its caller's.
#[tokio::test(start_paused = true)]
async fn a_caller_of_a_proxy_chooses_no_circuit() {
    let dead = service_fn(async |_: Request<Full<Bytes>>| {
        let response = Response::builder().status(StatusCode::INTERNAL_SERVER_ERROR);
        Ok::<_, std::convert::Infallible>(response.body(Empty::<Bytes>::new()).unwrap())
    });
    let stack = http::client("backend").build().unwrap();
    let client = stack.wrap(dead);
    for call in 0..=FAILURES {
        let request = Request::post("/").header("host", format!("host-{call}.example.com"));
        let request = request.body(Full::default()).unwrap();
        let answer = client.clone().oneshot(request).await;
        assert_eq!(answer.is_err(), call == FAILURES);
    }
    let circuits = stack.circuit_breaker();
    assert_eq!(circuits.state(), State::Open);
    assert!(circuits.keys().is_empty());
}
