//~ begin with the layer itself: `mainstay::CircuitBreakerLayer::builder()`

use tower::{Service, ServiceBuilder, service_fn};

fn orders() -> impl Service<String> {
    ServiceBuilder::new()
        .layer(mainstay::http::circuit_breaker().build().unwrap())
        .service(service_fn(async |_: String| Ok::<_, std::io::Error>(())))
}

fn main() {
    orders();
}
