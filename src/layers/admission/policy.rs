//! The trait of a user's policy, and the instance that applies it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use crate::call::admit::{Admit, Refusal};
use crate::call::entry::Entry;
use crate::call::ticket::Ticket;
use crate::layers::keyed::Instance;
use crate::observe::emit::Emit;
use crate::observe::emitter::Emitter;
use crate::observe::event::{EventKind, Observer};
use crate::observe::meter::Handles;
use crate::observe::snapshot::{LockedTally, Outcomes, Totals};
use crate::runtime::isolate::isolate;
use crate::runtime::striped::Striped;
use crate::vocabulary::kind::{Id, Kind, Series};
use crate::vocabulary::name::InstanceName;
use crate::vocabulary::{
    outcome::{Outcome, Verdict},
    reason::Reason,
};

/// A user's policy can give any reason.
pub(crate) static KIND: Kind = Kind::new(Id::Admission, &Reason::ALL, &[Series::Calls]);

/// Decides on calls: see the [module](crate::admission).
///
/// Each [admitted](Self::admit) call is [settled](Self::settle) once, and then
/// [released](Self::release) once. Many threads call these methods at the same time, so no method
/// may block. Read the time from `tokio::time::Instant`, the clock of this crate: tests can pause
/// it.
pub trait Admission: Send + Sync + 'static {
    /// Why a call would be rejected now, if that is known. Default: `None`, not known.
    ///
    /// `poll_ready` asks this. If there is a reason, the next call is rejected without waiting for
    /// the inner service. This method must not change the policy's state.
    fn refuses(&self) -> Option<Refusal> {
        None
    }

    /// Admits or rejects a call. The other methods receive the ticket, which may carry a number.
    ///
    /// # Errors
    ///
    /// The reason for the rejection, and the time after which a retry may succeed.
    fn admit(&self) -> Result<Ticket, Refusal>;

    /// Records the outcome of a call, at the head of its response or at the end of its body.
    fn settle(&self, ticket: &Ticket, verdict: Verdict) {
        let _ = (ticket, verdict);
    }

    /// Releases a call that is over, including its body.
    fn release(&self, ticket: &Ticket) {
        let _ = ticket;
    }
}

/// A user's policy with the counters and the emitter of its instance.
pub(crate) struct Governed<P> {
    pub(super) policy: P,
    admitted: Striped,
    released: Striped,
    tally: LockedTally,
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
            tally: LockedTally::new(),
            emitter: Emitter::new(&KIND, instance, observer),
        }
    }

    /// The calls in flight and the outcomes of the others, at one moment.
    pub(super) fn books(&self) -> (u64, Outcomes) {
        let (outcomes, in_flight) = self.tally.of_all(|| {
            // Read `released` first: a call released meanwhile is then still counted as admitted.
            let released = self.released.sum();
            (released, self.admitted.sum().saturating_sub(released))
        });
        (in_flight, outcomes)
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

    #[inline]
    fn release(&self, ticket: &Ticket) {
        isolate(|| self.policy.release(ticket));
        self.released.increment();
    }

    #[cold]
    fn release_as(&self, ticket: &Ticket, outcome: Outcome) {
        isolate(|| self.policy.release(ticket));
        self.tally.record_end(outcome, || self.released.increment());
    }
}

/// A user's policy is one for all calls: nobody can make another one.
impl<P: Admission> Instance for Governed<P> {
    type Settings = Infallible;
    type Fixed = ();
    type Common = ();

    fn new(settings: &Infallible, (): &(), _: Emitter, _: Option<&Arc<()>>) -> Self {
        match *settings {}
    }

    fn is_plain(&self) -> bool {
        false
    }

    fn totals(&self) -> Totals {
        Totals::default()
    }
}
