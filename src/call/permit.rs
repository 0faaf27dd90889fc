//! The permit that a call holds from its admission to its end.

use std::fmt;
use std::sync::Arc;

use crate::call::admit::Admit;
use crate::call::future::Guard;
use crate::call::progress::Progress;
use crate::call::ticket::Ticket;
use crate::call::track::Settle;
use crate::runtime::shared::{Held, Lane};
use crate::vocabulary::outcome::{FAILED, Outcome, Verdict, of_deadline_exceeded};
use crate::vocabulary::sealed::Sealed;

/// The permit of a call, while the call's future holds it.
pub(crate) struct Permit<A: Admit, T> {
    tracker: T,
    core: Core<A>,
}

/// The part that does something when the call is dropped.
struct Core<A: Admit> {
    // `None` once the permit was erased.
    state: Option<Held<A>>,
    ticket: Ticket,
    progress: Progress,
}

impl<A: Admit, T> Permit<A, T> {
    /// Made right before the inner service is called. If `tracker` panics, the permit is released.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn new(state: Held<A>, ticket: Ticket, tracker: impl FnOnce() -> T) -> Self {
        let mut progress = Progress::new();
        if A::YIELDS_FIRST && state.yields_first() {
            progress.yield_first();
        }
        let core = Core {
            state: Some(state),
            ticket,
            progress,
        };
        Self {
            tracker: tracker(),
            core,
        }
    }

    /// The same, with whether the gauge of calls in flight includes it already.
    pub(crate) fn in_flight(mut self, is_counted: bool) -> Self {
        if is_counted {
            self.core.progress.set_counted();
        }
        self
    }
}

/// A deadline that ran out is the caller's choice, not a failure: see [`of_deadline_exceeded`].
#[inline]
fn adjusted(verdict: Verdict, ticket: &Ticket) -> Verdict {
    if verdict.is_deadline_exceeded() {
        of_deadline_exceeded(verdict, ticket.time.ran())
    } else {
        verdict
    }
}

impl<A: Admit, T> Sealed for Permit<A, T> {}

impl<A: Admit, T> Settle for Permit<A, T> {
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn settle(&mut self, verdict: Verdict) {
        let core = &mut self.core;
        let verdict = adjusted(verdict, &core.ticket);
        if core.progress.settle(verdict.outcome())
            && let Some(state) = &core.state
        {
            state.settle(&core.ticket, verdict);
        }
    }

    #[inline]
    fn holds_permit(&self) -> bool {
        A::HOLDS_PERMIT
    }

    fn erase(mut self) -> ErasedPermit {
        let core = &mut self.core;
        let Some(state) = core.state.take() else {
            return ErasedPermit::nothing();
        };
        if state.leaves_at_head() {
            core.progress.stream(&*state);
        } else {
            core.progress.count(&*state);
        }
        ErasedPermit {
            state: Some(state.into_lane()),
            ticket: core.ticket,
            progress: core.progress,
        }
    }
}

impl<A: Admit, T> Guard for Permit<A, T> {
    type Track = T;

    #[inline]
    fn tracker(&self) -> &T {
        &self.tracker
    }

    #[inline]
    fn returned(&mut self) {
        self.core.progress.leave();
    }

    #[inline]
    fn yields_first(&mut self) -> bool {
        A::YIELDS_FIRST && self.core.progress.take_yield()
    }

    #[inline]
    fn suspended(&mut self) {
        let core = &mut self.core;
        if let Some(state) = &core.state {
            core.progress.count(&**state);
            state.wait(&mut core.ticket);
        }
    }

    #[inline]
    fn at_head(&mut self) {
        let core = &mut self.core;
        if let Some(state) = &core.state {
            state.head(&mut core.ticket);
        }
    }
}

impl<A: Admit> Drop for Core<A> {
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn drop(&mut self) {
        if let Some(state) = &self.state {
            end(&**state, &self.ticket, self.progress);
        }
    }
}

