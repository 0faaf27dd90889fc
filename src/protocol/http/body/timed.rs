//! A response body with a deadline and an idle limit.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::prefetched::Prefetched;
use super::watched::{Limits, Watched};
use crate::protocol::respond::RejectionBody;
use crate::runtime::Moment;
use crate::vocabulary::context::{self, Deadline, DeadlineScope};
use crate::vocabulary::error::BoxError;

/// The response body of [`http::timeout`](crate::http::timeout()). It runs within the request's
/// deadline, and ends when it takes too long or makes no progress.
///
/// # When it ends a body
///
/// - At the deadline, with [`whole_body`](crate::timeout::TimeoutBuilder::whole_body). In gRPC,
///   where a limit covers the whole call, at any limit that was set, here or by the caller. A
///   default limit ends no body.
/// - On a server, when nobody took a frame for
///   [`body_idle`](crate::timeout::TimeoutBuilder::body_idle): either the source is silent, or the
///   client does not read. A timer detects the latter, because the server then no longer polls the
///   body. A frame of [`Bytes`] larger than 64 KiB is split into pieces of that size, without
///   copying, so that a slow connection shows progress. Event streams (`text/event-stream`) and
///   gRPC streams may be silent: they end only when their client does not read, within twice the
///   limit.
/// - On a client ([`for_client`](crate::timeout::TimeoutBuilder::for_client)), when the source was
///   silent for that long while the reader waited. A reader may work on a frame for any time. Event
///   streams and gRPC streams may be silent.
///
/// The inner body is dropped at once, even if nobody reads, within the [`Context`](crate::Context)
/// of the head. A reader then gets a [`Rejection`](crate::Rejection) with
/// [`Reason::TimedOut`](crate::Reason::TimedOut) as the error, or gRPC trailers with
/// `DEADLINE_EXCEEDED`. The observer runs within the same context, in the thread that drives the
/// timers.
///
/// An empty body and the body of a 101 have no limit.
///
/// # When it starts
///
/// At the head: it polls the body for its first two frames at once, in the task of the call. A body
/// that is complete after them, such as a unary gRPC response, is dropped before anybody reads it.
///
/// # Panics
///
/// At the head, outside of a tokio runtime with time enabled, if the body waits or has more than
/// two frames.
///
/// # Cost
///
/// Nothing is allocated for a body that is complete at once with one or two frames. Any other body
/// costs two allocations (three within a span) and a timer, and each frame one clock reading and
/// two uncontended locks. A read moves the inner body, so keep a large one in a box, as axum's and
/// tonic's are.
pub struct TimedBody<B: Body> {
    inner: Inner<B>,
    deadline: Moment,
}

#[allow(clippy::large_enum_variant, reason = "a short body must not allocate")]
enum Inner<B: Body> {
    Unlimited(B),
    /// The whole body was read at the head.
    Complete(Prefetched<B::Data>),
    Watched(Arc<Watched<B>>),
    Ended,
}

impl<B: Body> TimedBody<B> {
    pub(in crate::protocol::http) fn unlimited(body: B, deadline: Moment) -> Self {
        Self {
            inner: Inner::Unlimited(body),
            deadline,
        }
    }
}

impl<B> TimedBody<B>
where
    B: Body<Data: Send, Error: Into<BoxError>> + Unpin + Send + 'static,
{
    pub(in crate::protocol::http) fn limited(
        mut body: B,
        limits: Limits,
        cx: &mut Context<'_>,
    ) -> Self {
        let deadline = limits.deadline;
        let _entered = enter(deadline);
        let mut prefetched = Prefetched::new(&body.size_hint());
        // Two frames, because a unary gRPC response has two.
        let more = loop {
            let Poll::Ready(next) = Pin::new(&mut body).poll_frame(cx) else {
                break true;
            };
            let last = match &next {
                Some(Ok(frame)) => frame.is_trailers() || body.is_end_stream(),
                _ => true,
            };
            if let Some(frame) = next {
                prefetched.push(frame.map_err(Into::into));
            }
            if last || prefetched.is_full() {
                break !last;
            }
        };
        let inner = if more {
            Inner::Watched(Watched::new(body, prefetched, limits))
        } else {
            // Still within the deadline.
            drop(body);
            Inner::Complete(prefetched)
        };
        Self { inner, deadline }
    }
}

#[cfg(feature = "reqwest")]
impl<B: Body> TimedBody<B> {
    /// The inner body if it has no limit and no deadline, otherwise `wrap(self)`.
    pub(crate) fn unlimited_or(mut self, wrap: impl FnOnce(Self) -> B) -> B {
        if self.deadline != Moment::NEVER {
            return wrap(self);
        }
        match std::mem::replace(&mut self.inner, Inner::Ended) {
            Inner::Unlimited(body) => body,
            inner => {
                self.inner = inner;
                wrap(self)
            }
        }
    }
}

fn enter(deadline: Moment) -> DeadlineScope {
    DeadlineScope::enter(Deadline::foreign(deadline).and(context::deadline()))
}

impl<B> Body for TimedBody<B>
where
    B: Body<Data: Send, Error: Into<BoxError>> + Unpin + Send + 'static,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let _entered = enter(self.deadline);
        match &mut self.inner {
            Inner::Unlimited(body) => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(Into::into))),
            Inner::Complete(prefetched) => {
                let next = prefetched.take();
                if prefetched.is_empty() {
                    self.inner = Inner::Ended;
                }
                Poll::Ready(next)
            }
            Inner::Watched(watched) => watched.poll_frame(cx),
            Inner::Ended => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Unlimited(body) => body.is_end_stream(),
            Inner::Complete(_) => false,
            Inner::Watched(watched) => watched.is_end_stream(),
            Inner::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Unlimited(body) => body.size_hint(),
            Inner::Complete(prefetched) => prefetched.size_hint(&SizeHint::with_exact(0)),
            Inner::Watched(watched) => watched.size_hint(),
            Inner::Ended => SizeHint::with_exact(0),
        }
    }
}

/// The inner body is `Unpin` wherever it is polled.
impl<B: Body> Unpin for TimedBody<B> {}

impl<B: Body> Drop for TimedBody<B> {
    fn drop(&mut self) {
        let _entered = enter(self.deadline);
        if let Inner::Watched(watched) = &self.inner {
            // Its timer refers to it.
            watched.close();
        }
        self.inner = Inner::Ended;
    }
}

/// An empty body, without `B: Default`: generated code such as a stub's `with_interceptor` needs
/// it.
impl<B: Body> Default for TimedBody<B> {
    fn default() -> Self {
        Self {
            inner: Inner::Ended,
            deadline: Moment::NEVER,
        }
    }
}

/// The bytes become a prefetched frame, so the inner body may be of any type.
impl<B: Body<Data: From<Bytes>>> RejectionBody for TimedBody<B> {
    fn from_bytes(bytes: Bytes) -> Self {
        let mut body = Self::default();
        if !bytes.is_empty() {
            let mut prefetched = Prefetched::default();
            prefetched.push(Ok(Frame::data(bytes.into())));
            body.inner = Inner::Complete(prefetched);
        }
        body
    }
}

impl<B: Body> fmt::Debug for TimedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimedBody").finish_non_exhaustive()
    }
}
