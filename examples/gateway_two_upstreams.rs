//! An axum gateway with two upstreams, each called by reqwest through a stack of its own. One of
//! them breaks, and calls to the other are not affected.
//!
//! Run it with `cargo run --example gateway_two_upstreams`. Everything runs on loopback, and ends
//! by itself.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use mainstay::reqwest::{Client, SendThrough};
use mainstay::{BoxError, CircuitBreakerHandle, Error, Event, EventKind, http};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The state of all handlers. Clones share the circuits, the budgets and the bulkheads.
#[derive(Clone)]
struct App {
    http: reqwest::Client,
    payments: Upstream,
    stock: Upstream,
}

#[derive(Clone)]
struct Upstream {
    url: String,
    client: Client,
    circuit: CircuitBreakerHandle,
}

impl Upstream {
    fn new(name: &'static str, url: String, http: reqwest::Client) -> Result<Self, BoxError> {
        let stack = mainstay::reqwest::client(name)
            .timeout(Duration::from_secs(2))
            .circuit_breaker(http::circuit_breaker().consecutive_failures(4))
            .observer(log)
            .build()?;
        Ok(Self {
            url,
            circuit: stack.circuit_breaker(),
            client: stack.wrap(http),
        })
    }
}

/// Receives the events of all layers of a stack, and prints the transitions of the circuit.
fn log(event: &Event) {
    if let EventKind::Transition(transition) = event.kind() {
        println!("  gateway: `{}` is now {}", event.name(), transition.to);
    }
}

/// An error of a handler.
struct Failed(Error<reqwest::Error>);

impl<E: Into<Error<reqwest::Error>>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        match self.0 {
            // 503 or 504. An open circuit adds `Retry-After`.
            Error::Rejected(rejection) => rejection.into_response(),
            Error::Inner(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
        }
    }
}

/// Retried only if the caller sends an `Idempotency-Key`.
async fn charge(State(app): State<App>, headers: HeaderMap) -> Result<String, Failed> {
    let mut request = app.http.post(&app.payments.url).json(&"4 EUR");
    if let Some(key) = headers.get("idempotency-key") {
        request = request.header("idempotency-key", key);
    }
    let response = request.send_through(&app.payments.client).await?;
    Ok(response.error_for_status()?.text().await?)
}

async fn stock(State(app): State<App>) -> Result<String, Failed> {
    let request = app.http.get(&app.stock.url);
    Ok(request
        .send_through(&app.stock.client)
        .await?
        .text()
        .await?)
}

async fn health(State(app): State<App>) -> Json<Value> {
    let state = |upstream: &Upstream| upstream.circuit.state().to_string();
    Json(json!({ "payments": state(&app.payments), "stock": state(&app.stock) }))
}

async fn serve(app: Router) -> Result<String, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(url)
}

async fn upstream(name: &'static str, status: StatusCode) -> Result<String, BoxError> {
    let answer = async move |headers: HeaderMap| {
        println!("  {name}: called for {:?}", headers["x-correlation-id"]);
        (status, "done")
    };
    serve(Router::new().route("/", get(answer).post(answer))).await
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let http = reqwest::Client::builder()
        .no_proxy()
        .retry(reqwest::retry::never())
        .build()?;
    let broken = upstream("payments", StatusCode::SERVICE_UNAVAILABLE).await?;
    let healthy = upstream("stock", StatusCode::OK).await?;
    let app = App {
        payments: Upstream::new("payments", broken, http.clone())?,
        stock: Upstream::new("stock", healthy, http.clone())?,
        http: http.clone(),
    };
    let stack = http::server("gateway").build()?;
    println!("{stack}");
    let gateway = Router::new()
        .route("/charges", post(charge))
        .route("/stock", get(stock))
        .layer(stack)
        .route("/health", get(health))
        .with_state(app);
    let url = serve(gateway).await?;

    let charge = || http.post(format!("{url}/charges"));
    let keyed = || charge().header("idempotency-key", "order-4711");
    let get = |path| http.get(format!("{url}/{path}"));
    for (what, request) in [
        ("a charge that must not be repeated", charge()),
        ("a charge that may be repeated", keyed()),
        ("another one: the circuit is open", keyed()),
        ("the other upstream is healthy", get("stock")),
        ("the circuits of the gateway", get("health")),
    ] {
        println!("{what}:");
        let response = request.send().await?;
        println!("  {}: {}", response.status(), response.text().await?);
    }
    Ok(())
}
