//~ use `CorrelationLayer::consumer()`

use http::Request;
use mainstay::CorrelationLayer;
use std::convert::Infallible;
use tower::{Service, ServiceBuilder, service_fn};

fn events() -> impl Service<Request<()>> {
    ServiceBuilder::new()
        .layer(CorrelationLayer::server())
        .service(service_fn(async |_: Request<()>| Ok::<_, Infallible>(())))
}

fn main() {
    events();
}
