//~ expected closure signature
//~ mainstay::Error<std::io::Error>

use mainstay::{CircuitBreakerLayer, Outcome};
use std::io;
use tower::{Service, ServiceBuilder, service_fn};

fn judge(result: Result<&(), &io::Error>) -> Outcome {
    match result {
        Ok(()) => Outcome::Success,
        Err(_) => Outcome::Failure,
    }
}

fn orders() -> impl Service<String> {
    let breaker = CircuitBreakerLayer::builder()
        .classify(|result: Result<&(), &io::Error>| judge(result))
        .build()
        .unwrap();
    ServiceBuilder::new()
        .layer(breaker)
        .service(service_fn(async |_: String| Ok::<_, io::Error>(())))
}

fn main() {
    orders();
}
