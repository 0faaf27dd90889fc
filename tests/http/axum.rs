//! The layers under axum, over real sockets.
#![cfg(feature = "axum")]

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::handler::Handler as _;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use axum::{Router, ServiceExt};
use mainstay::{
    BulkheadLayer, CircuitBreakerLayer, Context, CorrelationLayer, Limit, LoadShedLayer, Rejection,
    RespondLayer, TimeoutLayer,
};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tower::{Layer, ServiceBuilder};

use crate::common::{Door, listener, raw, serve, until, within};

/// A client that makes a new connection for each request.
fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .pool_max_idle_per_host(0)
        .build()
        .unwrap()
}

/// Twelve requests on connections of their own, to three routes. One is admitted and stays; all others must be rejected meanwhile.
async fn one_is_admitted(what: &str, address: SocketAddr, door: Door) {
    let client = client();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..4 {
        for route in ["a", "b", "c"] {
            let request = client.get(format!("http://{address}/{route}"));
            let tell = tell.clone();
            tokio::spawn(async move { tell.send(request.send().await.unwrap().status()) });
        }
    }
    for _ in 0..11 {
        let status = within(&format!("{what}: 11 rejections"), told.recv()).await;
        assert_eq!(status, Some(StatusCode::SERVICE_UNAVAILABLE), "{what}");
    }
    assert_eq!(door.entered(), 1, "{what}");
    door.open();
    let status = within(&format!("{what}: the admitted one"), told.recv()).await;
    assert_eq!(status, Some(StatusCode::OK), "{what}");

    for route in ["a", "b", "c"] {
        let request = client.get(format!("http://{address}/{route}"));
        assert_eq!(request.send().await.unwrap().status(), 200, "{what}");
    }
}

async fn wait_stateless(door: Door) -> &'static str {
    door.pass().await;
    "through"
}

async fn wait(State(door): State<Door>) -> &'static str {
    wait_stateless(door).await
}

fn routes() -> Router<Door> {
    Router::new()
        .route("/a", get(wait))
        .route("/b", get(wait))
        .route("/c", get(wait))
}

#[tokio::test]
async fn a_limit_is_one_however_a_router_is_built() {
    type Stack = (CorrelationLayer, RespondLayer, BulkheadLayer);
    type Build = fn(Stack, Door) -> Router;
    let ways: [(&str, Build); 8] = [
        ("Router::layer, with state", |stack, door| {
            routes().layer(stack).with_state(door)
        }),
        ("Router::layer, after the state", |stack, door| {
            routes().with_state(door).layer(stack)
        }),
        ("Router::layer, without state", |stack, door| {
            let handler = move || wait_stateless(door.clone());
            Router::new()
                .route("/a", get(handler.clone()))
                .route("/b", get(handler.clone()))
                .route("/c", get(handler))
                .layer(stack)
        }),
        ("Router::route_layer", |stack, door| {
            routes().route_layer(stack).with_state(door)
        }),
        ("MethodRouter::layer", |stack, door| {
            Router::new()
                .route("/a", get(wait).layer(stack.clone()))
                .route("/b", get(wait).layer(stack.clone()))
                .route("/c", get(wait).layer(stack))
                .with_state(door)
        }),
        ("Handler::layer", |stack, door| {
            Router::new()
                .route("/a", get(wait.layer(stack.clone())))
                .route("/b", get(wait.layer(stack.clone())))
                .route("/c", get(wait.layer(stack)))
                .with_state(door)
        }),
        ("nested and merged", |stack, door| {
            let nested = Router::new().route("/", get(wait)).layer(stack.clone());
            let merged = Router::new().route("/b", get(wait)).layer(stack.clone());
            let fallback = get(wait).layer(stack);
            Router::new()
                .nest("/a", nested)
                .merge(merged)
                .fallback_service(fallback.with_state(door.clone()))
                .with_state(door)
        }),
        ("a router's service as a fallback", |stack, door| {
            Router::new().fallback_service(stack.layer(routes().with_state(door)))
        }),
    ];
    for (what, build) in ways {
        let door = Door::closed();
        let stack = (
            CorrelationLayer::server(),
            RespondLayer::new(),
            BulkheadLayer::new(1),
        );
        let address = serve(build(stack, door.clone())).await;
        one_is_admitted(what, address, door).await;
    }
}

