//! The trait behind every layer that admits or rejects calls.

use std::time::Duration;

use crate::call::entry::Entry;
use crate::call::ticket::Ticket;
use crate::observe::emit::Emit;
use crate::vocabulary::outcome::CANCELLED;
use crate::vocabulary::{
    outcome::{Outcome, Verdict},
    reason::Reason,
};

/// The reason for a rejection, and how long the caller should wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Refusal {
    pub(crate) reason: Reason,
    pub(crate) retry_after: Option<Duration>,
}

impl Refusal {
    /// A refusal without a time after which a retry is worthwhile.
    pub const fn new(reason: Reason) -> Self {
        Self {
            reason,
            retry_after: None,
        }
    }

    /// Sets how long the caller should wait. It is sent as `Retry-After` or
    /// `grpc-retry-pushback-ms`.
    pub const fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }
}

impl From<Reason> for Refusal {
    #[inline]
    fn from(reason: Reason) -> Self {
        Self::new(reason)
    }
}

/// The state of a layer that admits and rejects calls.
///
/// Each admitted call gets one [`settle`](Self::settle) or [`cancel`](Self::cancel), followed by
/// one [`release`](Self::release) or [`release_as`](Self::release_as).
pub(crate) trait Admit: Emit + Send + Sync + Sized + 'static {
    /// Whether a settled call still has a permit to release.
    const HOLDS_PERMIT: bool = true;

    /// Whether [`yields_first`](Self::yields_first) can return `true`.
    const YIELDS_FIRST: bool = false;

    /// Why a call would be rejected now. `poll_ready` asks this: it changes nothing, and need not
    /// cover every reason.
    fn refuses(&self) -> Option<Reason>;

    /// Decides on a call.
    fn admit(&self, entry: &mut Entry) -> Result<Ticket, Refusal>;

    /// How long to wait after a rejection that `poll_ready` decided.
    fn retry_after(&self) -> Option<Duration> {
        None
    }

    /// A call is rejected.
    fn refused(&self, _: Reason) {}

    /// Whether the layer is switched off: it admits every call and counts nothing.
    #[inline]
    fn is_off(&self) -> bool {
        false
    }

    /// Whether an admitted call yields to the scheduler once before it starts.
    #[inline]
    fn yields_first(&self) -> bool {
        false
    }

    /// The outcome is known.
    fn settle(&self, ticket: &Ticket, verdict: Verdict);

    /// The call is pending.
    fn wait(&self, _: &mut Ticket) {}

    /// The head of the response is there, but does not decide the outcome.
    fn head(&self, _: &mut Ticket) {}

    /// Whether a call whose body goes on leaves the count of calls in flight at its head.
    fn leaves_at_head(&self) -> bool {
        false
    }

    /// The body of a call that left at its head has ended, after [`release`](Self::release).
    fn stream_ended(&self) {}

    /// The caller went away before the outcome was known.
    fn cancel(&self, ticket: &Ticket) {
        self.settle(ticket, CANCELLED);
    }

    /// The call is over and settled.
    fn release(&self, ticket: &Ticket);

    /// The same for a call that was no success: its outcome is counted and its permit released in
    /// one step.
    fn release_as(&self, ticket: &Ticket, _outcome: Outcome) {
        self.release(ticket);
    }
}
