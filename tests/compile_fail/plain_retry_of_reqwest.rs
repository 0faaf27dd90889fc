//~ begin with `mainstay::http::retry()`

use mainstay::RetryLayer;
use tower::{Service, ServiceBuilder};

fn users() -> impl Service<reqwest::Request> {
    ServiceBuilder::new()
        .layer(RetryLayer::new())
        .service(reqwest::Client::new())
}

fn main() {
    users();
}
