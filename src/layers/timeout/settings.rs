//! The settings of a time limit.

use std::collections::BTreeMap;
use std::time::Duration;

use super::layer::{LAYER, check};
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::grpc_name;
use crate::vocabulary::mode::Mode;
use crate::vocabulary::settings::{Auto, Changes, Fields, Form, Value, settings};

/// In this time 8 MB pass a connection of 1 Mbit/s.
const BODY_IDLE: Duration = Duration::from_secs(120);

settings! {
    /// The settings of a time limit: see [`mainstay::settings`](crate::settings).
    ///
    /// A configuration may give the limit alone: `timeout = "2s"`.
    pub struct Settings of "timeout", short timeout {
        /// Whether the time limit ends calls, only reports, or is off. Default `enforce`.
        ///
        /// In shadow mode no call is ended. A call that takes longer than its limit is reported
        /// when it is over.
        mode: Mode = Mode::Enforce;
        /// The limit of a call. Default 30 seconds, which is neither shown to inner services nor
        /// propagated; more than zero, at most 24 hours.
        timeout: OwnLimit = OwnLimit::Auto;
    }
}

settings! {
    /// The settings of a time limit for HTTP and gRPC: see [`mainstay::settings`](crate::settings).
    ///
    /// A configuration may give the limit alone: `timeout = "2s"`.
    #[cfg_attr(not(feature = "http"), allow(unreachable_pub, reason = "only HTTP has bodies"))]
    pub struct TimeoutSettings of "timeout", short timeout {
        /// Whether the time limit ends calls and bodies, only reports, or is off. Default `enforce`.
        ///
        /// In shadow mode no call and no body is ended. A call that takes longer than its limit is
        /// reported when it is over, at the head of its response.
        mode: Mode = Mode::Enforce;
        /// The limit of a call. Default 30 seconds, which is neither shown to inner services nor
        /// propagated; more than zero, at most 24 hours.
        timeout: OwnLimit = OwnLimit::Auto;
        /// The limits of single gRPC services (`shop.Orders`) and methods (`shop.Orders/Watch`)
        /// instead of `timeout`, or no limit. Default none.
        timeout_for: BTreeMap<String, Option<Duration>> = BTreeMap::new();
        /// Whether the limit covers the response body. Default `false`.
        whole_body: bool = false;
        /// How long a body may make no progress before it is ended, or no such limit. Default 120
        /// seconds; more than zero, at most 24 hours.
        body_idle: Option<Duration> = Some(BODY_IDLE);
    }
}

/// The time limit in [`Settings`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OwnLimit {
    /// The default limit: `auto`. It is neither shown to inner services nor propagated.
    #[default]
    Auto,
    /// No limit of the layer's own: `off`. The deadlines of the caller and of the
    /// [`Context`](crate::Context) still apply.
    Off,
    /// A limit that is set: `2s`. It is also the deadline of inner services.
    Of(Duration),
}

impl From<Duration> for OwnLimit {
    fn from(length: Duration) -> Self {
        Self::Of(length)
    }
}

/// The form of a setting: `None` is `auto`, and `Some(None)` is `off`.
impl From<Option<Option<Duration>>> for OwnLimit {
    fn from(limit: Option<Option<Duration>>) -> Self {
        match limit {
            None => Self::Auto,
            Some(None) => Self::Off,
            Some(Some(length)) => Self::Of(length),
        }
    }
}

impl OwnLimit {
    const fn form(self) -> Option<Option<Duration>> {
        match self {
            Self::Auto => None,
            Self::Off => Some(None),
            Self::Of(length) => Some(Some(length)),
        }
    }

    fn checked(self) -> Result<(), ConfigError> {
        match self {
            Self::Of(length) => check(LAYER, "timeout", length),
            Self::Auto | Self::Off => Ok(()),
        }
    }
}

impl Value for OwnLimit {
    fn shown(&self) -> String {
        Auto::shown(&self.form())
    }

    fn compare(&self, to: &Self, path: &str, changes: &mut Changes) {
        Auto::compare(&self.form(), &to.form(), path, changes);
    }

    #[cfg(feature = "serde")]
    fn write<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Auto::write(&self.form(), to)
    }

    #[cfg(feature = "serde")]
    fn read<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut form: Option<Option<Duration>> = None;
        Auto::read_over(&mut form, from)?;
        Ok(form.into())
    }

    #[cfg(feature = "schemars")]
    fn schema_of(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Auto::schema(&None::<Option<Duration>>, generator)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::initial()
    }
}

impl Settings {
    fn checked(&self) -> Result<(), ConfigError> {
        self.timeout.checked()
    }
}

impl Default for TimeoutSettings {
    fn default() -> Self {
        Self::initial()
    }
}

impl TimeoutSettings {
    fn checked(&self) -> Result<(), ConfigError> {
        self.timeout.checked()?;
        for (name, limit) in &self.timeout_for {
            grpc_name::check(LAYER, "timeout_for", name)?;
            if let Some(limit) = limit {
                check(LAYER, "timeout_for", *limit)?;
            }
        }
        if let Some(idle) = self.body_idle {
            check(LAYER, "body_idle", idle)?;
        }
        Ok(())
    }

    /// The settings that do not concern HTTP.
    pub(crate) fn plain(&self) -> Settings {
        Settings {
            mode: self.mode,
            timeout: self.timeout,
        }
    }

    /// Sets those that do not concern HTTP.
    pub(crate) fn set_plain(&mut self, plain: &Settings) {
        self.mode = plain.mode;
        self.timeout = plain.timeout;
    }
}
