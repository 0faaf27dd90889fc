//~ `String` is not an HTTP request
//~ for others, a client of reqwest among them, use `mainstay::TimeoutLayer::new(..)`

use tower::{Service, ServiceBuilder, service_fn};

fn orders() -> impl Service<String> {
    ServiceBuilder::new()
        .layer(mainstay::http::timeout().build().unwrap())
        .service(service_fn(async |_: String| Ok::<_, std::io::Error>(())))
}

fn main() {
    orders();
}
