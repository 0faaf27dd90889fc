//! reqwest sends again what was refused, unless it is told not to.

use std::time::Duration;

use mainstay::reqwest::SendThrough as _;

use crate::server::{Refuses, serve};

#[tokio::test]
async fn three_attempts_are_three_requests() {
    let (address, seen) = serve(Refuses::All, Duration::ZERO).await;
    let client = reqwest::Client::builder()
        .http2_prior_knowledge()
        .retry(reqwest::retry::never())
        .build()
        .unwrap();
    let stack = mainstay::reqwest::client("shop").retry(3).build().unwrap();
    let shop = stack.wrap(client.clone());
    let url = format!("http://{address}/");
    client.get(&url).send_through(&shop).await.unwrap_err();
    assert_eq!(seen.refused(), 3);
    // It follows redirects, so a refusal may be that of a second request.
    client.post(&url).send_through(&shop).await.unwrap_err();
    assert_eq!(seen.refused(), 4);
}
