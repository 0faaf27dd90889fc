use std::fmt;
use std::sync::{Arc, Weak};

use super::policy::{Admission, Governed};
use super::snapshot::Snapshot;
use crate::layers::handle::{Handle, handle};
use crate::observe::emitter::Emitter;
use crate::observe::event::Events;
use crate::runtime::shared::Shared;

handle! {
    /// Inspects an [`AdmissionLayer`](super::AdmissionLayer), for example from an admin endpoint or
    /// a test.
    ///
    /// A handle keeps the state of the layer alive, but not its services. Clones share the policy.
    ///
    /// ```
    /// use mainstay::admission::{Admission, AdmissionLayer, Refusal, Ticket};
    ///
    /// struct Closed;
    ///
    /// impl Admission for Closed {
    ///     fn admit(&self) -> Result<Ticket, Refusal> {
    ///         Err(mainstay::Reason::Refused.into())
    ///     }
    /// }
    ///
    /// let gate = AdmissionLayer::builder("gate", Closed).build()?.handle();
    /// assert!(gate.policy().admit().is_err());
    /// println!("{}", gate.snapshot());
    /// # Ok::<_, mainstay::ConfigError>(())
    /// ```
    pub struct AdmissionHandle<P: Admission> of Governed<P>;
    /// The calls in flight, the outcomes and the rejections.
    snapshot
}

impl<P: Admission> AdmissionHandle<P> {
    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &P {
        &self.state.policy
    }
}

/// The handle of an [`AdmissionLayer`](super::AdmissionLayer) with any policy, as a
/// [`Registry`](crate::registry::Registry) lists it. `From` makes it of an [`AdmissionHandle`].
#[derive(Clone)]
pub struct AnyAdmissionHandle(Arc<dyn AnyGoverned>);

trait AnyGoverned: Send + Sync {
    fn emitter(&self) -> &Emitter;
    fn snapshot(&self) -> Snapshot;
}

impl<P: Admission> AnyGoverned for Governed<P> {
    fn emitter(&self) -> &Emitter {
        &self.emitter
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::of(self)
    }
}

impl AnyAdmissionHandle {
    /// The name of the layer, as set in its builder.
    #[must_use]
    pub fn layer(&self) -> &'static str {
        self.0.emitter().layer()
    }

    /// The name of the instance.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.emitter().name()
    }

    /// The calls in flight, the outcomes and the rejections.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.0.snapshot()
    }

    /// Subscribes to the events of this instance.
    #[must_use]
    pub fn events(&self) -> Events {
        self.0.emitter().subscribe()
    }
}

/// A handle that does not keep the state alive.
pub(crate) struct WeakAdmission(Weak<dyn AnyGoverned>);

impl Handle for AnyAdmissionHandle {
    type Weak = WeakAdmission;

    fn emitter(&self) -> &Emitter {
        self.0.emitter()
    }

    fn downgrade(&self) -> WeakAdmission {
        WeakAdmission(Arc::downgrade(&self.0))
    }

    fn upgrade(weak: &WeakAdmission) -> Option<Self> {
        weak.0.upgrade().map(Self)
    }
}

impl<P: Admission> From<&AdmissionHandle<P>> for AnyAdmissionHandle {
    fn from(handle: &AdmissionHandle<P>) -> Self {
        Self(Arc::clone(Shared::arc(&handle.state)) as Arc<dyn AnyGoverned>)
    }
}

impl<P: Admission> From<AdmissionHandle<P>> for AnyAdmissionHandle {
    fn from(handle: AdmissionHandle<P>) -> Self {
        Self::from(&handle)
    }
}

impl fmt::Debug for AnyAdmissionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyAdmissionHandle")
            .field("layer", &self.layer())
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}
