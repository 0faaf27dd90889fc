//~ `MyError` cannot carry a mainstay rejection
//~ write: `impl mainstay::Plain for MyError {}`

use http::{Request, Response};
use tower::service_fn;

#[derive(Debug)]
struct MyError;

fn main() {
    let stack = mainstay::http::client("payments").build().unwrap();
    let _ = stack.wrap(service_fn(async |_: Request<String>| {
        Err::<Response<String>, _>(MyError)
    }));
}
