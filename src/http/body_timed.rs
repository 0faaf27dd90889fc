//! A response's body within its deadline, and with a limit.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::body_watch::{Limits, Watched};
use crate::BoxError;
use crate::context::{self, DeadlineScope};
use crate::respond::RejectionBody;
use crate::runtime::Moment;

/// The body of a response behind [`http::timeout`](super::timeout): it works within the request's deadline, and is ended when it takes
/// too long or makes no progress.
///
/// # When it is ended
///
/// - With [`whole_body`](crate::timeout::TimeoutBuilder::whole_body), at the deadline.
/// - When no frame was taken from it for [`body_idle`](crate::timeout::TimeoutBuilder::body_idle): its source gives nothing, or nobody reads. A
///   client that stops reading is found out although the server then never asks for the body. Server-sent events (`text/event-stream`) and
///   gRPC streams may be silent for as long as they like: they are ended only when nobody reads, which is found out within twice the time.
///
/// The inner body is dropped then and there, which frees what it holds, also when nobody reads. Who reads on gets a
/// [`Rejection`](crate::Rejection) with [`Reason::TimedOut`](crate::Reason::TimedOut) as the error, or from a gRPC response trailers that say `DEADLINE_EXCEEDED`.
///
/// A body that is at its end together with its head is left alone, and so is that of a 101, which is no longer HTTP.
///
/// # When it begins
///
/// With its head: the body is asked for its first frame at once, in the task of the call. One that is ready with all it has is dropped
/// before anybody reads, and then nothing is held.
///
/// # Panics
///
/// At the head, outside of a tokio runtime with time enabled, where the body has to wait or has more than one frame.
///
/// # Cost
///
/// Nothing is allocated for a body that is ready at once with its only frame. Any other costs two allocations and a timer; then each frame
/// one reading of the clock and two uncontended locks. The inner body is moved when it is read, so keep large ones in a box, as axum's and tonic's
/// are.
pub struct TimedBody<B: Body> {
    inner: Inner<B>,
    deadline: Moment,
}

enum Inner<B: Body> {
    /// Without a limit.
    Alone(B),
    /// All that there was at the head; the body itself is gone.
    Kept {
        frame: Option<Result<Frame<B::Data>, BoxError>>,
        hint: SizeHint,
    },
    Watched(Arc<Watched<B>>),
    Over,
}

impl<B: Body> TimedBody<B> {
    pub(super) fn alone(body: B, deadline: Moment) -> Self {
        Self {
            inner: Inner::Alone(body),
            deadline,
        }
    }
}

impl<B> TimedBody<B>
where
    B: Body<Data: Send, Error: Into<BoxError>> + Unpin + Send + 'static,
{
    pub(super) fn limited(mut body: B, limits: Limits, cx: &mut Context<'_>) -> Self {
        let deadline = limits.deadline;
        let _entered = enter(deadline);
        let hint = body.size_hint();
        let (frame, more) = match Pin::new(&mut body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let more = !frame.is_trailers() && !body.is_end_stream();
                (Some(Ok(frame)), more)
            }
            Poll::Ready(Some(Err(error))) => (Some(Err(error.into())), false),
            Poll::Ready(None) => (None, false),
            Poll::Pending => (None, true),
        };
        let inner = if more {
            let first = frame.and_then(Result::ok);
            Inner::Watched(Watched::new(body, first, hint, limits))
        } else {
            Inner::Kept { frame, hint }
        };
        Self { inner, deadline }
    }
}

fn enter(deadline: Moment) -> DeadlineScope {
    DeadlineScope::enter(deadline.min(context::deadline()))
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
            Inner::Alone(body) => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(Into::into))),
            Inner::Kept { frame, .. } => {
                let frame = frame.take();
                self.inner = Inner::Over;
                Poll::Ready(frame)
            }
            Inner::Watched(watched) => watched.poll_frame(cx),
            Inner::Over => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Alone(body) => body.is_end_stream(),
            Inner::Kept { .. } => false,
            Inner::Watched(watched) => watched.is_end_stream(),
            Inner::Over => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Alone(body) => body.size_hint(),
            Inner::Kept { hint, .. } => SizeHint::clone(hint),
            Inner::Watched(watched) => watched.size_hint(),
            Inner::Over => SizeHint::with_exact(0),
        }
    }
}

/// What is in it is pinned only where it may be moved.
impl<B: Body> Unpin for TimedBody<B> {}

impl<B: Body> Drop for TimedBody<B> {
    fn drop(&mut self) {
        let _entered = enter(self.deadline);
        if let Inner::Watched(watched) = &self.inner {
            // Its timer holds on to it.
            watched.close();
        }
        self.inner = Inner::Over;
    }
}

impl<B: Body + Default> Default for TimedBody<B> {
    fn default() -> Self {
        Self::alone(B::default(), Moment::NEVER)
    }
}

impl<B: Body + RejectionBody> RejectionBody for TimedBody<B> {
    fn from_bytes(bytes: Bytes) -> Self {
        Self::alone(B::from_bytes(bytes), Moment::NEVER)
    }
}

impl<B: Body> fmt::Debug for TimedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimedBody").finish_non_exhaustive()
    }
}
