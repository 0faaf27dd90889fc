//~ the method `ready` exists for struct
//~ no method named `call` found for struct
//~ but its trait bounds were not satisfied

use mainstay::TimeoutLayer;
use std::time::Duration;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

struct MyError;

fn main() {
    let mut stack = ServiceBuilder::new()
        .layer(TimeoutLayer::new(Duration::from_secs(1)))
        .service(service_fn(async |_: String| Err::<(), _>(MyError)));
    let _ = stack.ready();
    let _ = stack.call(String::new());
}
