use super::limits::{Plain, TimeLimits};
use super::settings::Settings;
use crate::layers::handle::{Adjust as _, announce, handle, update};
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::settings::Changes;

handle! {
    /// Inspects a time limit, for example from an admin endpoint or a test, and changes its
    /// settings.
    ///
    /// A handle keeps the counts of the layer, but not its services. Clones share the counts.
    ///
    /// ```
    /// use mainstay::TimeoutLayer;
    /// use std::time::Duration;
    ///
    /// let timeout = TimeoutLayer::new(Duration::from_secs(2)).handle();
    /// assert_eq!(timeout.snapshot().rejections.total(), 0);
    ///
    /// let changes = timeout.change(|settings| settings.timeout = Duration::from_secs(1).into())?;
    /// assert_eq!(changes.to_string(), "timeout: 2s -> 1s");
    /// # Ok::<_, mainstay::ConfigError>(())
    /// ```
    pub struct TimeoutHandle of TimeLimits;
    /// Counts of rejected and ended calls.
    snapshot
}

impl TimeoutHandle {
    /// Emits and logs what changed.
    pub(crate) fn announce(&self, changes: &Changes) {
        announce(&*self.state, changes);
    }

    /// The limits, with those of HTTP.
    pub(crate) fn limits(&self) -> &TimeLimits {
        &self.state
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let limits = Plain(&self.state);
        limits.resolved(limits.settings())
    }

    /// Replaces all settings while the instance runs. Returns what changed.
    ///
    /// Calls in flight keep the limit with which they began. A default limit stays the default if
    /// the new settings name the same length.
    ///
    /// Several updates at the same time take effect one after the other.
    ///
    /// # Errors
    ///
    /// A setting is invalid, as in `build()`. If a closure returns the limits
    /// ([`per_request`](super::TimeoutBuilder::per_request)), only the mode can change. Nothing has
    /// changed then.
    pub fn update(&self, settings: &Settings) -> Result<Changes, ConfigError> {
        update(&Plain(&self.state), |to| to.clone_from(settings))
    }

    /// Changes single settings while the instance runs. Returns what changed.
    ///
    /// The closure receives the settings as they were set: a default limit is
    /// [`OwnLimit::Auto`](super::OwnLimit::Auto). It runs again if another update came first.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub fn change(&self, change: impl FnMut(&mut Settings)) -> Result<Changes, ConfigError> {
        update(&Plain(&self.state), change)
    }
}
