use super::load::Load;
use super::settings::Settings;
use crate::layers::handle::handle;
use crate::observe::snapshot::limited;

handle! {
    /// Inspects a load shedder with a limit, for example from an admin endpoint or a test.
    ///
    /// A handle keeps the state of the load shedder alive, but not its services. Clones share the
    /// load shedder.
    ///
    /// ```
    /// use mainstay::{Limit, LoadShedLayer};
    ///
    /// let layer = LoadShedLayer::new(Limit::fixed(64));
    /// let load = layer.handle();
    /// assert_eq!((load.in_flight(), load.limit()), (0, Some(64)));
    /// println!("{}", load.snapshot());
    /// ```
    pub struct LoadShedHandle of Load;
    /// The calls in flight, the limit, the outcomes, the rejections and the latencies.
    snapshot
    ///
    /// Calls in flight remain in flight. A limit with another algorithm or other numbers begins
    /// anew, because nothing that the old one has learned holds for it.
    ///
    /// ```
    /// use mainstay::{Limit, LoadShedLayer};
    ///
    /// let load = LoadShedLayer::new(Limit::fixed(64)).handle();
    /// let changes = load.change(|settings| settings.limit = Limit::scheduler_lag())?;
    /// assert_eq!(changes.to_string(), "limit: 64 -> scheduler_lag");
    /// # Ok::<_, mainstay::ConfigError>(())
    /// ```
    update Settings
}

impl LoadShedHandle {
    /// The number of calls in flight.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.state.in_flight()
    }

    /// The current limit of calls in flight, or `None` without a limit.
    #[must_use]
    pub fn limit(&self) -> Option<u32> {
        limited(self.state.limit())
    }
}
