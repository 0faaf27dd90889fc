//! Frames of a body that were read at the head.

use bytes::Buf;
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use crate::vocabulary::error::BoxError;

/// Up to two frames, or one frame and an error: a complete short body. It is smaller than two
/// frames, because it moves with the response.
pub(super) struct Prefetched<D> {
    data: Option<D>,
    last: Last<D>,
    /// The body's size hint from before the first read, until the first frame is taken, so that the
    /// head of the response does not change. An upper bound of `u64::MAX` means none.
    hint: Option<(u64, u64)>,
}

enum Last<D> {
    None,
    Data(D),
    Trailers(HeaderMap),
    Error(BoxError),
}

impl<D> Default for Prefetched<D> {
    fn default() -> Self {
        Self {
            data: None,
            last: Last::None,
            hint: None,
        }
    }
}

impl<D> Prefetched<D> {
    pub(super) fn new(hint: &SizeHint) -> Self {
        Self {
            hint: Some((hint.lower(), hint.upper().unwrap_or(u64::MAX))),
            ..Self::default()
        }
    }

    /// Adds a frame or an error, unless it [`is_full`](Self::is_full).
    pub(super) fn push(&mut self, next: Result<Frame<D>, BoxError>) {
        match next.map(Frame::into_data) {
            Ok(Ok(data)) if self.data.is_none() => self.data = Some(data),
            Ok(Ok(data)) => self.last = Last::Data(data),
            Ok(Err(frame)) => {
                if let Ok(trailers) = frame.into_trailers() {
                    self.last = Last::Trailers(trailers);
                }
            }
            Err(error) => self.last = Last::Error(error),
        }
    }

    pub(super) fn take(&mut self) -> Option<Result<Frame<D>, BoxError>> {
        self.hint = None;
        if let Some(data) = self.data.take() {
            return Some(Ok(Frame::data(data)));
        }
        match std::mem::replace(&mut self.last, Last::None) {
            Last::None => None,
            Last::Data(data) => Some(Ok(Frame::data(data))),
            Last::Trailers(trailers) => Some(Ok(Frame::trailers(trailers))),
            Last::Error(error) => Some(Err(error)),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.data.is_none() && matches!(self.last, Last::None)
    }

    pub(super) fn is_full(&self) -> bool {
        !matches!(self.last, Last::None)
    }
}

impl<D: Buf> Prefetched<D> {
    /// The remaining size, given the size of the rest of the body.
    pub(super) fn size_hint(&self, rest: &SizeHint) -> SizeHint {
        let (lower, upper) = self.hint.unwrap_or_else(|| {
            let last = match &self.last {
                Last::Data(data) => data.remaining(),
                _ => 0,
            };
            let prefetched = (self.data.as_ref().map_or(0, Buf::remaining) + last) as u64;
            let upper = rest
                .upper()
                .map_or(u64::MAX, |upper| upper.saturating_add(prefetched));
            (rest.lower().saturating_add(prefetched), upper)
        });
        let mut hint = SizeHint::new();
        if upper != u64::MAX {
            hint.set_upper(upper);
        }
        hint.set_lower(lower);
        hint
    }
}
