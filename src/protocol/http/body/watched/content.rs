//! The frames of a watched body.

use std::any::Any;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame, SizeHint};

use super::Polled;
use crate::protocol::http::body::prefetched::Prefetched;
use crate::vocabulary::error::BoxError;

/// The size of the pieces of a large frame, in bytes.
const PIECE: usize = 64 * 1024;

/// Whether large frames are split. A sender polls for the next piece when the connection has room,
/// so that a slow connection shows progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frames {
    Split,
    Whole,
}

/// A body and its frames that were read ahead. Its methods run user code, so it is used outside of
/// the lock only.
pub(super) struct Content<B: Body> {
    body: B,
    prefetched: Prefetched<B::Data>,
    /// The rest of a large frame.
    rest: Option<B::Data>,
}

impl<B: Body> Content<B> {
    pub(super) fn new(body: B, prefetched: Prefetched<B::Data>) -> Self {
        Self {
            body,
            prefetched,
            rest: None,
        }
    }

    fn is_empty(&self) -> bool {
        self.rest.is_none() && self.prefetched.is_empty()
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.is_empty() && self.body.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let hint = self.prefetched.size_hint(&self.body.size_hint());
        let rest = self.rest.as_ref().map_or(0, |rest| rest.remaining() as u64);
        longer(&hint, rest)
    }

    /// The next frame that was read ahead.
    pub(super) fn next_ready(&mut self, frames: Frames) -> Option<Result<Frame<B::Data>, BoxError>>
    where
        B::Data: 'static,
    {
        let next = match self.rest.take() {
            Some(rest) => Ok(Frame::data(rest)),
            None => self.prefetched.take()?,
        };
        Some(next.map(|frame| self.split(frame, frames)))
    }

    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>, frames: Frames) -> Polled<B::Data>
    where
        B: Body<Data: 'static, Error: Into<BoxError>> + Unpin,
    {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        polled.map(|next| {
            next.map(|next| match next {
                Ok(frame) => Ok(self.split(frame, frames)),
                Err(error) => Err(error.into()),
            })
        })
    }

    /// Whether this was the last frame. The body stays until the reader has taken all of it.
    pub(super) fn is_over_after(&self, polled: &Polled<B::Data>) -> bool {
        match polled {
            _ if !self.is_empty() => false,
            Poll::Ready(Some(Ok(frame))) => frame.is_trailers() || self.body.is_end_stream(),
            Poll::Ready(_) => true,
            Poll::Pending => false,
        }
    }

    /// The first piece of a large frame. `self.rest` keeps the rest.
    fn split(&mut self, frame: Frame<B::Data>, frames: Frames) -> Frame<B::Data>
    where
        B::Data: 'static,
    {
        if frames == Frames::Whole {
            return frame;
        }
        frame.map_data(|mut data| {
            if let Some(bytes) = (&mut data as &mut dyn Any).downcast_mut::<Bytes>()
                && bytes.len() > PIECE
                && let Some(rest) = (&mut self.rest as &mut dyn Any).downcast_mut::<Option<Bytes>>()
            {
                *rest = Some(bytes.split_off(PIECE));
            }
            data
        })
    }
}

/// The hint plus `by` bytes.
fn longer(hint: &SizeHint, by: u64) -> SizeHint {
    let mut longer = SizeHint::new();
    if let Some(upper) = hint.upper() {
        longer.set_upper(upper.saturating_add(by));
    }
    longer.set_lower(hint.lower().saturating_add(by));
    longer
}
