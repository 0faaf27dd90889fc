//! The layers under hyper: its server through `TowerToHyperService`, and hyper-util's client.
#![cfg(feature = "hyper")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use mainstay::{
    Backoff, BulkheadLayer, CorrelationLayer, Error, Reason, RespondLayer, State, TimeoutLayer,
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::common::{Door, listener, until};

/// Serves a tower service with hyper until the test ends.
async fn serve<S, B>(service: S) -> SocketAddr
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
    B: http_body::Body<Data: Send, Error: Into<tower::BoxError>> + Send + 'static,
{
    let (listener, address) = listener().await;
    let service = TowerToHyperService::new(service);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service.clone();
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                // Fails when a client goes away in the middle of a request.
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

fn client() -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build_http()
}

fn request(method: &str, address: SocketAddr, body: &'static str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(format!("http://{address}/"))
        .body(Full::from(body))
        .unwrap()
}

#[tokio::test]
async fn a_server_answers_rejections_on_every_connection() {
    let door = Door::closed();
    let behind = door.clone();
    let service = ServiceBuilder::new()
        .layer(CorrelationLayer::server())
        .layer(RespondLayer::new())
        .layer(BulkheadLayer::new(1))
        .service(service_fn(move |_: Request<Incoming>| {
            let door = behind.clone();
            async move {
                door.pass().await;
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("through")))
            }
        }));
    let address = serve(service).await;
    let held = tokio::spawn(client().request(request("GET", address, "")));
    until("the first call", || door.entered() == 1).await;
    for _ in 0..3 {
        let response = client().request(request("GET", address, "")).await.unwrap();
        assert_eq!(response.status(), 503);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["reason"], "full");
    }
    assert_eq!(door.entered(), 1);
    door.open();
    assert_eq!(held.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn a_body_of_any_type_can_be_made() {
    async fn never<B>(_: Request<Incoming>) -> Result<Response<B>, Infallible> {
        std::future::pending().await
    }
    let slow = TimeoutLayer::new(Duration::from_millis(10));

    let boxed = RespondLayer::new().body_with(|json| Full::new(json).boxed());
    let service = slow.layer(service_fn(never::<BoxBody<Bytes, Infallible>>));
    let address = serve(boxed.layer(service)).await;
    let response = client().request(request("GET", address, "")).await.unwrap();
    assert_eq!(response.status(), 504);
    let content_type = &response.headers()["content-type"];
    assert_eq!(content_type, "application/problem+json");

    let empty = RespondLayer::new().empty_body();
    let service = slow.layer(service_fn(never::<Empty<Bytes>>));
    let address = serve(empty.layer(service)).await;
    let response = client().request(request("GET", address, "")).await.unwrap();
    assert_eq!(response.status(), 504);
    assert!(!response.headers().contains_key("content-type"));
}

/// Answers 503 so many times, then with what it was sent.
async fn failing(failures: u32) -> (SocketAddr, Arc<AtomicU32>) {
    let calls = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&calls);
    let service = service_fn(move |request: Request<Incoming>| {
        let call = counter.fetch_add(1, Ordering::SeqCst);
        async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let mut response = Response::new(Full::new(body));
            if call < failures {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            }
            Ok::<_, Infallible>(response)
        }
    });
    (serve(service).await, calls)
}

#[tokio::test]
async fn a_client_retries_what_may_be_repeated() {
    let backoff = Backoff::constant(Duration::from_millis(1));
    let retry = mainstay::http::retry().backoff(backoff).build().unwrap();
    let mut client = ServiceBuilder::new().layer(retry).service(client());

    let (address, calls) = failing(2).await;
    let call = client.ready().await.unwrap();
    let response = call.call(request("PUT", address, "body")).await.unwrap();
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "body");
    assert_eq!(calls.load(Ordering::SeqCst), 3);

    let (address, calls) = failing(1).await;
    let call = client.ready().await.unwrap();
    let response = call.call(request("POST", address, "body")).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_clients_circuit_opens_and_its_error_stays_flat() {
    let breaker = mainstay::http::circuit_breaker().consecutive_failures(2);
    let breaker = breaker.build().unwrap();
    let circuit = breaker.handle();
    let mut client = ServiceBuilder::new()
        .layer(breaker)
        .layer(BulkheadLayer::new(8))
        .service(client());

    let (address, calls) = failing(1).await;
    let call = client.ready().await.unwrap();
    call.call(request("GET", address, "")).await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 1);

    let (closed, nowhere) = listener().await;
    drop(closed);
    let call = client.ready().await.unwrap();
    let error = call.call(request("GET", nowhere, "")).await.unwrap_err();
    let Error::Inner(error) = error else {
        panic!("{error}");
    };
    assert!(error.is_connect());
    assert_eq!(circuit.state(), State::Open);
    let call = client.ready().await.unwrap();
    let error = call.call(request("GET", address, "")).await.unwrap_err();
    assert_eq!(error.as_rejection().unwrap().reason(), Reason::CircuitOpen);
}

/// A connection's own sender has hyper's error: it can carry a rejection too.
#[tokio::test]
async fn a_bare_connection_is_a_service() {
    let (address, _) = failing(0).await;
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let sender = Arc::new(tokio::sync::Mutex::new(sender));
    let service = service_fn(move |request: Request<Full<Bytes>>| {
        let sender = Arc::clone(&sender);
        async move { sender.lock().await.send_request(request).await }
    });
    let mut service = BulkheadLayer::new(1).layer(service);
    let call = service.ready().await.unwrap();
    let result: Result<_, Error<hyper::Error>> = call.call(request("GET", address, "")).await;
    assert_eq!(result.unwrap().status(), 200);
}

#[tokio::test]
async fn no_answer_to_a_head_has_a_body() {
    let service = RespondLayer::new()
        .map_error(|error: std::io::Error| Response::new(Full::<Bytes>::from(error.to_string())))
        .layer(service_fn(async |_: Request<Incoming>| {
            Err::<Response<Full<Bytes>>, _>(Error::Inner(std::io::Error::other("gone")))
        }));
    let address = serve(service).await;
    let client = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http::<Full<Bytes>>();
    for method in ["HEAD", "GET"] {
        let response = client.request(request(method, address, "")).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, if method == "GET" { "gone" } else { "" });
    }
}
