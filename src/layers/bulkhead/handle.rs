use super::permits::Permits;
use super::settings::Settings;
use crate::layers::handle::handle;
use crate::observe::snapshot::limited;

handle! {
    /// Inspects a bulkhead, for example from an admin endpoint or a test.
    ///
    /// A handle keeps the state of the bulkhead alive, but not its services. Clones share the
    /// bulkhead.
    ///
    /// ```
    /// use mainstay::BulkheadLayer;
    ///
    /// let layer = BulkheadLayer::new(64);
    /// let bulkhead = layer.handle();
    /// assert_eq!((bulkhead.in_flight(), bulkhead.limit()), (0, Some(64)));
    /// println!("{}", bulkhead.snapshot());
    /// ```
    pub struct BulkheadHandle of Permits;
    /// The calls in flight and in the queue, the outcomes and the rejections.
    snapshot
    ///
    /// ```
    /// use mainstay::{BulkheadLayer, Mode, bulkhead::Settings};
    ///
    /// let bulkhead = BulkheadLayer::new(64).handle();
    /// let changes = bulkhead.change(|settings| settings.limit = Some(32))?;
    /// assert_eq!(changes.to_string(), "limit: 64 -> 32");
    /// # Ok::<_, mainstay::ConfigError>(())
    /// ```
    ///
    /// Calls in flight are not disturbed. After the limit was lowered, no call is admitted until
    /// enough calls have left. After it was raised, waiting calls are admitted at once. Without a
    /// queue from now on, the calls that wait already still wait for at most their longest wait.
    update Settings
}

impl BulkheadHandle {
    /// The number of calls in flight.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.state.in_flight()
    }

    /// The number of calls in the queue.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.state.waiting()
    }

    /// The limit of calls in flight, or `None` without a limit.
    #[must_use]
    pub fn limit(&self) -> Option<u32> {
        limited(self.state.limit())
    }
}
