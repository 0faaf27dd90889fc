//! Tells a retry that an attempt was not sent, because a service was not ready.
//!
//! The error cannot say so: it is the inner service's own. A note taken while the attempt runs is
//! no proof either: the inner service may have sent something, and then used another service that
//! was not ready.
//!
//! So the retry watches `poll_ready`, which calls nothing. A layer whose inner service fails there
//! records the ID of the failure. That alone is no proof: a balancer may call another service, and
//! a buffer calls a clone. Only an attempt that resolves to the failure with this ID was not sent.
//!
//! A layer with a queue makes its inner service ready later, in the future of the call. Its
//! `poll_ready` records [`Deferred`](Readiness::Deferred); the end of the call then
//! [decides](Readiness::record_unsent).

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

thread_local! {
    static READINESS: Cell<Readiness> = const { Cell::new(Readiness::Ready) };
    static ANSWER: Cell<Option<FailureId>> = const { Cell::new(None) };
    static UNSENT: Cell<bool> = const { Cell::new(false) };
}

/// Identifies an error of `poll_ready`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FailureId(u32);

impl FailureId {
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// A call resolves to this failure.
    pub(crate) fn record_answer(self) {
        ANSWER.set(Some(self));
    }
}

/// The readiness of a service and of all that it wraps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// Ready or not: the next call, if any, is sent.
    Ready,
    /// The next call of the service that failed resolves to this failure.
    Failed(FailureId),
    /// A queue makes the inner service ready within the call.
    Deferred,
}

impl Readiness {
    /// The result of `poll_ready`, and the readiness that was recorded in it.
    #[inline]
    pub(crate) fn of<T>(poll_ready: impl FnOnce() -> T) -> (T, Self) {
        READINESS.set(Self::Ready);
        let polled = poll_ready();
        // It stays recorded for an outer retry.
        (polled, READINESS.get())
    }

    /// Called within `poll_ready`.
    #[inline]
    pub(crate) fn record(self) {
        READINESS.set(self);
    }

    /// Called before the future of a call is polled.
    #[inline]
    pub(crate) fn before_poll(self) {
        if self != Self::Ready {
            Self::forget();
        }
    }

    /// Forgets how other calls ended. An outer retry needs this before another attempt, too.
    #[cold]
    pub(crate) fn forget() {
        ANSWER.set(None);
        UNSENT.set(false);
    }

    /// A queue records here whether the call that it admitted was sent, once that has failed.
    #[cold]
    pub(crate) fn record_unsent(self) {
        // An inner queue has recorded it already.
        if self != Self::Deferred {
            UNSENT.set(self.is_unsent());
        }
    }

    /// Whether the call that has just resolved to an error (no rejection) was not sent.
    #[inline]
    pub(crate) fn is_unsent(self) -> bool {
        match self {
            Self::Ready => false,
            Self::Failed(id) => ANSWER.get() == Some(id),
            Self::Deferred => UNSENT.get(),
        }
    }
}
