//! A reqwest client behind a standard stack, and an upstream that fails: retries that follow
//! `Retry-After`, a POST that is sent once, and a circuit that opens.
//!
//! Run it with `cargo run --example reqwest_client`. Both run on loopback, and end by themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use axum::{Json, Router, extract::State, routing::get, routing::post};
use mainstay::reqwest::SendThrough;
use mainstay::{BoxError, Context, Error, Rejection};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

#[derive(Debug, Serialize, Deserialize)]
struct Receipt {
    order: String,
    calls: u32,
}

type Calls = Arc<AtomicU32>;

/// Fails twice with a `Retry-After`, then succeeds.
async fn receipt(
    State(calls): State<Calls>,
) -> Result<Json<Receipt>, impl axum::response::IntoResponse> {
    match calls.fetch_add(1, Ordering::SeqCst) + 1 {
        calls @ 1..=2 => Err((
            StatusCode::SERVICE_UNAVAILABLE,
            [("retry-after", if calls == 1 { "1" } else { "0" })],
        )),
        calls => Ok(Json(Receipt {
            order: "4711".to_owned(),
            calls,
        })),
    }
}

async fn broken(State(calls): State<Calls>) -> StatusCode {
    calls.fetch_add(1, Ordering::SeqCst);
    StatusCode::BAD_GATEWAY
}

async fn upstream(calls: Calls) -> Result<String, BoxError> {
    let app = Router::new()
        .route("/receipt", get(receipt))
        .route("/orders", post(broken))
        .with_state(calls);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(url)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let calls = Calls::default();
    let url = upstream(Arc::clone(&calls)).await?;

    let http = reqwest::Client::builder()
        .no_proxy()
        .retry(reqwest::retry::never())
        .build()?;
    let stack = mainstay::reqwest::client("payments")
        .timeout(Duration::from_secs(5))
        .attempt_timeout(Duration::from_millis(500))
        .circuit_breaker(mainstay::http::circuit_breaker().consecutive_failures(3))
        .bulkhead(16)
        .build()?;
    println!("{stack}");
    let circuit = stack.circuit_breaker();
    let payments = stack.wrap(http.clone());

    println!("a GET that fails twice:");
    let context = Context::current().with_correlation_id("order-4711".parse()?);
    let response = context
        .scope(http.get(format!("{url}/receipt")).send_through(&payments))
        .await?;
    println!("  {:?}", response.json::<Receipt>().await?);

    for (what, key) in [
        ("a POST without an Idempotency-Key is sent once", None),
        ("a POST with one is retried", Some("order-4711")),
        (
            "while the circuit is open, nothing is sent",
            Some("order-4712"),
        ),
    ] {
        calls.store(0, Ordering::SeqCst);
        let mut request = http.post(format!("{url}/orders")).json(&"an order");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let answer = match request.send_through(&payments).await {
            Ok(response) => response.status().to_string(),
            Err(Error::Inner(error)) => format!("failed: {error}"),
            Err(Error::Rejected(rejection)) => describe(&rejection),
        };
        println!(
            "{what}:\n  {answer}; calls that the upstream received: {}",
            calls.load(Ordering::SeqCst)
        );
    }
    println!("the circuit is {}", circuit.state());
    Ok(())
}

fn describe(rejection: &Rejection) -> String {
    // An open circuit knows when to try again.
    let after = match rejection.retry_after() {
        Some(after) => format!(", try again in {} s", after.as_secs_f64().ceil()),
        None => String::new(),
    };
    format!(
        "rejected by {} `{}`: {}{after}",
        rejection.layer(),
        rejection.name(),
        rejection.reason(),
    )
}
