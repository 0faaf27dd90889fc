//~ use `mainstay::TimeoutLayer::new(..)`

use tower::{Service, ServiceBuilder};

fn users() -> impl Service<reqwest::Request> {
    ServiceBuilder::new()
        .layer(mainstay::http::timeout().build().unwrap())
        .service(reqwest::Client::new())
}

fn main() {
    users();
}
