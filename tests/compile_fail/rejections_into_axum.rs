//~ the trait bound `Infallible: From<Rejection>` is not satisfied

use axum::{Router, routing::get};
use mainstay::BulkheadLayer;

fn main() {
    let _: Router = Router::new()
        .route("/", get(async || "hello"))
        .layer(BulkheadLayer::new(8));
}
