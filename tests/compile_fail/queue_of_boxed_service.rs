//~ the trait `Clone` is not implemented for `BoxService<String, (), std::io::Error>`

use mainstay::BulkheadLayer;
use std::{io, time::Duration};
use tower::{Service, ServiceBuilder, util::BoxService};

fn orders(inner: BoxService<String, (), io::Error>) -> impl Service<String> {
    let bulkhead = BulkheadLayer::builder()
        .queue(8, Duration::from_secs(1))
        .build()
        .unwrap();
    ServiceBuilder::new().layer(bulkhead).service(inner)
}

fn main() {
    let _ = orders;
}
