//! A response's body within its deadline, and with a limit.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::body_watch::{Limits, Watched};
use super::early::Early;
use crate::protocol::respond::RejectionBody;
use crate::runtime::Moment;
use crate::vocabulary::context::{self, Deadline, DeadlineScope};
use crate::vocabulary::error::BoxError;

/// The body of a response behind [`http::timeout`](super::timeout): it works within the request's deadline, and is ended when it takes
/// too long or makes no progress.
///
/// # When it is ended
///
/// - With [`whole_body`](crate::timeout::TimeoutBuilder::whole_body), at the deadline. In gRPC,
///   where a limit is one of the whole call, at each limit that somebody set, here or at the
///   caller. A default limit ends no body.
/// - On a server, when nothing was taken from it for [`body_idle`](crate::timeout::TimeoutBuilder::body_idle): its source gives nothing,
///   or its client does not read, which is found out although the server then never asks for the body. Frames of [`Bytes`] that are larger than 64 KiB are
///   handed on in pieces of that size, without copying, so that a slow wire shows progress; a frame of another type is progress only
///   when it is taken. Server-sent events (`text/event-stream`) and gRPC streams may be silent for as long as they like: they are ended
///   only when their client does not read, which is found out within twice the time.
/// - On a client ([`for_client`](crate::timeout::TimeoutBuilder::for_client)), when its source has been silent for that long while its reader waited. A reader that works on
///   a piece for ten minutes loses nothing. Server-sent events and gRPC streams are not ended for being silent.
///
/// The inner body is dropped then and there, within the [`Context`](crate::Context) that there was at the head, which frees what it holds, also
/// when nobody reads. Who reads on gets a [`Rejection`](crate::Rejection) with [`Reason::TimedOut`](crate::Reason::TimedOut) as the error,
/// or from a gRPC response trailers that say `DEADLINE_EXCEEDED`. An observer is told, within the same context, in the thread that drives the time.
///
/// A body that is at its end together with its head is left alone, and so is that of a 101, which is no longer HTTP.
///
/// # When it begins
///
/// With its head: the body is asked for its first two frames at once, in the task of the call. One that is ready with all it has, as the answer
/// to a unary call of gRPC is, is dropped before anybody reads, and then nothing is held.
///
/// # Panics
///
/// At the head, outside of a tokio runtime with time enabled, where the body has to wait or has more than two frames.
///
/// # Cost
///
/// Nothing is allocated for a body that is ready at once with its one or two frames. Any other costs two allocations, a third within a span, and
/// a timer; then each frame one reading of the clock and two uncontended locks. The inner body is moved when it is read, so keep large ones in
/// a box, as axum's and tonic's are.
pub struct TimedBody<B: Body> {
    inner: Inner<B>,
    deadline: Moment,
}

#[allow(
    clippy::large_enum_variant,
    reason = "a body that is ready at once is to need no memory"
)]
enum Inner<B: Body> {
    /// Without a limit.
    Alone(B),
    /// All that there was at the head; the body itself is gone.
    Kept(Early<B::Data>),
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
        let mut early = Early::new(&body.size_hint());
        // Two, because that is what a unary call of gRPC has.
        let more = loop {
            let Poll::Ready(next) = Pin::new(&mut body).poll_frame(cx) else {
                break true;
            };
            let last = match &next {
                Some(Ok(frame)) => frame.is_trailers() || body.is_end_stream(),
                _ => true,
            };
            if let Some(frame) = next {
                early.push(frame.map_err(Into::into));
            }
            if last || early.is_full() {
                break !last;
            }
        };
        let inner = if more {
            Inner::Watched(Watched::new(body, early, limits))
        } else {
            // Within the deadline still.
            drop(body);
            Inner::Kept(early)
        };
        Self { inner, deadline }
    }
}

#[cfg(feature = "reqwest")]
impl<B: Body> TimedBody<B> {
    /// The body that it was made of, where nothing limits it; else what this makes of it.
    pub(crate) fn untimed_or(mut self, wrap: impl FnOnce(Self) -> B) -> B {
        if self.deadline != Moment::NEVER {
            return wrap(self);
        }
        match std::mem::replace(&mut self.inner, Inner::Over) {
            Inner::Alone(body) => body,
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
            Inner::Alone(body) => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(Into::into))),
            Inner::Kept(early) => {
                let next = early.take();
                if early.is_empty() {
                    self.inner = Inner::Over;
                }
                Poll::Ready(next)
            }
            Inner::Watched(watched) => watched.poll_frame(cx),
            Inner::Over => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Alone(body) => body.is_end_stream(),
            Inner::Kept(_) => false,
            Inner::Watched(watched) => watched.is_end_stream(),
            Inner::Over => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Alone(body) => body.size_hint(),
            Inner::Kept(early) => early.size_hint(&SizeHint::with_exact(0)),
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

/// An empty body, whatever the inner body's type can do: generated code asks for it, such as a stub's `with_interceptor`.
impl<B: Body> Default for TimedBody<B> {
    fn default() -> Self {
        Self {
            inner: Inner::Over,
            deadline: Moment::NEVER,
        }
    }
}

/// The text is a frame that it has at once, so the inner body may be of any type.
impl<B: Body<Data: From<Bytes>>> RejectionBody for TimedBody<B> {
    fn from_bytes(bytes: Bytes) -> Self {
        let mut body = Self::default();
        if !bytes.is_empty() {
            let mut early = Early::default();
            early.push(Ok(Frame::data(bytes.into())));
            body.inner = Inner::Kept(early);
        }
        body
    }
}

impl<B: Body> fmt::Debug for TimedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimedBody").finish_non_exhaustive()
    }
}
