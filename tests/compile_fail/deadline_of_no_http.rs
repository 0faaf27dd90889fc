//~ `String` is not an HTTP request

use tower::{Service, ServiceBuilder, service_fn};

fn orders() -> impl Service<String> {
    ServiceBuilder::new()
        .layer(mainstay::http::DeadlineLayer::new())
        .service(service_fn(async |_: String| Ok::<_, std::io::Error>(())))
}

fn main() {
    orders();
}
