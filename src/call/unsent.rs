//! How a retry learns that an attempt failed because a service in it was not ready, so that nothing was sent.
//!
//! The error itself cannot say so: it is the inner service's own. And a note taken while the attempt runs
//! proves nothing alone: what the attempt calls may have sent something, and then used a service of its own that was not
//! ready. So the retry first watches `poll_ready`, which calls nothing. A layer whose inner service [failed](Found::Failed)
//! there notes the number of that failure. It proves nothing alone, either: a service that chooses among several may call
//! another one, and a queue calls a clone. Only when the attempt resolves to the failure of that number was it not sent.
//!
//! Only a bulkhead with a queue makes its inner service ready later, in the future of the call. Its
//! `poll_ready` says [`Unasked`](Found::Unasked), and then [what it notes](Found::settle) as the call ends decides.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

thread_local! {
    static FOUND: Cell<Found> = const { Cell::new(Found::Ready) };
    static ANSWER: Cell<Option<FailureNumber>> = const { Cell::new(None) };
    static UNSENT: Cell<bool> = const { Cell::new(false) };
}

/// The number of a failure to be ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FailureNumber(u32);

impl FailureNumber {
    pub(crate) fn next() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        Self(NUMBER.fetch_add(1, Ordering::Relaxed))
    }

    /// Noted when a call resolves to the failure.
    pub(crate) fn is_the_answer(self) {
        ANSWER.set(Some(self));
    }
}

/// The readiness of a service and of all that it wraps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// Ready or not: the next call, if there is one, is sent.
    Ready,
    /// An error of readiness is kept, and is the answer to the next call of the service that failed.
    Failed(FailureNumber),
    /// A bulkhead's queue asks the inner service in the call.
    Unasked,
}

impl Found {
    /// The result of `poll_ready`, and what the layers in it noted.
    #[inline]
    pub(crate) fn by<T>(poll_ready: impl FnOnce() -> T) -> (T, Self) {
        FOUND.set(Self::Ready);
        let polled = poll_ready();
        // It stays there for a retry further out.
        (polled, FOUND.get())
    }

    /// Noted in `poll_ready`.
    #[inline]
    pub(crate) fn note(self) {
        FOUND.set(self);
    }

    /// Before the future of a call is polled.
    #[inline]
    pub(crate) fn before_poll(self) {
        if self != Self::Ready {
            Self::forget();
        }
    }

    /// Forgets how other calls ended: also before another attempt, for a retry further out.
    #[cold]
    pub(crate) fn forget() {
        ANSWER.set(None);
        UNSENT.set(false);
    }

    /// Noted by a bulkhead's queue when the call that it admitted has resolved to an error.
    #[cold]
    pub(crate) fn settle(self) {
        // Where another queue asked for its part, that one has noted it.
        if self != Self::Unasked {
            UNSENT.set(self.is_unsent());
        }
    }

    /// Whether the call that has just resolved to an error, which is no rejection, was not sent.
    #[inline]
    pub(crate) fn is_unsent(self) -> bool {
        match self {
            Self::Ready => false,
            Self::Failed(number) => ANSWER.get() == Some(number),
            Self::Unasked => UNSENT.get(),
        }
    }
}
