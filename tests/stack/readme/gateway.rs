//! The README's gateway, and what its caller sees.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use mainstay::Error;
use mainstay::reqwest::SendThrough;

use crate::common::{raw, serve, within};

#[derive(Clone)]
struct App {
    http: reqwest::Client,
    payments: mainstay::reqwest::Client,
    url: reqwest::Url,
}

// README: begin gateway
async fn charges(State(app): State<App>) -> Response {
    match app.http.get(app.url).send_through(&app.payments).await {
        Ok(response) => response.status().into_response(),
        Err(Error::Rejected(rejection)) => rejection.into_response(), // 503 or 504
        Err(Error::Inner(_)) => StatusCode::BAD_GATEWAY.into_response(),
    }
}
// README: end

/// A gateway to an upstream that is known to be broken: its circuit is open.
async fn gateway() -> Router {
    let stack = mainstay::reqwest::client("payments")
        .timeout(Duration::from_secs(2))
        .without_retry()
        .circuit_breaker(mainstay::http::circuit_breaker().consecutive_failures(1))
        .build()
        .unwrap();
    let broken = get(async || StatusCode::BAD_GATEWAY);
    let upstream = serve(Router::new().route("/charges", broken)).await;
    let url = format!("http://{upstream}/charges").parse().unwrap();
    let http = reqwest::Client::builder()
        .no_proxy()
        .retry(reqwest::retry::never())
        .build()
        .unwrap();
    let payments = stack.wrap(http.clone());
    Router::new()
        .route("/charges", get(charges))
        .layer(mainstay::http::server("gateway").build().unwrap())
        .with_state(App {
            http,
            payments,
            url,
        })
}

#[tokio::test]
async fn an_open_circuit_is_answered_as_the_readme_shows() {
    let gateway = serve(gateway().await).await;
    let call = || async {
        let request =
            format!("GET /charges HTTP/1.1\r\nhost: {gateway}\r\nconnection: close\r\n\r\n");
        String::from_utf8(raw(gateway, request.as_bytes()).await).unwrap()
    };
    let first = within("the upstream's answer", call()).await;
    assert!(first.starts_with("HTTP/1.1 502 "), "{first}");
    let second = within("a rejection", call()).await;
    let shown = super::snippets::blocks()
        .into_iter()
        .find(|block| block.text.starts_with("HTTP/1.1 503"));
    for line in shown.expect("the README shows it").text.lines() {
        // The ID is different each time, and the open time has jitter.
        let line = match line.split_once(": ") {
            Some((name @ ("x-correlation-id" | "retry-after"), _)) => name,
            _ => line,
        };
        assert!(second.contains(line), "{line} is not in\n{second}");
    }
}
