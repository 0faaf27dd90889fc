//~ it knows for `mainstay::Error<E>`, `BoxError` and (feature `tonic`) `tonic::Status`
//~ use `.map_err(mainstay::Error::from)`

use http::{Request, Response};
use mainstay::RespondLayer;
use std::io;
use tower::{Service, ServiceBuilder, service_fn};

fn site() -> impl Service<Request<()>> {
    ServiceBuilder::new()
        .layer(RespondLayer::new().map_error(|_: io::Error| Response::new(String::new())))
        .service(service_fn(async |_: Request<()>| {
            Ok::<_, io::Error>(Response::new(String::new()))
        }))
}

fn main() {
    site();
}