/// Releases the permit, and settles an unsettled call.
#[cfg_attr(not(debug_assertions), inline(always))]
fn end<A: Admit>(state: &A, ticket: &Ticket, progress: Progress) {
    if progress.is_plain() {
        state.release(ticket);
    } else {
        end_slowly(state, ticket, progress);
    }
}

/// Releases the permit, even if settling panics.
struct Release<'a, A: Admit> {
    state: &'a A,
    ticket: &'a Ticket,
    outcome: Outcome,
    is_streaming: bool,
}

impl<A: Admit> Drop for Release<'_, A> {
    fn drop(&mut self) {
        if self.outcome == Outcome::Success {
            self.state.release(self.ticket);
        } else {
            self.state.release_as(self.ticket, self.outcome);
        }
        if self.is_streaming {
            self.state.stream_ended();
        }
    }
}

/// Settles what has not been settled. Not inlined, so that the common path can be.
///
/// An unsettled call in which user code was running has panicked, even if the unwinding was
/// caught long ago. Any other was cancelled.
#[inline(never)]
fn end_slowly<A: Admit>(state: &A, ticket: &Ticket, progress: Progress) {
    let outcome = if progress.is_settled() {
        progress.outcome()
    } else if progress.is_entered() {
        Outcome::Failure
    } else {
        Outcome::Cancelled
    };
    let _release = Release {
        state,
        ticket,
        outcome,
        is_streaming: progress.is_streaming(),
    };
    progress.uncount(state);
    match outcome {
        _ if progress.is_settled() => {}
        Outcome::Failure => state.settle(ticket, FAILED),
        _ => state.cancel(ticket),
    }
}

/// The permit of any layer, attached to a response that is on its way to the caller.
///
/// Dropping it releases the permit. An unsettled call then counts as cancelled, or as failed
/// between [`enter`](Self::enter) and [`leave`](Self::leave): user code has panicked.
pub struct ErasedPermit {
    /// `None` for a layer that counts nothing.
    state: Option<Arc<dyn AnyState>>,
    ticket: Ticket,
    progress: Progress,
}

impl ErasedPermit {
    /// The permit of a layer that counts nothing.
    pub(crate) const fn nothing() -> Self {
        Self {
            state: None,
            ticket: Ticket::NONE,
            progress: Progress::new(),
        }
    }

    /// User code is about to run.
    #[inline]
    pub fn enter(&mut self) {
        self.progress.enter();
    }

    /// User code returned.
    #[inline]
    pub fn leave(&mut self) {
        self.progress.leave();
    }

    #[cfg(feature = "http")]
    pub(crate) fn is_entered(&self) -> bool {
        self.progress.is_entered()
    }

    /// The verdict as [`settle`](Self::settle) counts it.
    pub(crate) fn adjusted(&self, verdict: Verdict) -> Verdict {
        adjusted(verdict, &self.ticket)
    }

    /// Settles the call. Only the first verdict counts.
    #[inline]
    pub fn settle(&mut self, verdict: Verdict) {
        let verdict = self.adjusted(verdict);
        if self.progress.settle(verdict.outcome())
            && let Some(state) = &self.state
        {
            state.settle(&self.ticket, verdict);
        }
    }
}

impl Drop for ErasedPermit {
    fn drop(&mut self) {
        if let Some(state) = &self.state {
            state.end(&self.ticket, self.progress);
        }
    }
}

impl fmt::Debug for ErasedPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ErasedPermit")
    }
}

impl<A: Admit, T> fmt::Debug for Permit<A, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permit")
    }
}

/// The state of any layer that admits calls.
trait AnyState: Send + Sync {
    fn settle(&self, ticket: &Ticket, verdict: Verdict);
    fn end(&self, ticket: &Ticket, progress: Progress);
}

impl<A: Admit> AnyState for Lane<A> {
    fn settle(&self, ticket: &Ticket, verdict: Verdict) {
        Admit::settle(&**self, ticket, verdict);
    }

    fn end(&self, ticket: &Ticket, progress: Progress) {
        end(&**self, ticket, progress);
    }
}