#[tokio::test]
async fn a_limit_is_one_around_a_whole_router() {
    let door = Door::closed();
    let stack = (RespondLayer::new(), BulkheadLayer::new(1));
    let app = stack.layer(routes().with_state(door.clone()));
    let (listener, address) = listener().await;
    let app = ServiceExt::<Request>::into_make_service(app);
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    one_is_admitted("around the router", address, door).await;
}

async fn get_from(router: Router) -> reqwest::Response {
    let address = serve(router).await;
    let request = client().get(format!("http://{address}/"));
    request.send().await.unwrap()
}

async fn ok() -> &'static str {
    "fine"
}

#[tokio::test]
async fn what_a_rejected_caller_sees() {
    let bulkhead = BulkheadLayer::builder().name("orders-db").limit(1);
    let door = Door::closed();
    let router = Router::new().route("/", get(wait)).with_state(door.clone());
    let app = router.layer((RespondLayer::new(), bulkhead.build().unwrap()));
    let address = serve(app).await;
    let url = format!("http://{address}/");
    let held = tokio::spawn(client().get(&url).send());
    until("the first call", || door.entered() == 1).await;

    let response = client().get(&url).send().await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    assert!(!response.headers().contains_key("retry-after"));
    let problem: serde_json::Value = response.json().await.unwrap();
    let expected = serde_json::json!({
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "the bulkhead is full",
        "reason": "full",
    });
    assert_eq!(problem, expected);

    let head = client().head(&url).send().await.unwrap();
    assert_eq!(head.status(), 503);
    assert_eq!(head.bytes().await.unwrap(), Bytes::new());

    let grpc = client().post(&url);
    let grpc = grpc.header("content-type", "application/grpc-web+proto");
    let grpc = grpc.send().await.unwrap();
    // The route knows no POST, but the bulkhead stands before it.
    assert_eq!(grpc.status(), 200);
    assert_eq!(grpc.headers()["grpc-status"], "14");
    assert_eq!(grpc.headers()["content-type"], "application/grpc-web+proto");
    door.open();
    assert_eq!(held.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn an_open_circuit_says_when_to_come_back() {
    let breaker = CircuitBreakerLayer::builder()
        .classify(|_: Result<&Response, &Rejection>| mainstay::Outcome::Failure)
        .consecutive_failures(1)
        .build()
        .unwrap();
    let layers = (RespondLayer::new(), breaker);
    let address = serve(Router::new().route("/", get(ok)).layer(layers)).await;
    let url = format!("http://{address}/");
    assert_eq!(client().get(&url).send().await.unwrap().status(), 200);
    let response = client().get(&url).send().await.unwrap();
    assert_eq!(response.status(), 503);
    let after = response.headers()["retry-after"].to_str().unwrap();
    let after: u64 = after.parse().unwrap();
    assert!((4..=6).contains(&after), "{after}");
}

#[tokio::test]
async fn a_call_that_is_too_slow_is_a_504_and_all_layers_fit_together() {
    let stack = ServiceBuilder::new()
        .layer(CorrelationLayer::server())
        .layer(RespondLayer::new())
        .layer(LoadShedLayer::new(Limit::adaptive()))
        .layer(CircuitBreakerLayer::new())
        .layer(BulkheadLayer::new(256))
        .layer(TimeoutLayer::new(Duration::from_millis(20)));
    let router = Router::new().route("/", get(std::future::pending::<()>));
    let response = get_from(router.layer(stack)).await;
    assert_eq!(response.status(), 504);
    assert!(response.headers().contains_key("x-correlation-id"));
    let problem: serde_json::Value = response.json().await.unwrap();
    assert_eq!(problem["reason"], "timed_out");
}

#[tokio::test]
async fn other_errors_are_answered_by_the_user() {
    let stack = ServiceBuilder::new()
        .layer(RespondLayer::new().map_error(|error: tower::BoxError| {
            Response::builder()
                .status(StatusCode::BAD_GATEWAY)
                .body(Body::from(error.to_string()))
                .unwrap()
        }))
        .layer(BulkheadLayer::new(1))
        .layer(tower::timeout::TimeoutLayer::new(Duration::from_millis(20)));
    let router = Router::new().route("/", get(std::future::pending::<()>));
    let response = get_from(router.layer(stack)).await;
    assert_eq!(response.status(), 502);

    // A rejection is still the layer's to answer, also behind a box.
    let stack = ServiceBuilder::new()
        .layer(
            RespondLayer::new().map_error(|_: tower::BoxError| -> Response {
                panic!("it is a rejection");
            }),
        )
        .layer(tower::timeout::TimeoutLayer::new(Duration::from_secs(1)))
        .layer(BulkheadLayer::new(0));
    let response = get_from(Router::new().route("/", get(ok)).layer(stack)).await;
    assert_eq!(response.status(), 503);
}

/// Answers with the ID of the context, and with that of a task it started.
async fn who(request: Request) -> String {
    let id = || Context::current().correlation_id().map(ToString::to_string);
    let spawned = mainstay::spawn(async move { id() }).await.unwrap();
    assert_eq!(spawned, id());
    let lost = tokio::spawn(async move { id() }).await.unwrap();
    assert_eq!(lost, None);
    // What is further in must not see an identifier that was refused.
    let mut headers = request.headers().get_all("x-correlation-id").iter();
    let header = headers.next().map(|value| value.to_str().unwrap());
    assert_eq!(headers.next(), None);
    let id = id().unwrap();
    assert!(header.is_none_or(|header| header == id));
    id
}

/// The response's correlation ID; it must be the one that the handler saw.
async fn exchange(address: SocketAddr, headers: &[&[u8]]) -> String {
    let mut request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n".to_vec();
    for header in headers {
        request.extend_from_slice(header);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    let response = raw(address, &request).await;
    let response = String::from_utf8(response).expect("nothing hostile came back");
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let mut ids = head
        .lines()
        .filter_map(|line| line.strip_prefix("x-correlation-id: "));
    let id = ids.next().unwrap().to_owned();
    assert_eq!(ids.next(), None);
    assert!(body.contains(&id), "{response}");
    id
}

#[tokio::test]
async fn a_good_id_comes_back_and_a_hostile_one_does_not() {
    let router = Router::new().route("/", get(who));
    let address = serve(router.layer(CorrelationLayer::server())).await;

    let id = exchange(address, &[b"x-correlation-id: order-4711"]).await;
    assert_eq!(id, "order-4711");
    let id = exchange(
        address,
        &[b"X-Request-Id: 00000000-0000-7000-8000-000000000000"],
    )
    .await;
    assert_eq!(id, "00000000-0000-7000-8000-000000000000");

    let long = [b"x-correlation-id: ".as_slice(), &[b'a'; 100_000]].concat();
    let hostile: [&[&[u8]]; 8] = [
        &[],
        &[b"x-correlation-id:"],
        &[&long],
        &[b"x-correlation-id: a\tb"],
        &[b"x-correlation-id: a\xffb"],
        &[b"x-correlation-id: caf\xc3\xa9"],
        &[b"x-correlation-id: one", b"x-correlation-id: two"],
        &[b"x-correlation-id: same", b"x-correlation-id: same"],
    ];
    for headers in hostile {
        let id = exchange(address, headers).await;
        let uuid = id.len() == 36 && id.as_bytes()[14] == b'7';
        assert!(uuid, "{id}");
    }
}

#[tokio::test]
async fn a_caller_who_leaves_gives_the_place_back() {
    let door = Door::closed();
    let bulkhead = BulkheadLayer::new(1);
    let router = Router::new().route("/", get(wait)).with_state(door.clone());
    let address = serve(router.layer((RespondLayer::new(), bulkhead.clone()))).await;

    let mut leaver = TcpStream::connect(address).await.unwrap();
    leaver
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    until("the first call", || door.entered() == 1).await;
    assert_eq!(bulkhead.handle().in_flight(), 1);
    drop(leaver);
    until("the place", || bulkhead.handle().in_flight() == 0).await;

    door.open();
    let response = client().get(format!("http://{address}/")).send().await;
    assert_eq!(response.unwrap().status(), 200);
}
