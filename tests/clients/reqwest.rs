//! The layers around reqwest's client, over real sockets.
#![cfg(feature = "reqwest")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{any, post};
use axum::{Json, Router};
use mainstay::reqwest::SendThrough;
use mainstay::{
    Backoff, BoxError, BulkheadLayer, Context, CorrelationLayer, Error, Reason, Rejection,
    State as Circuit, TimeoutLayer, http,
};
use reqwest::{Client, Request};
use serde::{Deserialize, Serialize};
use tower::{Service, ServiceBuilder};

use crate::common::{listener, serve, within};

/// Fails so many times with this status and these headers, then answers with what it was sent.
#[derive(Clone)]
struct Upstream {
    calls: Arc<AtomicU32>,
    failures: u32,
    status: StatusCode,
    retry_after: &'static str,
}

impl Upstream {
    fn failing(failures: u32, status: u16, retry_after: &'static str) -> Self {
        Self {
            calls: Arc::default(),
            failures,
            status: StatusCode::from_u16(status).unwrap(),
            retry_after,
        }
    }

    fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }

    async fn url(&self) -> String {
        let router = Router::new()
            .route("/", any(answer))
            .with_state(self.clone());
        format!("http://{}/", serve(router).await)
    }
}

async fn answer(
    State(upstream): State<Upstream>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, HeaderMap, Bytes) {
    let mut answer = HeaderMap::new();
    if let Some(id) = headers.get("x-correlation-id") {
        answer.insert("x-correlation-id", id.clone());
    }
    if upstream.calls.fetch_add(1, Ordering::SeqCst) < upstream.failures {
        if !upstream.retry_after.is_empty() {
            answer.insert("retry-after", upstream.retry_after.parse().unwrap());
        }
        return (upstream.status, answer, Bytes::new());
    }
    (StatusCode::OK, answer, body)
}

/// Around a client: three attempts, and a back-off that only the server's own hint can shorten.
fn retrying(
    backoff: Duration,
) -> impl Service<Request, Response = reqwest::Response, Error = Error<reqwest::Error>, Future: Send>
+ Clone {
    let backoff = Backoff::constant(backoff);
    ServiceBuilder::new()
        .layer(http::retry().backoff(backoff).build().unwrap())
        .service(Client::new())
}

const LONG: Duration = Duration::from_secs(300);
const SHORT: Duration = Duration::from_millis(1);

#[tokio::test]
async fn a_request_builder_goes_through_a_stack() {
    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Order {
        item: String,
    }
    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Receipt {
        for_item: String,
        id: String,
    }
    async fn order(headers: HeaderMap, Json(order): Json<Order>) -> Json<Receipt> {
        let id = headers["x-correlation-id"].to_str().unwrap().to_owned();
        let for_item = order.item;
        Json(Receipt { for_item, id })
    }
    async fn run(url: &str) -> Result<Receipt, BoxError> {
        let client = Client::new();
        let payments = ServiceBuilder::new()
            .layer(CorrelationLayer::client())
            .layer(http::retry().build()?)
            .layer(http::circuit_breaker().name("payments").build()?)
            .layer(BulkheadLayer::new(8))
            .layer(TimeoutLayer::new(Duration::from_secs(5)))
            .service(client.clone());
        let order = Order {
            item: "tea".to_owned(),
        };
        let receipt = client
            .post(url)
            .json(&order)
            .send_through(&payments)
            .await?;
        Ok(receipt.json::<Receipt>().await?)
    }

    let address = serve(Router::new().route("/", post(order))).await;
    let url = format!("http://{address}/");
    let context = Context::current().with_correlation_id("order-4711".parse().unwrap());
    // In a task of its own: the future must be `Send`.
    let receipt = tokio::spawn(context.scope(async move { run(&url).await }));
    let expected = Receipt {
        for_item: "tea".to_owned(),
        id: "order-4711".to_owned(),
    };
    assert_eq!(receipt.await.unwrap().unwrap(), expected);
}

#[tokio::test]
async fn the_servers_hint_replaces_the_backoff() {
    // A second is the shortest hint there is; both statuses wait it out at the same time.
    let hinted = async |status| {
        let upstream = Upstream::failing(1, status, "1");
        let service = retrying(LONG);
        let get = Client::new().get(upstream.url().await);
        let response = within("the retry", get.send_through(&service)).await;
        assert_eq!(response.unwrap().status(), 200);
        assert_eq!(upstream.calls(), 2);
    };
    tokio::join!(hinted(429), hinted(503));
}

