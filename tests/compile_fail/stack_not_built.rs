//~ method not found in `mainstay::stack::ClientBuilder<Http>`
//~ is not implemented for `ServerBuilder`

use axum::{Router, routing::get};

fn main() {
    let _ = mainstay::reqwest::client("payments").wrap(reqwest::Client::new());
    let _: Router = Router::new()
        .route("/", get(async || "hello"))
        .layer(mainstay::http::server("site"));
}
