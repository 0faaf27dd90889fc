//~ no method named `wrap` found for enum `Result<T, E>`
//~ is not implemented for `Result<ServerStack, ConfigError>`

use axum::{Router, routing::get};

fn main() {
    let _ = mainstay::reqwest::client("payments")
        .build()
        .wrap(reqwest::Client::new());
    let _: Router = Router::new()
        .route("/", get(async || "hello"))
        .layer(mainstay::http::server("site").build());
}
