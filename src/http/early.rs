//! The frames that a body had ready at its head.

use bytes::Buf;
use http_body::{Frame, SizeHint};

/// Up to two frames (or errors), and what the body said of its size before it was asked for them.
pub(super) struct Early<F> {
    frames: [Option<F>; 2],
    /// Until the first is taken, so that a head is written as if nobody had asked.
    hint: Option<SizeHint>,
}

impl<F> Default for Early<F> {
    fn default() -> Self {
        Self {
            frames: [None, None],
            hint: None,
        }
    }
}

impl<F> Early<F> {
    pub(super) fn new(hint: SizeHint) -> Self {
        Self {
            frames: [None, None],
            hint: Some(hint),
        }
    }

    pub(super) fn push(&mut self, frame: F) {
        if let Some(place) = self.frames.iter_mut().find(|place| place.is_none()) {
            *place = Some(frame);
        }
    }

    /// The next in order.
    pub(super) fn take(&mut self) -> Option<F> {
        self.hint = None;
        self.frames.iter_mut().find_map(Option::take)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.iter().all(Option::is_none)
    }

    pub(super) fn is_full(&self) -> bool {
        self.frames.iter().all(Option::is_some)
    }
}

/// A frame, or an error in its place.
pub(super) trait MaybeFrame {
    /// How much data it has.
    fn length(&self) -> u64;
}

impl<D: Buf> MaybeFrame for Frame<D> {
    fn length(&self) -> u64 {
        self.data_ref().map_or(0, |data| data.remaining() as u64)
    }
}

impl<D: Buf, E> MaybeFrame for Result<Frame<D>, E> {
    fn length(&self) -> u64 {
        self.as_ref().map_or(0, MaybeFrame::length)
    }
}

impl<F: MaybeFrame> Early<F> {
    /// The size of all that is left, where this is the size of what follows.
    pub(super) fn size_hint(&self, rest: SizeHint) -> SizeHint {
        if let Some(hint) = &self.hint {
            return SizeHint::clone(hint);
        }
        let early: u64 = self.frames.iter().flatten().map(MaybeFrame::length).sum();
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(early));
        }
        hint.set_lower(rest.lower().saturating_add(early));
        hint
    }
}

impl<D, E> Early<Result<Frame<D>, E>> {
    /// The frames alone: where there is an error there is nothing to follow.
    pub(super) fn flatten(self) -> Early<Frame<D>> {
        Early {
            frames: self.frames.map(|frame| frame.and_then(Result::ok)),
            hint: self.hint,
        }
    }
}
