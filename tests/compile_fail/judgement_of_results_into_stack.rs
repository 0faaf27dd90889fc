//~ a standard stack cannot classify responses by a `AtResponse<Arc<ClassifyFn<
//~ it accepts `classify_head(|head| ...)`, or `tracker(EndOfBody::new(classifier))` with a `ClassifyEnd` that is `Send`, `Sync` and `'static`
//~ a standard stack cannot classify responses by a `AtResponse<HttpClassifier>`
//~ nor a bulkhead with a classifier

use mainstay::http::EndOfBody;
use mainstay::{CircuitBreakerLayer, Error, Outcome};

fn main() {
    let by_result = |_: Result<&http::Response<()>, &Error<std::io::Error>>| Outcome::Success;
    let _ = mainstay::http::client("payments")
        .circuit_breaker(CircuitBreakerLayer::builder().classify(by_result));
    let _ = mainstay::http::server("orders").load_shed(mainstay::http::load_shed().until_head());
    let judge = std::sync::Arc::new(mainstay::http::classify(|_| Outcome::Success));
    let _ = mainstay::http::client("payments")
        .bulkhead(mainstay::http::bulkhead().tracker(EndOfBody::new(judge)));
}
