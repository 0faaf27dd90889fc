use std::marker::PhantomData;
use std::time::Duration;

use super::shown;
#[cfg(feature = "http")]
use crate::layers::timeout::LimitSource;
#[cfg(feature = "http")]
use crate::layers::timeout::settings::TimeoutSettings;
use crate::layers::timeout::{
    self, Fixed, HeadOnly, OwnLimit, Role, TimeoutBuilder, TimeoutLayer, check,
};
#[cfg(feature = "http")]
use crate::protocol::http::{AttemptLimit, BodyLimits, HttpLimit};
use crate::registry::Instance;
#[cfg(feature = "http")]
use crate::stack::numbers::BodyNumbers;
use crate::stack::numbers::Numbers;
use crate::stack::part::{Part, Setting, Stack};
#[cfg(feature = "http")]
use crate::stack::refine::Refine;
use crate::stack::snapshot::Snapshots;
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::mode::Mode;

const ATTEMPT_TIMEOUT: &str = "attempt_timeout";

/// The settings of the time limit of an HTTP or gRPC stack.
#[cfg(feature = "http")]
pub(in crate::stack) type StackTimeout = TimeoutBuilder<HttpLimit<String>, BodyLimits>;

/// The time limit of a client stack over HTTP or gRPC.
#[cfg(feature = "http")]
pub(in crate::stack) struct ClientTimeout;

#[cfg(feature = "http")]
impl ClientTimeout {
    pub(in crate::stack) fn settings() -> StackTimeout {
        let mut timeout = crate::protocol::http::timeout();
        timeout.role = Role::with_default(LimitSource::Fallback);
        timeout
    }
}

#[cfg(feature = "http")]
impl<T> Part<T> for ClientTimeout {
    const NAME: &'static str = "timeout";
    type Settings = StackTimeout;
    type Layer = TimeoutLayer<HttpLimit, BodyLimits>;

    fn standard() -> Option<StackTimeout> {
        Some(Self::settings())
    }

    fn is_on(settings: &StackTimeout) -> bool {
        settings.settings.mode != Mode::Off
    }

    fn numbers(settings: &StackTimeout, numbers: &mut Numbers) {
        http_numbers(&settings.settings, &settings.role, numbers);
    }

    fn describe(settings: &StackTimeout) -> Vec<Setting> {
        describe_http(settings)
    }

    fn build(
        settings: Option<StackTimeout>,
        stack: &Stack<'_, T>,
    ) -> Result<Self::Layer, ConfigError> {
        let mut timeout = settings.unwrap_or_else(|| Self::settings().mode(Mode::Off));
        stack.adopt(&mut timeout.name, &mut timeout.observer);
        // The headers of this program's own requests need no floor.
        timeout.policy.floor = Duration::ZERO;
        timeout.cover.client = true;
        timeout.policy.of_stack = true;
        timeout.role.keeps_deadlines = true;
        timeout.build()
    }
}

/// The time limit of a server stack over HTTP or gRPC.
#[cfg(feature = "http")]
pub(in crate::stack) struct ServerTimeout;

#[cfg(feature = "http")]
impl<T> Part<T> for ServerTimeout {
    const NAME: &'static str = "timeout";
    type Settings = StackTimeout;
    type Layer = TimeoutLayer<HttpLimit, BodyLimits>;

    fn standard() -> Option<StackTimeout> {
        Some(crate::protocol::http::timeout())
    }

    fn is_on(settings: &StackTimeout) -> bool {
        settings.settings.mode != Mode::Off
    }

    fn numbers(settings: &StackTimeout, numbers: &mut Numbers) {
        http_numbers(&settings.settings, &settings.role, numbers);
    }

    fn describe(settings: &StackTimeout) -> Vec<Setting> {
        describe_http(settings)
    }

    fn build(
        settings: Option<StackTimeout>,
        stack: &Stack<'_, T>,
    ) -> Result<Self::Layer, ConfigError> {
        let mut timeout =
            settings.unwrap_or_else(|| crate::protocol::http::timeout().mode(Mode::Off));
        stack.adopt(&mut timeout.name, &mut timeout.observer);
        timeout.policy.of_stack = true;
        timeout.build()
    }
}

/// The numbers of these settings.
#[cfg(feature = "http")]
fn http_numbers(settings: &TimeoutSettings, role: &Role, numbers: &mut Numbers) {
    if settings.mode == Mode::Off {
        return;
    }
    let is_set = |idle: &Duration| Some(*idle) != TimeoutSettings::default().body_idle;
    numbers.total = role.length(settings.timeout);
    numbers.body = BodyNumbers {
        whole: settings.whole_body,
        idle: settings.body_idle.filter(is_set),
    };
}

