//! How far an admitted call has got.

use crate::call::admit::Admit;
use crate::observe::meter::Handles;
use crate::vocabulary::outcome::Outcome;

/// How far a call has got.
///
/// One word of flags: it moves with every call, and separate fields would be slower to move.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress(u64);

const SETTLED: u64 = 1;
/// User code is running.
const ENTERED: u64 = 1 << 1;
/// The gauge of calls in flight counts it.
const COUNTED: u64 = 1 << 2;
// The outcome; 0 is a success.
const FAILURE: u64 = 1 << 3;
const IGNORED: u64 = 2 << 3;
const WAS_CANCELLED: u64 = 3 << 3;
/// It left the count of calls in flight at its head.
const STREAMS: u64 = 1 << 5;
/// It has to yield before it starts.
const YIELDS: u64 = 1 << 6;

impl Progress {
    /// User code is running.
    #[inline]
    pub(super) const fn new() -> Self {
        Self(ENTERED)
    }

    #[inline]
    pub(super) const fn yield_first(&mut self) {
        self.0 |= YIELDS;
    }

    /// Whether it has to yield; `true` once.
    #[inline]
    pub(super) const fn take_yield(&mut self) -> bool {
        let yields = self.0 & YIELDS != 0;
        self.0 &= !YIELDS;
        yields
    }

    /// The call lasts longer than its first poll, so the gauge counts it.
    #[inline]
    pub(super) fn count(&mut self, state: &impl Admit) {
        if self.0 & COUNTED == 0 && state.record(Handles::entered) {
            self.0 |= COUNTED;
        }
    }

    /// The gauge counts the call already.
    pub(super) const fn set_counted(&mut self) {
        self.0 |= COUNTED;
    }

    /// The gauge that counted the call's beginning counts its end.
    pub(super) fn uncount(self, state: &impl Admit) {
        if self.0 & COUNTED != 0 {
            state.record_again(Handles::left);
        }
    }

    /// The call is no longer in flight: the rest of it only streams.
    pub(super) fn stream(&mut self, state: &impl Admit) {
        self.uncount(state);
        self.0 = self.0 & !COUNTED | STREAMS;
    }

    #[inline]
    pub(super) const fn is_streaming(self) -> bool {
        self.0 & STREAMS != 0
    }

    #[inline]
    pub(super) const fn is_entered(self) -> bool {
        self.0 & ENTERED != 0
    }

    #[inline]
    pub(super) const fn enter(&mut self) {
        self.0 |= ENTERED;
    }

    #[inline]
    pub(super) const fn leave(&mut self) {
        self.0 &= !ENTERED;
    }

    #[inline]
    pub(super) const fn is_settled(self) -> bool {
        self.0 & SETTLED != 0
    }

    /// A success that needs nothing but a release.
    #[inline]
    pub(super) const fn is_plain(self) -> bool {
        self.0 & (SETTLED | COUNTED | STREAMS | WAS_CANCELLED) == SETTLED
    }

    /// Settles it. Returns `false` if it was settled before.
    #[inline]
    pub(super) const fn settle(&mut self, outcome: Outcome) -> bool {
        let first = self.0 & SETTLED == 0;
        if first {
            self.0 |= SETTLED
                | match outcome {
                    Outcome::Success => 0,
                    Outcome::Failure => FAILURE,
                    Outcome::Ignored => IGNORED,
                    Outcome::Cancelled => WAS_CANCELLED,
                };
        }
        first
    }

    pub(super) const fn outcome(self) -> Outcome {
        match self.0 & WAS_CANCELLED {
            FAILURE => Outcome::Failure,
            IGNORED => Outcome::Ignored,
            WAS_CANCELLED => Outcome::Cancelled,
            _ => Outcome::Success,
        }
    }
}
