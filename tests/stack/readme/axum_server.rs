//! The README's axum server.

use std::time::Duration;

use axum::{Router, routing::post};
use mainstay::BoxError;
use tokio::net::TcpListener;

use crate::common::{listener, within};

async fn create() -> &'static str {
    "created"
}

async fn run(listener: TcpListener) -> Result<(), BoxError> {
    // README: begin axum server
    let orders = mainstay::http::server("orders")
        .timeout(Duration::from_secs(2))
        .build()?;
    let app = Router::new().route("/orders", post(create)).layer(orders);
    axum::serve(listener, app).await?;
    // README: end
    Ok(())
}

#[tokio::test]
async fn it_answers() {
    let (listener, address) = listener().await;
    tokio::spawn(async move { run(listener).await.map_err(|error| error.to_string()) });
    let call = reqwest::Client::new().post(format!("http://{address}/orders"));
    let response = within("an answer", call.send()).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.headers().contains_key("x-correlation-id"));
    assert_eq!(response.text().await.unwrap(), "created");
}
