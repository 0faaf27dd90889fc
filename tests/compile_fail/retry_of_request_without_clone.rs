//~ for others, use `RetryBuilder::decide_cloning`

use mainstay::RetryLayer;
use tower::{Service, ServiceBuilder, service_fn};

struct Upload;

fn orders() -> impl Service<Upload> {
    ServiceBuilder::new()
        .layer(RetryLayer::new())
        .service(service_fn(async |_: Upload| Ok::<_, std::io::Error>(())))
}

fn main() {
    orders();
}
