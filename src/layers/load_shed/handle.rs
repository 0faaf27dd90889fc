use super::load::Load;
use super::settings::Settings;
use super::snapshot::limit_of_new;
use crate::layers::handle::keyed_handle;
use crate::layers::keyed::Target;
use crate::observe::snapshot::limited;

keyed_handle! {
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
    ///
    /// With a limit for each [key](crate::keyed), the handle of the layer is about all of them, and
    /// [`key`](Self::key) returns the handle of one.
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
    /// The number of calls in flight. With keys: the sum of all keys.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.target.sum(Load::in_flight)
    }

    /// The current limit of calls in flight, or `None` without a limit. With keys: the limit of a
    /// new key.
    #[must_use]
    pub fn limit(&self) -> Option<u32> {
        match &self.target {
            Target::One(load) => limited(load.limit()),
            Target::Group(group) => limit_of_new(&group.settings()),
        }
    }

    /// Whether calls without a priority are shed now. Of one instance.
    pub(crate) fn is_full(&self) -> bool {
        match &self.target {
            Target::One(load) => load.in_flight() >= load.limit_of_most(),
            Target::Group(_) => false,
        }
    }
}
