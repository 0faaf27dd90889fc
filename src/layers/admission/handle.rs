use super::policy::{Admission, Governed};
use crate::layers::handle::handle;

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
