//~ answer other errors with a closure: `RespondLayer::new().map_error(|error: ...| -> http::Response<_> { ... })`
//~ a `BoxError` mostly comes from a layer of tower

use axum::{Router, routing::get};
use mainstay::RespondLayer;
use std::time::Duration;
use tower::{ServiceBuilder, timeout::TimeoutLayer};

fn main() {
    let _: Router = Router::new().route("/", get(async || "hello")).layer(
        ServiceBuilder::new()
            .layer(RespondLayer::new())
            .layer(TimeoutLayer::new(Duration::from_secs(1))),
    );
}
