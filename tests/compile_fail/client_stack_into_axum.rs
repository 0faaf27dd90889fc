//~ the trait bound `Infallible: From<Rejection>` is not satisfied

use axum::{Router, routing::get};

fn main() {
    let _: Router = Router::new()
        .route("/", get(async || "hello"))
        .layer(mainstay::http::client("site").build().unwrap());
}
