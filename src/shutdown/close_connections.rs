//! Asks HTTP/1 callers to reconnect elsewhere.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, Version};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::state::State;

/// Adds `connection: close` to HTTP/1 responses once the shutdown has begun: see
/// [`Shutdown::close_connections`](super::Shutdown::close_connections).
#[derive(Clone)]
pub struct CloseConnectionsLayer(pub(super) Arc<State>);

impl<S> Layer<S> for CloseConnectionsLayer {
    type Service = CloseConnections<S>;

    fn layer(&self, inner: S) -> CloseConnections<S> {
        CloseConnections {
            inner,
            state: Arc::clone(&self.0),
        }
    }
}

/// The service of [`CloseConnectionsLayer`].
#[derive(Clone)]
pub struct CloseConnections<S> {
    inner: S,
    state: Arc<State>,
}

impl<S, B, C> Service<Request<B>> for CloseConnections<S>
where
    S: Service<Request<B>, Response = Response<C>>,
{
    type Response = Response<C>;
    type Error = S::Error;
    type Future = CloseConnectionsFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // In HTTP/2 the field is forbidden, and the server sends GOAWAY itself.
        let is_http_1 = request.version() <= Version::HTTP_11;
        CloseConnectionsFuture {
            inner: self.inner.call(request),
            state: is_http_1.then(|| Arc::clone(&self.state)),
        }
    }
}

pin_project! {
    /// The future of [`CloseConnections`].
    #[must_use = "futures do nothing unless polled"]
    pub struct CloseConnectionsFuture<F> {
        #[pin]
        inner: F,
        state: Option<Arc<State>>,
    }
}

impl<F, C, E> Future for CloseConnectionsFuture<F>
where
    F: Future<Output = Result<Response<C>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let mut result = ready!(this.inner.poll(cx));
        if let (Ok(response), Some(state)) = (&mut result, this.state)
            && state.has_begun()
            && response.status() != http::StatusCode::SWITCHING_PROTOCOLS
        {
            let close = HeaderValue::from_static("close");
            // Fails only in a map with 32 768 fields.
            let _ = response.headers_mut().try_insert(CONNECTION, close);
        }
        Poll::Ready(result)
    }
}

macro_rules! debug {
    ($($name:ident $(<$param:ident>)?),*) => {$(
        impl $(<$param>)? std::fmt::Debug for $name $(<$param>)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    )*};
}

debug!(
    CloseConnectionsLayer,
    CloseConnections<S>,
    CloseConnectionsFuture<F>
);
