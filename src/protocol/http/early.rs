//! What a body had ready at its head.

use bytes::Buf;
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use crate::vocabulary::error::BoxError;

/// Up to two frames, or one and an error: what a body has that is ready with all it has. Smaller than two frames, because it is moved with
/// the response.
pub(super) struct Early<D> {
    data: Option<D>,
    last: Last<D>,
    /// What the body said of its size before it was asked, until the first frame is taken, so that a head is written as if nobody
    /// had asked. The highest number is none.
    hint: Option<(u64, u64)>,
}

enum Last<D> {
    None,
    Data(D),
    Trailers(HeaderMap),
    Error(BoxError),
}

impl<D> Default for Early<D> {
    fn default() -> Self {
        Self {
            data: None,
            last: Last::None,
            hint: None,
        }
    }
}

impl<D> Early<D> {
    pub(super) fn new(hint: &SizeHint) -> Self {
        Self {
            hint: Some((hint.lower(), hint.upper().unwrap_or(u64::MAX))),
            ..Self::default()
        }
    }

    /// There is room for it until it [`is_full`](Self::is_full).
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

    /// The next in order.
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

impl<D: Buf> Early<D> {
    /// The size of all that is left, where this is the size of what follows.
    pub(super) fn size_hint(&self, rest: &SizeHint) -> SizeHint {
        let (lower, upper) = self.hint.unwrap_or_else(|| {
            let last = match &self.last {
                Last::Data(data) => data.remaining(),
                _ => 0,
            };
            let early = (self.data.as_ref().map_or(0, Buf::remaining) + last) as u64;
            let upper = rest
                .upper()
                .map_or(u64::MAX, |upper| upper.saturating_add(early));
            (rest.lower().saturating_add(early), upper)
        });
        let mut hint = SizeHint::new();
        if upper != u64::MAX {
            hint.set_upper(upper);
        }
        hint.set_lower(lower);
        hint
    }
}
