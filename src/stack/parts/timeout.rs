use std::marker::PhantomData;
use std::time::Duration;

use super::shown;
use crate::layers::handle::Adjust as _;
#[cfg(feature = "http")]
use crate::layers::handle::update;
#[cfg(feature = "http")]
use crate::layers::timeout::LimitSource;
#[cfg(feature = "http")]
use crate::layers::timeout::settings::TimeoutSettings;
use crate::layers::timeout::{
    self, DEFAULT, Fixed, HeadOnly, OwnLimit, Role, TimeoutBuilder, TimeoutHandle, TimeoutLayer,
    check,
};
#[cfg(feature = "http")]
use crate::protocol::http::{AttemptLimit, BodyLimits, HttpLimit};
use crate::registry::Instance;
use crate::stack::live::LayerSettings;
#[cfg(feature = "http")]
use crate::stack::numbers::BodyNumbers;
use crate::stack::numbers::Numbers;
use crate::stack::part::{Part, Setting, Stack};
#[cfg(feature = "http")]
use crate::stack::refine::Refine;
use crate::stack::snapshot::Snapshots;
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::kind::Id;
use crate::vocabulary::mode::Mode;
use crate::vocabulary::settings::Changes;
#[cfg(feature = "http")]
use crate::vocabulary::settings::Fields;

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
impl<T, Q> Part<T, Q> for ClientTimeout {
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
        http_numbers(&settings.settings, numbers);
    }

    fn describe(settings: &StackTimeout) -> Vec<Setting> {
        describe_http(settings)
    }

    fn build(
        settings: Option<StackTimeout>,
        stack: &Stack<'_, T, Q>,
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
impl<T, Q> Part<T, Q> for ServerTimeout {
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
        http_numbers(&settings.settings, numbers);
    }

    fn describe(settings: &StackTimeout) -> Vec<Setting> {
        describe_http(settings)
    }

    fn build(
        settings: Option<StackTimeout>,
        stack: &Stack<'_, T, Q>,
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
fn http_numbers(settings: &TimeoutSettings, numbers: &mut Numbers) {
    if LayerSettings::is_on(settings) {
        settings.numbers(Id::Timeout, numbers);
    }
}

#[cfg(feature = "http")]
fn describe_http(timeout: &StackTimeout) -> Vec<Setting> {
    let mut settings = timeout.settings.describe();
    if timeout.policy.trusts_inbound {
        settings.push(("header", timeout.policy.header.clone()));
    } else {
        settings.push(("ignore_inbound", "true".to_owned()));
    }
    settings
}

/// The mode, unless it is the usual one.
pub(in crate::stack) fn describe_mode(mode: Mode) -> Option<Setting> {
    (mode != Mode::Enforce).then(|| ("mode", mode.to_string()))
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

/// A time limit for attempts.
pub(in crate::stack) fn attempt_timeout(limit: Duration) -> timeout::Settings {
    timeout::Settings {
        timeout: OwnLimit::Of(limit),
        ..timeout::Settings::default()
    }
}

/// The time limit of each attempt in a client stack. Off by default.
pub(in crate::stack) struct AttemptTimeout<B>(PhantomData<B>);

impl<B: AttemptCover + Clone, T, Q> Part<T, Q> for AttemptTimeout<B> {
    const NAME: &'static str = ATTEMPT_TIMEOUT;
    type Settings = timeout::Settings;
    type Layer = TimeoutLayer<B::Limit, B>;

    fn standard() -> Option<timeout::Settings> {
        None
    }

    fn is_on(settings: &timeout::Settings) -> bool {
        LayerSettings::is_on(settings) && settings.timeout != OwnLimit::Auto
    }

    fn numbers(settings: &timeout::Settings, numbers: &mut Numbers) {
        if <Self as Part<T, Q>>::is_on(settings) {
            settings.numbers(Id::AttemptTimeout, numbers);
        }
    }

    fn describe(settings: &timeout::Settings) -> Vec<Setting> {
        LayerSettings::describe(settings)
    }

    fn build(
        settings: Option<timeout::Settings>,
        stack: &Stack<'_, T, Q>,
    ) -> Result<Self::Layer, ConfigError> {
        let role = Role::without_default(true);
        let mut timeout = TimeoutBuilder::of(B::LIMIT, B::for_attempts(), role).of_attempts();
        stack.adopt(&mut timeout.name, &mut timeout.observer);
        timeout.settings.body_idle = None;
        let settings = settings
            .filter(<Self as Part<T, Q>>::is_on)
            .unwrap_or_else(no_attempts);
        if let OwnLimit::Of(limit) = settings.timeout {
            check(ATTEMPT_TIMEOUT, "timeout", limit)?;
        }
        timeout.settings.set_plain(&settings);
        timeout.finish(|policy| policy)
    }
}

/// The settings of the layer without a limit for attempts.
fn no_attempts() -> timeout::Settings {
    timeout::Settings {
        mode: Mode::Off,
        ..timeout::Settings::default()
    }
}

/// The length of a limit in a stack, where the default is one of the whole call.
fn length(limit: OwnLimit) -> Option<Duration> {
    match limit {
        OwnLimit::Auto => Some(DEFAULT),
        OwnLimit::Off => None,
        OwnLimit::Of(length) => Some(length),
    }
}

/// The length of a limit that ends calls. In shadow mode it ends none, so other layers derive
/// nothing from it.
fn enforced(mode: Mode, limit: OwnLimit) -> Option<Duration> {
    length(limit).filter(|_| mode == Mode::Enforce)
}

of_instance!(TimeoutHandle, Timeout);

impl LayerSettings for timeout::Settings {
    type Handle = TimeoutHandle;

    fn is_on(&self) -> bool {
        self.mode != Mode::Off && self.timeout != OwnLimit::Off
    }

    fn check(&self, id: Id) -> Result<(), ConfigError> {
        match self.timeout {
            OwnLimit::Of(limit) => check(id.layer(), "timeout", limit),
            OwnLimit::Auto | OwnLimit::Off => Ok(()),
        }
    }

    fn numbers(&self, id: Id, numbers: &mut Numbers) {
        if id == Id::AttemptTimeout {
            numbers.attempt = enforced(self.mode, self.timeout);
        } else {
            numbers.total = enforced(self.mode, self.timeout);
        }
    }

    fn normalize(&mut self, id: Id) {
        // Attempts have no default limit.
        if id == Id::AttemptTimeout && self.timeout == OwnLimit::Auto {
            self.timeout = OwnLimit::Off;
        }
    }

    fn resolve(&mut self, id: Id) {
        self.normalize(id);
        if let (OwnLimit::Auto, Some(length)) = (self.timeout, length(self.timeout)) {
            self.timeout = OwnLimit::Of(length);
        }
    }

    fn describe(&self) -> Vec<Setting> {
        let length = length(self.timeout).map(|limit| ("timeout", shown(limit)));
        length.into_iter().chain(describe_mode(self.mode)).collect()
    }

    fn of(id: Id, handle: &TimeoutHandle) -> Self {
        let mut settings = handle.limits().settings().plain();
        // Without a limit for attempts the layer is off: nothing else ends an attempt.
        if id == Id::AttemptTimeout && settings == no_attempts() {
            (settings.mode, settings.timeout) = (Mode::Enforce, OwnLimit::Off);
        }
        settings
    }

    fn put(&self, id: Id, handle: &TimeoutHandle) -> Result<Changes, ConfigError> {
        let is_none = id == Id::AttemptTimeout && !matches!(self.timeout, OwnLimit::Of(_));
        let settings = if is_none { &no_attempts() } else { self };
        handle.update(settings)
    }

    fn announce(handle: &TimeoutHandle, changes: &Changes) {
        handle.announce(changes);
    }
}

#[cfg(feature = "http")]
impl LayerSettings for TimeoutSettings {
    type Handle = TimeoutHandle;

    fn is_on(&self) -> bool {
        self.mode != Mode::Off
    }

    fn check(&self, _: Id) -> Result<(), ConfigError> {
        Fields::check(self)
    }

    fn numbers(&self, _: Id, numbers: &mut Numbers) {
        let is_set = |idle: &Duration| Some(*idle) != Self::default().body_idle;
        numbers.total = enforced(self.mode, self.timeout);
        numbers.body = BodyNumbers {
            whole: self.whole_body,
            idle: self.body_idle.filter(is_set),
        };
    }

    fn resolve(&mut self, _: Id) {
        if let (OwnLimit::Auto, Some(length)) = (self.timeout, length(self.timeout)) {
            self.timeout = OwnLimit::Of(length);
        }
    }

    fn describe(&self) -> Vec<Setting> {
        let off = || "off".to_owned();
        let mut settings = Vec::new();
        if let Some(own) = length(self.timeout) {
            settings.push(("timeout", shown(own)));
        }
        settings.push(("body_idle", self.body_idle.map_or_else(off, shown)));
        for (name, limit) in &self.timeout_for {
            let limit = limit.map_or_else(|| "none".to_owned(), shown);
            settings.push(("timeout_for", format!("{name}: {limit}")));
        }
        if self.whole_body {
            settings.push(("whole_body", "true".to_owned()));
        }
        settings.extend(describe_mode(self.mode));
        settings
    }

    fn of(_: Id, handle: &TimeoutHandle) -> Self {
        handle.limits().settings()
    }

    fn put(&self, _: Id, handle: &TimeoutHandle) -> Result<Changes, ConfigError> {
        update(handle.limits(), |to| to.clone_from(self))
    }

    fn announce(handle: &TimeoutHandle, changes: &Changes) {
        handle.announce(changes);
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
