use std::time::Duration;

use super::{BodyLimits, HttpLimit};
use crate::layers::timeout::settings::TimeoutSettings;
use crate::layers::timeout::{LAYER, OwnLimit, TimeoutBuilder, TimeoutLayer};
use crate::protocol::http::deadline::checked;
use crate::vocabulary::config::{ConfigError, OfInstance as _};
use crate::vocabulary::grpc_name;

impl TimeoutBuilder<HttpLimit<String>, BodyLimits> {
    /// Sets the time limit of a call, to the head of its response. Default 30 seconds; more than
    /// zero, at most 24 hours.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = OwnLimit::Of(timeout);
        self
    }

    /// Sets all settings at once, such as those of a configuration. A configuration contains
    /// neither the header nor the rules for limits of callers.
    pub fn settings(mut self, settings: TimeoutSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Sets the limit of one gRPC service (`shop.Orders`) or method (`shop.Orders/Watch`), instead
    /// of [`timeout`](Self::timeout). Default none.
    ///
    /// The limit of a method takes precedence over that of its service, and a later limit for the
    /// same name over an earlier one. It applies to gRPC requests only.
    ///
    /// ```
    /// use mainstay::grpc;
    /// use std::time::Duration;
    ///
    /// let stack = grpc::client("shop")
    ///     .timeout(
    ///         grpc::timeout()
    ///             .timeout(Duration::from_secs(1))
    ///             .timeout_for("shop.Orders/Export", Duration::from_secs(300))?
    ///             .without_timeout_for("shop.Orders/Watch")?,
    ///     )
    ///     .build()?;
    /// # Ok::<_, mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When the name is neither a service nor a method. [`build`](Self::build) reports a limit that
    /// is out of range.
    pub fn timeout_for(self, name: impl AsRef<str>, limit: Duration) -> Result<Self, ConfigError> {
        self.rule("timeout_for", name.as_ref(), Some(limit))
    }

    /// Removes this layer's limit from one gRPC service (`shop.Orders`) or method
    /// (`shop.Orders/Watch`): for streams that live as long as their reader.
    ///
    /// The deadlines of the caller and of the [`Context`](crate::Context) still apply. See
    /// [`timeout_for`](Self::timeout_for).
    ///
    /// # Errors
    ///
    /// When the name is neither a service nor a method.
    pub fn without_timeout_for(self, name: impl AsRef<str>) -> Result<Self, ConfigError> {
        self.rule("without_timeout_for", name.as_ref(), None)
    }

    fn rule(
        mut self,
        field: &'static str,
        name: &str,
        limit: Option<Duration>,
    ) -> Result<Self, ConfigError> {
        grpc_name::check(LAYER, field, name)?;
        self.settings.timeout_for.insert(name.to_owned(), limit);
        Ok(self)
    }

    /// Sets the floor of a caller's limit. Default 10 milliseconds; zero is no floor.
    ///
    /// A shorter `grpc-timeout` or `x-request-timeout-ms` counts as the floor, except zero: that
    /// caller has no time left. A client stack has no floor, because it reads the limits of its own
    /// program.
    ///
    /// tonic's transport server applies `grpc-timeout` itself, without a floor.
    pub fn inbound_floor(mut self, floor: Duration) -> Self {
        self.policy.floor = floor;
        self
    }

    /// Sets the header of the caller's limit in milliseconds. Default `x-request-timeout-ms`.
    pub fn header(mut self, name: impl Into<String>) -> Self {
        self.policy.header = name.into();
        self
    }

    /// Ignores the limits of callers: for the edge of a system. By default they apply.
    ///
    /// tonic's transport server still applies `grpc-timeout` itself.
    pub fn ignore_inbound(mut self) -> Self {
        self.policy.trusts_inbound = false;
        self
    }

    /// Makes the limit cover the response body. Off by default, because it also ends healthy
    /// downloads and streams.
    ///
    /// A body that is not read to its end in time ends in an error, or in gRPC in the status
    /// `DEADLINE_EXCEEDED`.
    pub fn whole_body(mut self) -> Self {
        self.settings.whole_body = true;
        self
    }

    /// Sets how long a body may make no progress before it is ended. Default 120 seconds; more than
    /// zero, at most 24 hours.
    ///
    /// In 120 seconds 8 MB pass a connection of 1 Mbit/s, for frames that cannot be split.
    /// [`TimedBody`](crate::http::TimedBody) defines progress.
    pub fn body_idle(mut self, idle: Duration) -> Self {
        self.settings.body_idle = Some(idle);
        self
    }

    /// Declares that the layer wraps a client: this program reads the bodies, and may take any
    /// time. A body is then idle only while its reader waits. Off by default.
    ///
    /// Client stacks, and every layer around reqwest's client, set it themselves. Set it for a
    /// layer around hyper's client or tonic's channel.
    pub fn for_client(mut self) -> Self {
        self.cover.client = true;
        self
    }

    /// Removes the limit on bodies without progress. By default they end after 120 seconds.
    ///
    /// Without the limit, a stalled body holds its permit and memory for ever.
    pub fn without_body_idle(mut self) -> Self {
        self.settings.body_idle = None;
        self
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// When a value is out of range, or the name or the header is invalid.
    pub fn build(self) -> Result<TimeoutLayer<HttpLimit, BodyLimits>, ConfigError> {
        let name = self.name.clone();
        self.try_build().of_instance(name.as_deref())
    }

    fn try_build(self) -> Result<TimeoutLayer<HttpLimit, BodyLimits>, ConfigError> {
        let header = checked(LAYER, &self.policy.header)?;
        self.finish(|policy| HttpLimit {
            floor: policy.floor,
            header,
            trusts_inbound: policy.trusts_inbound,
            of_stack: policy.of_stack,
        })
    }
}
