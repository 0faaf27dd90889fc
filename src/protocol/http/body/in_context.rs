//! A body that is polled and dropped within a scope.

use std::fmt;
use std::pin::Pin;
use std::task;

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::runtime::scoped::Scope;
use crate::vocabulary::context::Context;

pin_project! {
    /// A body that is polled and dropped within the [`Context`] of its request.
    ///
    /// The context of a request ends with the future of its service, before the response body runs.
    /// This body keeps the context, so that its log lines and calls have the request's correlation
    /// ID.
    ///
    /// [`CorrelationLayer::server()`](crate::CorrelationLayer::server) wraps each response body in
    /// one, with the ID and the span of the request. Wrap a body yourself if it runs elsewhere or
    /// needs a deadline, too.
    ///
    /// ```
    /// use http_body_util::{BodyExt, StreamBody};
    /// use mainstay::{Context, http::InContextBody};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let chunks = futures::stream::iter([()]).map(|()| {
    ///     let id = Context::current().correlation_id().unwrap().to_string();
    ///     Ok::<_, std::convert::Infallible>(http_body::Frame::data(bytes::Bytes::from(id)))
    /// });
    /// let context = Context::current().with_correlation_id("order-4711".parse().unwrap());
    /// let body = InContextBody::new(StreamBody::new(chunks), context);
    ///
    /// assert_eq!(body.collect().await.unwrap().to_bytes(), "order-4711");
    /// # }
    /// # use futures::StreamExt as _;
    /// ```
    ///
    /// Frames, sizes and errors are those of the inner body. A body that is already at its end
    /// drops the context. `Default` is an empty body. It implements
    /// [`RejectionBody`](crate::respond::RejectionBody) if the inner body does.
    ///
    /// # Cancellation
    ///
    /// Dropping it drops the inner body, within the context.
    pub struct InContextBody<B, S = Context>
    where
        S: Scope,
    {
        // `None` if empty, and while it is dropped.
        #[pin]
        body: Option<B>,
        scope: Option<S>,
    }

    impl<B, S> PinnedDrop for InContextBody<B, S>
    where
        S: Scope,
    {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let _entered = this.scope.enter();
            this.body.set(None);
        }
    }
}

impl<B: Body> InContextBody<B> {
    /// Wraps a body in a context.
    #[must_use]
    pub fn new(body: B, context: Context) -> Self {
        Self::within(body, context)
    }
}

impl<B, S: Scope> InContextBody<B, S> {
    #[inline]
    pub(crate) fn within(body: B, scope: S) -> Self
    where
        B: Body,
    {
        let scope = (!body.is_end_stream()).then_some(scope);
        Self {
            body: Some(body),
            scope,
        }
    }

    /// A body without a scope.
    pub(crate) fn outside(body: B) -> Self {
        Self {
            body: Some(body),
            scope: None,
        }
    }
}

impl<B: Body, S: Scope> Body for InContextBody<B, S> {
    type Data = B::Data;
    type Error = B::Error;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
    ) -> task::Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let _entered = this.scope.enter();
        match this.body.as_pin_mut() {
            Some(body) => body.poll_frame(cx),
            None => task::Poll::Ready(None),
        }
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Some(body) => body.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

impl<B, S: Scope> Default for InContextBody<B, S> {
    /// An empty body without a context.
    fn default() -> Self {
        Self {
            body: None,
            scope: None,
        }
    }
}

impl<B: fmt::Debug, S: Scope> fmt::Debug for InContextBody<B, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InContextBody")
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}
