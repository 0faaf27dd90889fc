//~ the trait `Clone` is not implemented for `BoxService<String, (), std::io::Error>`

use mainstay::RetryLayer;
use std::io;
use tower::{Service, ServiceBuilder, util::BoxService};

fn orders(inner: BoxService<String, (), io::Error>) -> impl Service<String> {
    ServiceBuilder::new()
        .layer(RetryLayer::new())
        .service(inner)
}

fn main() {
    let _ = orders;
}
