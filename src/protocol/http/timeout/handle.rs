use crate::layers::handle::handle;
use crate::layers::timeout::settings::TimeoutSettings;
use crate::layers::timeout::{self, StateOf, TimeLimits};

handle! {
    /// Inspects a time limit for HTTP or gRPC, for example from an admin endpoint or a test, and
    /// changes its settings.
    ///
    /// A handle keeps the counts of the layer, but not its services. Clones share the counts.
    pub struct TimeoutHandle of TimeLimits;
    /// Counts of rejected and ended calls, and of ended bodies.
    snapshot
    ///
    /// ```
    /// use mainstay::http;
    /// use std::time::Duration;
    ///
    /// let timeout = http::timeout().build()?.handle();
    /// let changes = timeout.change(|settings| {
    ///     settings.timeout = Duration::from_secs(2).into();
    ///     settings.timeout_for.insert("shop.Orders/Watch".to_owned(), None);
    /// })?;
    /// assert_eq!(
    ///     changes.to_string(),
    ///     r#"timeout: 30s -> 2s, timeout_for."shop.Orders/Watch": unset -> off"#,
    /// );
    /// # Ok::<_, mainstay::ConfigError>(())
    /// ```
    ///
    /// Calls in flight keep the limits with which they began, and so do their bodies. A default
    /// limit stays the default if the new settings name the same length.
    update TimeoutSettings
}

/// A handle of the same instance, without the settings for HTTP.
impl From<&TimeoutHandle> for timeout::TimeoutHandle {
    fn from(handle: &TimeoutHandle) -> Self {
        StateOf(&handle.state).plain_handle()
    }
}
