use crate::layers::handle::handle;
use crate::observe::emitter::Emitter;

handle! {
    /// Inspects a time limit, for example from an admin endpoint or a test.
    ///
    /// A handle keeps the counts of the layer, but not its services. Clones share the counts.
    ///
    /// ```
    /// use mainstay::TimeoutLayer;
    /// use std::time::Duration;
    ///
    /// let timeout = TimeoutLayer::new(Duration::from_secs(2)).handle();
    /// assert_eq!(timeout.snapshot().rejections.total(), 0);
    /// ```
    pub struct TimeoutHandle of Emitter;
    /// Counts of rejected and ended calls.
    snapshot
}
