//~ `String` is not an HTTP request
//~ for a request of another type, use `RetryBuilder::decide_cloning`

use tower::{Service, ServiceBuilder, service_fn};

fn orders() -> impl Service<String> {
    ServiceBuilder::new()
        .layer(mainstay::http::retry().build().unwrap())
        .service(service_fn(async |_: String| Ok::<_, std::io::Error>(())))
}

fn main() {
    orders();
}
