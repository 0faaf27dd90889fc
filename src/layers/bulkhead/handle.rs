use super::permits::Permits;
use super::settings::Settings;
use crate::layers::handle::keyed_handle;
use crate::layers::keyed::Target;
use crate::observe::snapshot::limited;

keyed_handle! {
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
    ///
    /// With a limit for each [key](crate::keyed), the handle of the layer is about all of them, and
    /// [`key`](Self::key) returns the handle of one.
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
    /// enough calls have left. After it was raised, waiting calls are admitted at once. If the
    /// queue is removed, the calls in it stay for at most their max wait.
    update Settings
}

impl BulkheadHandle {
    /// The number of calls in flight. With keys: the sum of all keys.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.target.sum(Permits::in_flight)
    }

    /// The number of calls in the queue. With keys: the sum of all keys.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.target.sum(Permits::waiting)
    }

    /// The limit of calls in flight, or `None` without a limit. With keys: the limit of each key.
    #[must_use]
    pub fn limit(&self) -> Option<u32> {
        match &self.target {
            Target::One(permits) => limited(permits.limit()),
            Target::Group(group) => group.settings().limit,
        }
    }
}
