//~ `impl mainstay::http::ReplayBody for Json`

use http::{Request, Response};
use tower::{Service, ServiceBuilder, service_fn};

struct Json;

fn orders() -> impl Service<Request<Json>> {
    ServiceBuilder::new()
        .layer(mainstay::http::retry().build().unwrap())
        .service(service_fn(async |_: Request<Json>| {
            Ok::<_, std::io::Error>(Response::new(()))
        }))
}

fn main() {
    orders();
}
