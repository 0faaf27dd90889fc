//~ expected closure signature
//~ mainstay::Error<std::io::Error>

use mainstay::RetryLayer;
use std::io;
use tower::{Service, ServiceBuilder, service_fn};

fn orders() -> impl Service<String> {
    let retry = RetryLayer::builder()
        .retry_if(|_: &String, result: Result<&(), &io::Error>| result.is_err())
        .build()
        .unwrap();
    ServiceBuilder::new()
        .layer(retry)
        .service(service_fn(async |_: String| Ok::<_, io::Error>(())))
}

fn main() {
    orders();
}
