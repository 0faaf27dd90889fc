//~ the trait bound `reqwest::Client: Service<

use mainstay::TimeoutLayer;
use std::time::Duration;
use tonic::client::GrpcService;
use tower::ServiceBuilder;

/// As `tonic_prost_build` writes it.
struct UsersClient<T>(T);

impl<T: GrpcService<tonic::body::Body>> UsersClient<T> {
    fn new(inner: T) -> Self {
        Self(inner)
    }
}

fn main() {
    let stack = ServiceBuilder::new()
        .layer(TimeoutLayer::new(Duration::from_secs(1)))
        .service(reqwest::Client::new());
    let UsersClient(_) = UsersClient::new(stack);
}
