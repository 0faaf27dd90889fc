//~ make the body with a closure: `RespondLayer::new().body_with(|json: Bytes| ...)`

use http::{Request, Response};
use mainstay::{BulkheadLayer, RespondLayer};
use std::convert::Infallible;
use tower::{Service, ServiceBuilder, service_fn};

struct Page;

fn site() -> impl Service<Request<()>> {
    ServiceBuilder::new()
        .layer(RespondLayer::new())
        .layer(BulkheadLayer::new(8))
        .service(service_fn(async |_: Request<()>| {
            Ok::<_, Infallible>(Response::new(Page))
        }))
}

fn main() {
    site();
}
