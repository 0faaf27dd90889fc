//~ implement `mainstay::Carry` for a request type of your own

use mainstay::CorrelationLayer;
use std::convert::Infallible;
use tower::{Service, ServiceBuilder, service_fn};

fn jobs() -> impl Service<u64> {
    ServiceBuilder::new()
        .layer(CorrelationLayer::consumer())
        .service(service_fn(async |_: u64| Ok::<_, Infallible>(())))
}

fn main() {
    jobs();
}
