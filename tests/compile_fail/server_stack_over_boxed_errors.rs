//~ answer other errors with a closure: `RespondLayer::new().map_error(|error: ...| -> http::Response<_> { ... })`
//~ with a standard stack, put that layer between the stack and the service that fails

use axum::{Router, routing::get};
use std::time::Duration;
use tower::{ServiceBuilder, timeout::TimeoutLayer};

fn main() {
    let _: Router = Router::new().route("/", get(async || "hello")).layer(
        ServiceBuilder::new()
            .layer(mainstay::http::server("site").build().unwrap())
            .layer(TimeoutLayer::new(Duration::from_secs(1))),
    );
}
