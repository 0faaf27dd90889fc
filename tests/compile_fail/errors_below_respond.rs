//~ answer other errors with a closure: `RespondLayer::new().map_error(|error: ...| -> http::Response<_> { ... })`

use http::{Request, Response};
use mainstay::{BulkheadLayer, RespondLayer};
use tower::{Service, ServiceBuilder, service_fn};

fn site() -> impl Service<Request<()>> {
    ServiceBuilder::new()
        .layer(RespondLayer::new())
        .layer(BulkheadLayer::new(8))
        .service(service_fn(async |_: Request<()>| {
            Ok::<_, std::io::Error>(Response::new(String::new()))
        }))
}

fn main() {
    site();
}
