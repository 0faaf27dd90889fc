//! Bodies that are polled and dropped within a scope: a context, or a correlation ID with its span.

use std::fmt;
use std::pin::Pin;
use std::task;

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::layers::correlation::InCorrelation;
use crate::runtime::scoped::Scope;
use crate::vocabulary::context::Context;

pin_project! {
    struct ScopedBody<B, S>
    where
        S: Scope,
    {
        // `None` if empty, and while it is dropped.
        #[pin]
        body: Option<B>,
        scope: Option<S>,
    }

    impl<B, S> PinnedDrop for ScopedBody<B, S>
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

/// Defines a public body around a [`ScopedBody`], which stays private.
macro_rules! scoped_body {
    ($(#[$attribute:meta])* pub struct $name:ident<B> in $scope:ty) => {
        pin_project! {
            $(#[$attribute])*
            pub struct $name<B> {
                #[pin]
                inner: ScopedBody<B, $scope>,
            }
        }

        impl<B: Body> $name<B> {
            #[inline]
            pub(crate) fn within(body: B, scope: $scope) -> Self {
                let scope = (!body.is_end_stream()).then_some(scope);
                let body = Some(body);
                Self {
                    inner: ScopedBody { body, scope },
                }
            }
        }

        impl<B> $name<B> {
            /// A body without a scope.
            pub(crate) fn outside(body: B) -> Self {
                let (body, scope) = (Some(body), None);
                Self {
                    inner: ScopedBody { body, scope },
                }
            }
        }

        impl<B: Body> Body for $name<B> {
            type Data = B::Data;
            type Error = B::Error;

            #[inline]
            fn poll_frame(
                self: Pin<&mut Self>,
                cx: &mut task::Context<'_>,
            ) -> task::Poll<Option<Result<Frame<B::Data>, B::Error>>> {
                let this = self.project().inner.project();
                let _entered = this.scope.enter();
                match this.body.as_pin_mut() {
                    Some(body) => body.poll_frame(cx),
                    None => task::Poll::Ready(None),
                }
            }

            #[inline]
            fn is_end_stream(&self) -> bool {
                self.inner.body.as_ref().is_none_or(Body::is_end_stream)
            }

            #[inline]
            fn size_hint(&self) -> SizeHint {
                match &self.inner.body {
                    Some(body) => body.size_hint(),
                    None => SizeHint::with_exact(0),
                }
            }
        }

        impl<B> Default for $name<B> {
            /// An empty body.
            fn default() -> Self {
                let (body, scope) = (None, None);
                Self {
                    inner: ScopedBody { body, scope },
                }
            }
        }

        impl<B: fmt::Debug> fmt::Debug for $name<B> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("body", &self.inner.body)
                    .finish_non_exhaustive()
            }
        }
    };
}

scoped_body! {
    /// A body that is polled and dropped within the [`Context`] of its request.
    ///
    /// The context of a request ends with the future of its service, before the response body runs.
    /// This body keeps the context, so that its log lines and calls have the request's correlation
    /// ID.
    ///
    /// Wrap a body yourself if it needs a deadline, or runs elsewhere. For the correlation ID and
    /// the span of a request, [`CorrelationLayer::server()`](crate::CorrelationLayer::server) wraps
    /// each response body in an [`InCorrelationBody`].
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
    pub struct InContextBody<B> in Context
}

impl<B: Body> InContextBody<B> {
    /// Wraps a body in a context.
    #[must_use]
    pub fn new(body: B, context: Context) -> Self {
        Self::within(body, context)
    }
}

scoped_body! {
    /// A response body that is polled and dropped with the correlation ID of its request, and within
    /// its span (feature `tracing`).
    ///
    /// [`CorrelationLayer::server()`](crate::CorrelationLayer::server) wraps each response body in
    /// one. Otherwise it is like an [`InContextBody`].
    pub struct InCorrelationBody<B> in InCorrelation
}
