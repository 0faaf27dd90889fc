//~ type annotations needed

use axum::Router;

fn main() {
    let stack = mainstay::http::client("site").build().unwrap();
    let _ = stack.wrap(Router::new());
}
