//! What a user's policy is, and the instance around it.

use std::sync::Arc;
use std::time::Duration;

use crate::call::admit::{Admit, Refusal};
use crate::call::entry::Entry;
use crate::call::ticket::Ticket;
use crate::observe::emit::Emit;
use crate::observe::emitter::Emitter;
use crate::observe::event::{EventKind, Observer};
use crate::observe::meter::Handles;
use crate::observe::snapshot::{Outcomes, Tally};
use crate::runtime::isolate::isolate;
use crate::runtime::striped::Striped;
use crate::vocabulary::kind::{Id, Kind, Series};
use crate::vocabulary::name::InstanceName;
use crate::vocabulary::{
    outcome::{Outcome, Verdict},
    reason::Reason,
};

/// A policy of a user's own can give any reason.
pub(crate) static KIND: Kind = Kind::new(Id::Admission, &Reason::ALL, &[Series::Calls]);

/// Decides on calls: see the [module](crate::admission).
///
/// For each call that is [admitted](Self::admit) there is one [`settle`](Self::settle), and after
/// it one [`release`](Self::release). All methods are called by many threads at once, and should
/// neither block nor read a clock of their own: `tokio::time::Instant` is that of the whole crate,
/// and can be paused in tests.
pub trait Admission: Send + Sync + 'static {
    /// Why a call would be rejected now, if that is known. Asked by `poll_ready`: if there is a
    /// reason, the next call is rejected without waiting for the inner service. Changes nothing.
    /// Default: not known.
    fn refuses(&self) -> Option<Refusal> {
        None
    }

    /// Decides on a call. The ticket may carry a number, which comes back in the other methods.
    ///
    /// # Errors
    ///
    /// Why the call is rejected, and when it may come again.
    fn admit(&self) -> Result<Ticket, Refusal>;

    /// The outcome of a call is known: at the head of its response, or at the end of its body.
    fn settle(&self, ticket: &Ticket, verdict: Verdict) {
        let _ = (ticket, verdict);
    }

    /// The call is over, its body included.
    fn release(&self, ticket: &Ticket) {
        let _ = ticket;
    }
}

/// A policy and the instance that it decides for.
#[allow(
    missing_debug_implementations,
    reason = "nobody outside can get hold of one"
)]
pub struct Governed<P> {
    pub(super) policy: P,
    admitted: Striped,
    released: Striped,
    tally: Tally,
    pub(super) emitter: Emitter,
}

impl<P> Governed<P> {
    pub(super) fn new(
        policy: P,
        instance: InstanceName,
        observer: Option<Arc<dyn Observer>>,
    ) -> Self {
        Self {
            policy,
            admitted: Striped::new(),
            released: Striped::new(),
            tally: Tally::new(),
            emitter: Emitter::new(&KIND, instance, observer),
        }
    }

    pub(super) fn in_flight(&self) -> u64 {
        // What is released meanwhile was admitted before.
        let released = self.released.sum();
        self.admitted.sum().saturating_sub(released)
    }

    pub(super) fn outcomes(&self) -> Outcomes {
        self.tally.of_all(self.released.sum())
    }
}

impl<P: Admission> Emit for Governed<P> {
    #[inline]
    fn emitter(&self) -> &Emitter {
        &self.emitter
    }

    fn set_gauges(&self, _: &Handles) {}
}

impl<P: Admission> Admit for Governed<P> {
    #[inline]
    fn refuses(&self) -> Option<Reason> {
        self.policy.refuses().map(|refusal| refusal.reason)
    }

    #[inline]
    fn admit(&self, _: &mut Entry) -> Result<Ticket, Refusal> {
        let ticket = self.policy.admit()?;
        self.admitted.increment();
        Ok(ticket)
    }

    fn retry_after(&self) -> Option<Duration> {
        self.policy.refuses()?.retry_after
    }

    #[inline]
    fn settle(&self, ticket: &Ticket, verdict: Verdict) {
        isolate(|| self.policy.settle(ticket, verdict));
        self.emit(|| EventKind::Settled {
            outcome: verdict.outcome(),
            latency: None,
            slow: false,
        });
    }

    fn ended(&self, outcome: Outcome) {
        self.tally.record(outcome);
    }

    #[inline]
    fn release(&self, ticket: &Ticket) {
        isolate(|| self.policy.release(ticket));
        self.released.increment();
    }
}
