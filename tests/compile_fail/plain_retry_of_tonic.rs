//~ `mainstay::grpc::retry()`

use mainstay::RetryLayer;
use tonic::{body::Body, transport::Channel};
use tower::{Service, ServiceBuilder};

fn users(channel: Channel) -> impl Service<http::Request<Body>> {
    ServiceBuilder::new()
        .layer(RetryLayer::new())
        .service(channel)
}

fn main() {
    let _ = users;
}
