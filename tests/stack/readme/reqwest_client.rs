//! The README's client.

use std::time::Duration;

use axum::{Json, Router, routing::post};
use mainstay::BoxError;

use crate::common::{serve, within};

async fn pay(url: String, order: &str) -> Result<String, BoxError> {
    // README: begin reqwest client
    use mainstay::reqwest::SendThrough;

    let http = reqwest::Client::builder()
        .retry(reqwest::retry::never())
        .build()?;
    let payments = mainstay::reqwest::client("payments")
        .timeout(Duration::from_secs(2))
        .build()?
        .wrap(http.clone());
    let response = http.post(url).json(order).send_through(&payments).await?;
    // README: end
    Ok(response.text().await?)
}

#[tokio::test]
async fn it_pays() {
    let charge = async |Json(order): Json<String>| format!("paid: {order}");
    let address = serve(Router::new().route("/charges", post(charge))).await;
    let receipt = pay(format!("http://{address}/charges"), "order-4711");
    let receipt = within("a receipt", receipt).await.unwrap();
    assert_eq!(receipt, "paid: order-4711");
}
