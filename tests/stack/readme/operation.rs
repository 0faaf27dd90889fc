//! The README's readiness route and graceful shutdown.

use std::future::IntoFuture as _;
use std::time::Duration;

use axum::{Router, routing::post};
use mainstay::BoxError;
use mainstay::health::Health;
use mainstay::shutdown::Shutdown;
use tokio::net::TcpListener;

use crate::common::{listener, within};

async fn create() -> &'static str {
    "created"
}

#[expect(dead_code, reason = "its signals would reach the other tests, too")]
async fn main(listener: TcpListener) -> Result<(), BoxError> {
    let orders = mainstay::http::server("orders").build()?;
    // README: begin operation
    let shutdown = Shutdown::on_signal()?; // SIGTERM or Ctrl-C
    let health = Health::global().shutdown(&shutdown).service();
    let app = Router::new()
        .route("/orders", post(create))
        .layer(orders)
        .layer(shutdown.close_connections())
        .route_service("/livez", health.clone())
        .route_service("/readyz", health);
    let server = axum::serve(listener, app).with_graceful_shutdown(shutdown.closing());
    shutdown.run(server.into_future()).await??;
    // README: end
    Ok(())
}

/// The same with another beginning and a shorter drain time.
async fn run(listener: TcpListener, shutdown: Shutdown) -> Result<(), BoxError> {
    let orders = mainstay::http::server("orders").build()?;
    let health = Health::global().shutdown(&shutdown).service();
    let app = Router::new()
        .route("/orders", post(create))
        .layer(orders)
        .layer(shutdown.close_connections())
        .route_service("/livez", health.clone())
        .route_service("/readyz", health);
    let server = axum::serve(listener, app).with_graceful_shutdown(shutdown.closing());
    shutdown.run(server.into_future()).await??;
    Ok(())
}

#[tokio::test]
async fn it_is_ready_until_its_end_begins() {
    let (listener, address) = listener().await;
    let shutdown = Shutdown::builder()
        .drain(Duration::from_millis(500))
        .manual();
    let running = run(listener, shutdown.clone());
    let server = tokio::spawn(async move { running.await.map_err(|error| error.to_string()) });
    let client = reqwest::Client::new();
    let ready = || client.get(format!("http://{address}/readyz")).send();
    assert_eq!(within("an answer", ready()).await.unwrap().status(), 200);
    shutdown.begin();
    let answer = within("an answer", ready()).await.unwrap();
    assert_eq!(answer.status(), 503);
    let order = client.post(format!("http://{address}/orders")).send();
    assert_eq!(within("an answer", order).await.unwrap().status(), 200);
    within("the end", server).await.unwrap().unwrap();
}
