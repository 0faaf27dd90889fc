//! The least that a layer can do that gives requests an ID: what every stack that does so costs at least.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{HeaderName, HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use tower::Service;
use uuid::Uuid;

static NAME: HeaderName = HeaderName::from_static("x-request-id");

/// Takes the ID that came, or makes one, and writes it to both heads, the second time without a copy. Nothing else: it checks nothing, knows no
/// context, and leaves the body as it is.
#[derive(Clone)]
pub(crate) struct WithId<S>(pub(crate) S);

impl<S, A, B> Service<Request<A>> for WithId<S>
where
    S: Service<Request<A>, Response = Response<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = WithIdFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        let came = request.headers().get(&NAME).cloned();
        let id = came.or_else(|| {
            let id = Uuid::from_u128(rand::random()).hyphenated();
            let id = HeaderValue::from_str(id.encode_lower(&mut [0; 36])).ok()?;
            request.headers_mut().insert(NAME.clone(), id.clone());
            Some(id)
        });
        WithIdFuture {
            inner: self.0.call(request),
            id,
        }
    }
}

pin_project! {
    pub(crate) struct WithIdFuture<F> {
        #[pin]
        inner: F,
        id: Option<HeaderValue>,
    }
}

impl<F, B, E> Future for WithIdFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut result = ready!(this.inner.poll(cx));
        if let (Ok(response), Some(id)) = (&mut result, this.id.take()) {
            response.headers_mut().insert(NAME.clone(), id);
        }
        Poll::Ready(result)
    }
}
