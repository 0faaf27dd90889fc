//~ the trait `Clone` is not implemented for `BoxService<

use http::{Request, Response};
use std::io;
use tower::util::BoxService;

fn payments(inner: BoxService<Request<String>, Response<String>, io::Error>) {
    let stack = mainstay::http::client("payments").build().unwrap();
    let _ = stack.wrap(inner);
}

fn main() {
    let _ = payments;
}
