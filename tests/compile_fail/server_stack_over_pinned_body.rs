//~ is, in a box: `ServiceBuilder::map_response(|response: http::Response<_>| response.map(axum::body::Body::new))`

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use std::convert::Infallible;
use std::marker::PhantomPinned;
use std::pin::Pin;
use std::task::{Context, Poll};
use tower::{Service, service_fn};

struct Pinned(PhantomPinned);

impl Body for Pinned {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }
}

fn site() -> impl Service<Request<()>> {
    let stack = mainstay::http::server("site").build().unwrap();
    stack.wrap(service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(Pinned(PhantomPinned)))
    }))
}

fn main() {
    site();
}
