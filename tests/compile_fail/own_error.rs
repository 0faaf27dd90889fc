//~ `MyError` cannot carry a mainstay rejection
//~ write: `impl mainstay::Plain for MyError {}`

use mainstay::TimeoutLayer;
use std::time::Duration;
use tower::{ServiceBuilder, ServiceExt, service_fn};

struct MyError;

fn main() {
    let mut stack = ServiceBuilder::new()
        .layer(TimeoutLayer::new(Duration::from_secs(1)))
        .service(service_fn(async |_: String| Err::<(), _>(MyError)));
    let _ = ServiceExt::<String>::ready(&mut stack);
}
