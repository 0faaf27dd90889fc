//~ where its body is an `http_body::Body`

use http::{Request, Response};
use mainstay::CorrelationLayer;
use std::convert::Infallible;
use tower::{Service, ServiceBuilder, service_fn};

struct Page;

fn site() -> impl Service<Request<()>> {
    ServiceBuilder::new()
        .layer(CorrelationLayer::server())
        .service(service_fn(async |_: Request<()>| {
            Ok::<_, Infallible>(Response::new(Page))
        }))
}

fn main() {
    site();
}
