//~ put the body into a box of http-body-util (mainstay's feature `hyper`): `request.map(http_body_util::BodyExt::boxed_unsync)`

use http::{Request, Response};
use tower::{Service, service_fn};
use tower_http::body::UnsyncBoxBody;

type Foreign = UnsyncBoxBody<bytes::Bytes, std::io::Error>;

fn orders() -> impl Service<Request<Foreign>> {
    let stack = mainstay::http::client("orders").build().unwrap();
    stack.wrap(service_fn(async |_: Request<Foreign>| {
        Ok::<_, std::io::Error>(Response::new(String::new()))
    }))
}

fn main() {
    orders();
}
