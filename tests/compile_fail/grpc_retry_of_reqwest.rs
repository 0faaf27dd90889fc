//~ over a client of reqwest use `mainstay::http::retry()`

use tower::{Service, ServiceBuilder};

fn users() -> impl Service<reqwest::Request> {
    ServiceBuilder::new()
        .layer(mainstay::grpc::retry().build().unwrap())
        .service(reqwest::Client::new())
}

fn main() {
    users();
}
