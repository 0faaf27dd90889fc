//~ write: `impl mainstay::Classify<u32, mainstay::Error<std::io::Error>> for Odd`

use mainstay::{CircuitBreakerLayer, Classify, Outcome, Verdict};
use std::io;
use tower::{Service, ServiceBuilder, service_fn};

struct Odd;

// The error that it gets is `mainstay::Error<io::Error>`.
impl Classify<u32, io::Error> for Odd {
    fn classify(&self, _: Result<&u32, &io::Error>) -> Verdict {
        Outcome::Success.into()
    }
}

fn numbers() -> impl Service<()> {
    ServiceBuilder::new()
        .layer(
            CircuitBreakerLayer::builder()
                .classifier(Odd)
                .build()
                .unwrap(),
        )
        .service(service_fn(async |()| Ok::<_, io::Error>(3_u32)))
}

fn main() {
    numbers();
}