#[cfg(feature = "http")]
fn describe_http(timeout: &StackTimeout) -> Vec<Setting> {
    let off = || "off".to_owned();
    let mut settings = Vec::new();
    if let Some(own) = timeout.role.length(timeout.settings.timeout) {
        settings.push(("timeout", shown(own)));
    }
    let body_idle = timeout.settings.body_idle.map_or_else(off, shown);
    settings.push(("body_idle", body_idle));
    for (name, limit) in &timeout.settings.timeout_for {
        let limit = limit.map_or_else(|| "none".to_owned(), shown);
        settings.push(("timeout_for", format!("{name}: {limit}")));
    }
    if timeout.settings.whole_body {
        settings.push(("whole_body", "true".to_owned()));
    }
    if timeout.policy.trusts_inbound {
        settings.push(("header", timeout.policy.header.clone()));
    } else {
        settings.push(("ignore_inbound", "true".to_owned()));
    }
    settings.extend(describe_mode(timeout.settings.mode));
    settings
}

/// The mode, unless it is the usual one.
pub(in crate::stack) fn describe_mode(mode: Mode) -> Option<Setting> {
    (mode != Mode::Enforce).then(|| ("mode", shown(mode)))
}

/// The part of a response that the time limit of an attempt covers.
pub(in crate::stack) trait AttemptCover {
    /// The policy of the layer.
    type Limit: Clone;

    const LIMIT: Self::Limit;

    fn for_attempts() -> Self;
}

impl AttemptCover for HeadOnly {
    type Limit = Fixed;

    const LIMIT: Fixed = Fixed(());

    fn for_attempts() -> Self {
        Self
    }
}

#[cfg(feature = "http")]
impl AttemptCover for BodyLimits {
    type Limit = AttemptLimit;

    const LIMIT: AttemptLimit = AttemptLimit(());

    // In gRPC the limit covers an attempt to its last trailer, as its deadline header says. The
    // time limit of the whole call ends idle bodies.
    fn for_attempts() -> Self {
        let mut cover = Self::DEFAULT;
        cover.client = true;
        cover
    }
}

/// The time limit of each attempt in a client stack. Off by default.
pub(in crate::stack) struct AttemptTimeout<B>(PhantomData<B>);

impl<B: AttemptCover + Clone, T> Part<T> for AttemptTimeout<B> {
    const NAME: &'static str = ATTEMPT_TIMEOUT;
    type Settings = Duration;
    type Layer = TimeoutLayer<B::Limit, B>;

    fn standard() -> Option<Duration> {
        None
    }

    fn numbers(limit: &Duration, numbers: &mut Numbers) {
        numbers.attempt = Some(*limit);
    }

    fn describe(limit: &Duration) -> Vec<Setting> {
        vec![("timeout", shown(limit))]
    }

    fn build(limit: Option<Duration>, stack: &Stack<'_, T>) -> Result<Self::Layer, ConfigError> {
        let role = Role::without_default(true);
        let mut timeout = TimeoutBuilder::of(B::LIMIT, B::for_attempts(), role).of_attempts();
        stack.adopt(&mut timeout.name, &mut timeout.observer);
        timeout.settings.body_idle = None;
        match limit {
            Some(limit) => {
                check(ATTEMPT_TIMEOUT, "timeout", limit)?;
                timeout.settings.timeout = OwnLimit::Of(limit);
            }
            None => timeout.settings.mode = Mode::Off,
        }
        timeout.finish(|policy| policy)
    }
}

#[cfg(feature = "http")]
impl Refine<Self> for StackTimeout {
    fn refine(mut self, standard: Self) -> Self {
        // A builder without a limit of its own leaves that of the stack.
        self.role = standard.role;
        self
    }
}

#[cfg(feature = "http")]
impl Refine<StackTimeout> for TimeoutBuilder<Fixed> {
    fn refine(self, mut standard: StackTimeout) -> StackTimeout {
        // A builder without a limit of its own leaves that of the stack.
        standard.settings.set_plain(&self.settings.plain());
        standard.name = self.name;
        standard.observer = self.observer;
        standard
    }
}

#[cfg(feature = "http")]
impl Refine<StackTimeout> for Duration {
    fn refine(self, standard: StackTimeout) -> StackTimeout {
        standard.timeout(self)
    }
}

impl<P, B> Snapshots for TimeoutLayer<P, B> {
    type Snapshot = timeout::Snapshot;

    fn snapshot(&self) -> Self::Snapshot {
        timeout::Snapshot::of(&self.limits)
    }

    fn instance(&self) -> Instance {
        self.plain_handle().into()
    }

    fn has_rejected(&self) -> bool {
        let snapshot = Snapshots::snapshot(self);
        snapshot.rejections.total() + snapshot.would_reject.total() > 0
    }
}
