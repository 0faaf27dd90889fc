//~ `BulkheadLayer` does not refine this layer of a standard stack
//~ `CircuitBreakerLayer` does not refine
//~ `RetryLayer<HttpRetry>` does not refine
//~ a builder of the layer, before `build()`: `mainstay::http::bulkhead().limit(64)`, say

use mainstay::{BulkheadLayer, CircuitBreakerLayer};

fn main() {
    let _ = mainstay::http::client("payments")
        .bulkhead(BulkheadLayer::new(3))
        .circuit_breaker(CircuitBreakerLayer::new())
        .retry(mainstay::http::retry().build().unwrap());
}
