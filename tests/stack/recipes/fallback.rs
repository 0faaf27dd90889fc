//! "A fallback".

use axum::http::StatusCode;
use axum::{Router, routing::get};
use mainstay::Error;
use mainstay::reqwest::{Client, SendThrough};

use crate::common::{serve, within};

struct Quotes {
    http: reqwest::Client,
    client: Client,
}

impl Quotes {
    async fn today(&self, url: &str, yesterday: &str) -> Result<String, reqwest::Error> {
        match self.http.get(url).send_through(&self.client).await {
            Ok(response) if response.status().is_success() => response.text().await,
            Ok(_) | Err(Error::Rejected(_)) => Ok(yesterday.to_owned()),
            Err(Error::Inner(error)) if error.is_connect() => Ok(yesterday.to_owned()),
            Err(Error::Inner(error)) => Err(error),
        }
    }
}

#[tokio::test]
async fn yesterdays_quote_stands_in() {
    let app = Router::new()
        .route("/today", get("42"))
        .route("/broken", get(async || StatusCode::BAD_GATEWAY));
    let url = format!("http://{}", serve(app).await);
    let stack = mainstay::reqwest::client("quotes")
        .without_retry()
        .circuit_breaker(mainstay::http::circuit_breaker().consecutive_failures(2))
        .build()
        .unwrap();
    let http = reqwest::Client::new();
    let client = stack.wrap(http.clone());
    let quotes = Quotes { http, client };
    let today = async |url: &str| {
        let quote = within("a quote", quotes.today(url, "41")).await;
        quote.unwrap()
    };

    assert_eq!(today(&format!("{url}/today")).await, "42");
    assert_eq!(today("http://127.0.0.1:1/").await, "41");
    assert_eq!(today(&format!("{url}/broken")).await, "41");
    assert_eq!(today(&format!("{url}/broken")).await, "41");
    assert_eq!(stack.circuit_breaker().state(), mainstay::State::Open);
    assert_eq!(
        today(&format!("{url}/today")).await,
        "41",
        "the circuit is open"
    );
}
