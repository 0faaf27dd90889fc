//! reqwest's body. No other crate can create its error, so its streams are recorded as [`Source`].

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{Kept, KeptBody};
use crate::policy::retry::RetryRefused;
use crate::protocol::http::ReplayBody;
use crate::vocabulary::error::BoxError;

/// reqwest's body with a `BoxError`.
#[derive(Debug)]
pub struct Source(reqwest::Body);

impl Body for Source {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.0).poll_frame(cx);
        polled.map_err(BoxError::from)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}

impl ReplayBody for reqwest::Body {
    #[doc(hidden)]
    type Kept = KeptBody<Source>;

    fn keep(&mut self, limit: usize) -> Option<Self::Kept> {
        if self.as_bytes().is_some() {
            // A body in memory yields one frame at once.
            let mut cx = Context::from_waker(Waker::noop());
            let bytes = match Pin::new(&mut *self).poll_frame(&mut cx) {
                Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                _ => Bytes::new(),
            };
            *self = bytes.clone().into();
            return Some(KeptBody(Kept::Bytes(bytes)));
        }
        let empty = Self::from(Bytes::new());
        KeptBody::record(self, limit, empty, Source, Self::wrap)
    }

    fn again(kept: &mut Self::Kept) -> Result<Self, RetryRefused> {
        match &mut kept.0 {
            Kept::Empty => Ok(Self::from(Bytes::new())),
            Kept::Bytes(bytes) => Ok(bytes.clone().into()),
            Kept::Recorded(tape) => tape.again().map(Self::wrap),
        }
    }
}
