//~ write: `impl mainstay::Plain for MyError {}`
//~ with a standard stack, put that layer between the stack and the service that fails

use http::{Request, Response};
use tower::{Service, service_fn};

#[derive(Debug)]
struct MyError;

fn site() -> impl Service<Request<()>> {
    let stack = mainstay::http::server("site").build().unwrap();
    stack.wrap(service_fn(async |_: Request<()>| {
        Err::<Response<String>, _>(MyError)
    }))
}

fn main() {
    site();
}
