//~ the trait `From<reqwest::Error>` is not implemented for

use mainstay::{TimeoutLayer, reqwest::SendThrough};
use std::time::Duration;
use tower::ServiceBuilder;

#[derive(Debug)]
struct MyError;

impl mainstay::Plain for MyError {}

fn main() {
    let client = reqwest::Client::new();
    let stack = ServiceBuilder::new()
        .layer(TimeoutLayer::new(Duration::from_secs(1)))
        .map_err(|_: reqwest::Error| MyError)
        .service(client.clone());
    let _ = client.get("http://localhost/").send_through(&stack);
}
