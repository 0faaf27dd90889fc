//! What there is of a watched body.

use std::any::Any;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame, SizeHint};

use super::Polled;
use crate::protocol::http::early::Early;
use crate::vocabulary::error::BoxError;

/// Large frames are handed on in pieces of so many bytes.
const PIECE: usize = 64 * 1024;

/// Whether large frames are handed on in pieces. A sender asks for the next piece when the wire has room, so that a slow wire shows
/// progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pieces {
    Small,
    Whole,
}

/// A body and the frames of it that were read before. It is used outside of the lock only, because its methods run user code.
pub(super) struct Content<B: Body> {
    body: B,
    /// What came at the head.
    early: Early<B::Data>,
    /// The rest of a large frame.
    rest: Option<B::Data>,
}

impl<B: Body> Content<B> {
    pub(super) fn new(body: B, early: Early<B::Data>) -> Self {
        Self {
            body,
            early,
            rest: None,
        }
    }

    fn is_empty(&self) -> bool {
        self.rest.is_none() && self.early.is_empty()
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.is_empty() && self.body.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let hint = self.early.size_hint(&self.body.size_hint());
        let rest = self.rest.as_ref().map_or(0, |rest| rest.remaining() as u64);
        longer(&hint, rest)
    }

    /// The next frame of those that were read before.
    pub(super) fn next_kept(&mut self, pieces: Pieces) -> Option<Result<Frame<B::Data>, BoxError>>
    where
        B::Data: 'static,
    {
        let next = match self.rest.take() {
            Some(rest) => Ok(Frame::data(rest)),
            None => self.early.take()?,
        };
        Some(next.map(|frame| self.piece(frame, pieces)))
    }

    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>, pieces: Pieces) -> Polled<B::Data>
    where
        B: Body<Data: 'static, Error: Into<BoxError>> + Unpin,
    {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        polled.map(|next| {
            next.map(|next| match next {
                Ok(frame) => Ok(self.piece(frame, pieces)),
                Err(error) => Err(error.into()),
            })
        })
    }

    /// Whether this was the last of the body. It stays until all of it is taken: what it holds is still in use.
    pub(super) fn is_over_after(&self, polled: &Polled<B::Data>) -> bool {
        match polled {
            _ if !self.is_empty() => false,
            Poll::Ready(Some(Ok(frame))) => frame.is_trailers() || self.body.is_end_stream(),
            Poll::Ready(_) => true,
            Poll::Pending => false,
        }
    }

    /// The first piece of a large frame; the rest is kept.
    fn piece(&mut self, frame: Frame<B::Data>, pieces: Pieces) -> Frame<B::Data>
    where
        B::Data: 'static,
    {
        if pieces == Pieces::Whole {
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

/// A hint of so many bytes more.
fn longer(hint: &SizeHint, by: u64) -> SizeHint {
    let mut longer = SizeHint::new();
    if let Some(upper) = hint.upper() {
        longer.set_upper(upper.saturating_add(by));
    }
    longer.set_lower(hint.lower().saturating_add(by));
    longer
}