#[tokio::test]
async fn a_hint_that_is_too_long_gives_the_response_back_now() {
    let upstream = Upstream::failing(2, 503, "3600");
    let get = Client::new().get(upstream.url().await);
    let service = retrying(SHORT);
    let response = within("the response", get.send_through(&service)).await;
    assert_eq!(response.unwrap().status(), 503);
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test]
async fn a_post_is_retried_only_with_an_idempotency_key() {
    let upstream = Upstream::failing(1, 503, "");
    let (client, service) = (Client::new(), retrying(SHORT));
    let order = client.post(upstream.url().await).body("order");
    let response = order.send_through(&service).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(upstream.calls(), 1);

    let upstream = Upstream::failing(1, 503, "");
    let order = client.post(upstream.url().await).body("order");
    let order = order.header("idempotency-key", "4711");
    let response = order.send_through(&service).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.text().await.unwrap(), "order");
    assert_eq!(upstream.calls(), 2);
}

fn streamed() -> reqwest::Body {
    let chunks = tokio_stream::iter(["a", "b"].map(Ok::<_, std::io::Error>));
    reqwest::Body::wrap_stream(chunks)
}

#[tokio::test]
async fn a_stream_is_sent_again_from_its_beginning() {
    let upstream = Upstream::failing(2, 503, "");
    let put = Client::new().put(upstream.url().await).body(streamed());
    let response = put.send_through(&retrying(SHORT)).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.text().await.unwrap(), "ab");
    assert_eq!(upstream.calls(), 3);
}

