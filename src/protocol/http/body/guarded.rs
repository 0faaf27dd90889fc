//! A response body that settles and releases its call.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::call::permit::ErasedPermit;
use crate::protocol::http::end::End;
use crate::vocabulary::outcome::FAILED;
use crate::vocabulary::outcome::{Outcome, Verdict};

/// A call after the head of its response: its permit, and its outcome if that is still open.
#[derive(Debug)]
pub(crate) struct Rest {
    held: ErasedPermit,
    /// The rule for the end, if the head did not decide.
    end: Option<End>,
    has_data: bool,
}

impl Rest {
    pub(crate) fn new(held: ErasedPermit, end: Option<End>) -> Self {
        Self {
            held,
            end,
            has_data: false,
        }
    }

    /// Call it before the body is polled.
    #[inline]
    pub(crate) fn enter(&mut self) {
        self.held.enter();
    }

    /// Call it after the body was polled, with the result. Returns whether the call is over.
    #[inline]
    pub(crate) fn left<D, E>(
        &mut self,
        polled: &Poll<Option<Result<Frame<D>, E>>>,
        ended: impl FnOnce() -> bool,
    ) -> bool {
        // Before `leave`: `ended` is the body's own code, too, and may panic.
        let ended =
            matches!(polled, Poll::Ready(Some(Ok(frame))) if !frame.is_trailers()) && ended();
        self.held.leave();
        match polled {
            Poll::Pending => return false,
            Poll::Ready(Some(Ok(frame))) => match frame.trailers_ref() {
                Some(trailers) => self.settle(|end| end.of_trailers(trailers)),
                None if ended => self.settle(End::of_end),
                None => {
                    self.has_data = true;
                    return false;
                }
            },
            Poll::Ready(None) => self.settle(End::of_end),
            Poll::Ready(Some(Err(_))) => self.settle(|_| FAILED),
        }
        true
    }

    fn settle(&mut self, verdict: impl FnOnce(End) -> Verdict) {
        let Some(end) = self.end.take() else {
            return;
        };
        let verdict = self.held.adjusted(verdict(end));
        // A message is an answer: a call cancelled after it counts as one whose body was dropped.
        if !(self.has_data && verdict.outcome() == Outcome::Cancelled) {
            self.held.settle(verdict);
        }
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        // A panic of the body stays a panic.
        if !self.held.is_entered()
            && let Some(verdict) = self.end.and_then(|end| end.of_drop(self.has_data))
        {
            self.held.settle(verdict);
        }
    }
}

pin_project! {
    /// A response body that reports to a layer when its call ends, and with which outcome.
    ///
    /// It passes every frame on unchanged. At the last frame, at an error, or when it is dropped,
    /// it settles the call (unless the head did) and releases the call's permit.
    pub struct GuardedBody<B> {
        // Dropped first, so that the work ends before its permit is released.
        #[pin]
        body: B,
        rest: Option<Rest>,
    }
}

impl<B> GuardedBody<B> {
    #[inline]
    pub(crate) fn new(body: B, rest: Option<Rest>) -> Self {
        Self { body, rest }
    }

    /// The inner body.
    pub fn get_ref(&self) -> &B {
        &self.body
    }
}

impl<B: Body> Body for GuardedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let Some(rest) = this.rest else {
            return this.body.poll_frame(cx);
        };
        rest.enter();
        let polled = this.body.as_mut().poll_frame(cx);
        if rest.left(&polled, || this.body.is_end_stream()) {
            *this.rest = None;
        }
        polled
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body that belongs to no call.
impl<B: Default> Default for GuardedBody<B> {
    fn default() -> Self {
        Self::new(B::default(), None)
    }
}

impl<B: fmt::Debug> fmt::Debug for GuardedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GuardedBody").field(&self.body).finish()
    }
}
