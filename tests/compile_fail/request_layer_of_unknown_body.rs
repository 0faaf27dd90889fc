//~ outside of the layer that changes the body, add `.with_request_layer(MapResponseLayer::new(|response: http::Response<_>| response.map(axum::body::Body::new)))`

use axum::{Router, routing::get};
use tower_http::compression::CompressionLayer;

fn main() {
    let stack = mainstay::http::server("site")
        .with_request_layer(CompressionLayer::new())
        .build()
        .unwrap();
    let _: Router = Router::new().route("/", get(async || "hello")).layer(stack);
}