#[tokio::test]
async fn a_stream_is_sent_once_where_nothing_is_to_be_kept_of_it() {
    let upstream = Upstream::failing(1, 503, "");
    let retry = http::retry().replay_limit(0).build().unwrap();
    let service = ServiceBuilder::new().layer(retry).service(Client::new());
    let put = Client::new().put(upstream.url().await).body(streamed());
    let response = put.send_through(&service).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_not_sent_again() {
    let upstream = Upstream::failing(1, 503, "");
    let url = upstream.url().await;
    let chunks = [Ok("a"), Err(std::io::Error::other("gone"))];
    let body = reqwest::Body::wrap_stream(tokio_stream::iter(chunks));
    let attempts = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&attempts);
    let service = ServiceBuilder::new()
        .layer(http::retry().build().unwrap())
        .map_request(move |request: Request| {
            count.fetch_add(1, Ordering::SeqCst);
            request
        })
        .service(Client::new());
    let put = Client::new().put(url).body(body);
    put.send_through(&service).await.unwrap_err();
    assert_eq!(attempts.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_attempt_that_timed_out_is_tried_again() {
    let calls = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&calls);
    let router = Router::new().route(
        "/",
        any(move || async move {
            if seen.fetch_add(1, Ordering::SeqCst) == 0 {
                std::future::pending::<()>().await;
            }
        }),
    );
    let address = serve(router).await;
    let service = ServiceBuilder::new()
        .layer(
            http::retry()
                .backoff(Backoff::constant(SHORT))
                .build()
                .unwrap(),
        )
        .layer(TimeoutLayer::new(Duration::from_millis(100)))
        .service(Client::new());
    let get = Client::new().get(format!("http://{address}/"));
    let response = get.send_through(&service).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn errors_are_retried_where_that_can_help() {
    let attempts = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&attempts);
    let service = ServiceBuilder::new()
        .layer(
            http::retry()
                .backoff(Backoff::constant(SHORT))
                .build()
                .unwrap(),
        )
        .map_request(move |request: Request| {
            count.fetch_add(1, Ordering::SeqCst);
            request
        })
        .service(Client::new());
    let client = Client::new();

    let (listener, address) = listener().await;
    drop(listener);
    let get = client.get(format!("http://{address}/"));
    let error = get.send_through(&service).await.unwrap_err();
    assert!(error.into_inner().unwrap().is_connect());
    assert_eq!(attempts.swap(0, Ordering::SeqCst), 3);

    // reqwest speaks no FTP, however often it is asked to.
    let get = client.get("ftp://127.0.0.1/");
    let error = get.send_through(&service).await.unwrap_err();
    assert!(error.into_inner().unwrap().is_builder());
    assert_eq!(attempts.swap(0, Ordering::SeqCst), 1);

    // And what cannot be built is not sent.
    let get = client.get("no url");
    let error = get.send_through(&service).await.unwrap_err();
    assert!(error.into_inner().unwrap().is_builder());
    assert_eq!(attempts.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_circuit_opens_on_500s_and_not_on_404s() {
    let breaker = || http::circuit_breaker().name("payments");
    let breaker = breaker().consecutive_failures(3).build().unwrap();
    let circuit = breaker.handle();
    let client = Client::new();
    let payments = ServiceBuilder::new().layer(breaker).service(client.clone());

    let missing = Upstream::failing(10, 404, "");
    let url = missing.url().await;
    for _ in 0..5 {
        client.get(&url).send_through(&payments).await.unwrap();
    }
    assert_eq!(circuit.state(), Circuit::Closed);

    let broken = Upstream::failing(10, 500, "");
    let url = broken.url().await;
    for _ in 0..3 {
        let response = client.get(&url).send_through(&payments).await.unwrap();
        assert_eq!(response.status(), 500);
    }
    assert_eq!(circuit.state(), Circuit::Open);
    let error = client.get(&url).send_through(&payments).await.unwrap_err();
    let rejection = error.as_rejection().unwrap();
    assert_eq!(rejection.reason(), Reason::CircuitOpen);
    assert_eq!(rejection.name(), "payments");
    assert_eq!(broken.calls(), 3);
}

#[tokio::test]
async fn a_servers_retry_after_keeps_the_circuit_open() {
    let busy = Upstream::failing(10, 503, "40");
    let breaker = http::circuit_breaker().consecutive_failures(1).jitter(0.0);
    let breaker = breaker.build().unwrap();
    let client = Client::new();
    let service = ServiceBuilder::new().layer(breaker).service(client.clone());
    let url = busy.url().await;
    client.get(&url).send_through(&service).await.unwrap();
    let error = client.get(&url).send_through(&service).await.unwrap_err();
    let after = error.as_rejection().unwrap().retry_after().unwrap();
    assert!(after > Duration::from_secs(30), "{after:?}");
}

#[tokio::test]
async fn a_boxed_error_is_fine_too() {
    let upstream = Upstream::failing(0, 200, "");
    let service = ServiceBuilder::new()
        .layer(tower::timeout::TimeoutLayer::new(Duration::from_secs(5)))
        .layer(BulkheadLayer::new(0))
        .service(Client::new());
    let get = Client::new().get(upstream.url().await);
    let error: BoxError = get.send_through(&service).await.unwrap_err();
    assert_eq!(Rejection::find(&*error).unwrap().reason(), Reason::Full);
    let bad = Client::new().get("no url").send_through(&service).await;
    assert!(bad.unwrap_err().is::<reqwest::Error>());
}

#[tokio::test]
async fn the_correlation_id_is_sent() {
    let upstream = Upstream::failing(0, 200, "");
    let url = upstream.url().await;
    let service = ServiceBuilder::new()
        .layer(CorrelationLayer::client())
        .service(Client::new());
    let client = Client::new();
    let context = Context::current().with_correlation_id("order-4711".parse().unwrap());
    let call = client.get(&url).send_through(&service);
    let response = context.scope(call).await.unwrap();
    assert_eq!(response.headers()["x-correlation-id"], "order-4711");

    // Outside of any request a good one of the caller's own stays, and a hostile one does not.
    let get = client.get(&url).header("x-correlation-id", "mine");
    let response = get.send_through(&service).await.unwrap();
    assert_eq!(response.headers()["x-correlation-id"], "mine");
    let get = client.get(&url).header("x-correlation-id", "a b");
    let response = get.send_through(&service).await.unwrap();
    assert_eq!(response.headers()["x-correlation-id"].len(), 36);
}

#[tokio::test]
async fn what_was_done_and_then_redirected_is_not_done_again() {
    let (closed, nowhere) = listener().await;
    drop(closed);
    let orders = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&orders);
    let router = Router::new().route(
        "/",
        post(async move || {
            counted.fetch_add(1, Ordering::SeqCst);
            axum::response::Redirect::to(&format!("http://{nowhere}/"))
        }),
    );
    let url = format!("http://{}/", serve(router).await);
    let order = Client::new().post(url).body("order");
    let error = order.send_through(&retrying(SHORT)).await.unwrap_err();
    assert!(matches!(error, Error::Inner(error) if error.is_connect()));
    assert_eq!(orders.load(Ordering::SeqCst), 1);
}
