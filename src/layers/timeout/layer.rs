//! The layer and its builder.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::cover::HeadOnly;
use super::handle::TimeoutHandle;
use super::limits::{Own, Role, TimeLimits};
use super::service::Timeout;
use super::settings::{OwnLimit, Settings, TimeoutSettings};
use super::upload::Upload;
use crate::call::inner::Inner;
use crate::layers::handle::Adjust as _;
use crate::observe::emitter::Emitter;
use crate::observe::event::Observer;
use crate::runtime::shared::Shared;
use crate::runtime::{Moment, nanos};
use crate::vocabulary::config::OfInstance as _;
use crate::vocabulary::context::Deadline;
use crate::vocabulary::kind::{Id, Kind, Series};
use crate::vocabulary::name::InstanceName;
use crate::vocabulary::overrides::{CallOverrides, CallSettings};
use crate::vocabulary::sealed::Sealed;
use crate::vocabulary::settings::Fields as _;
use crate::vocabulary::{config::ConfigError, mode::Mode, reason::Reason};

const REASONS: &[Reason] = &[Reason::TimedOut, Reason::DeadlinePassed];

pub(crate) static KIND: Kind = Kind::new(Id::Timeout, REASONS, &[Series::Deadline]);

/// The limit of each attempt in a standard stack.
pub(crate) static ATTEMPT_KIND: Kind = Kind::new(Id::AttemptTimeout, REASONS, &[Series::Deadline]);

pub(crate) const LAYER: &str = KIND.layer;

/// Long enough for almost all calls, and short enough to end calls that hang.
pub(crate) const DEFAULT: Duration = Duration::from_secs(30);

/// The time limit for each request.
///
/// This trait is sealed: only mainstay implements it.
pub trait PerRequest<Req>: Sealed {
    /// The layer's limit for this request; `None` for none.
    #[doc(hidden)]
    fn limit(&self, own: &Own<'_>, request: &Req) -> Option<CallLimit>;

    /// The limit for this request that replaces the layer's, and the request's own priority.
    #[doc(hidden)]
    #[inline]
    fn overrides(&self, _request: &Req) -> CallOverrides {
        CallSettings::current().limit().into()
    }

    /// The request's own time limit, from now on; zero has passed already. A layer that is off
    /// reads no headers. Default `None`.
    #[inline]
    fn asked(&self, _request: &Req, _is_on: bool) -> Option<Duration> {
        None
    }

    /// The progress of the request's body: as evidence, and for a default limit, which does not end
    /// a body that makes progress.
    #[doc(hidden)]
    #[inline]
    fn upload(&self, _request: &mut Req, _is_default: bool) -> Upload {
        Upload::None
    }
}

/// The kind of a time limit, which decides on the type of its handle.
///
/// This trait is sealed: only mainstay implements it.
pub trait LimitPolicy: Sealed {
    /// The type of its handle.
    type Handle;

    #[doc(hidden)]
    fn handle(state: StateOf<'_>) -> Self::Handle;
}

/// The state of an instance.
#[allow(missing_debug_implementations, reason = "not reachable from outside")]
pub struct StateOf<'a>(pub(crate) &'a Shared<TimeLimits>);

impl StateOf<'_> {
    pub(crate) fn plain_handle(&self) -> TimeoutHandle {
        TimeoutHandle::new(self.0)
    }
}

/// A layer's own limit for one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallLimit {
    pub(super) nanos: u64,
    /// A [`LimitSource`] as a number, which needs no conversion from the numbers in force.
    pub(super) source: u64,
}

/// The source of a layer's own limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LimitSource {
    /// Configured.
    Set,
    /// The default. It is not propagated to the next service.
    Default,
    /// The default, which holds only for calls without a deadline.
    Fallback,
}

impl CallLimit {
    pub(super) const fn of_nanos(nanos: u64, source: LimitSource) -> Self {
        Self {
            nanos,
            source: source as u64,
        }
    }

    /// A configured limit.
    #[inline]
    pub(crate) fn set(length: Duration) -> Self {
        Self::of_nanos(nanos(length), LimitSource::Set)
    }

    /// The length of the limit.
    #[must_use]
    pub const fn length(&self) -> Duration {
        Duration::from_nanos(self.nanos)
    }

    /// The same limit, longer by this time.
    pub(super) fn longer(self, by: Duration) -> Self {
        Self {
            nanos: self.nanos.saturating_add(nanos(by)),
            ..self
        }
    }

    /// The deadline of a call that begins now.
    #[inline]
    pub(super) const fn deadline(self, begun: Moment) -> Deadline {
        Deadline::of_limit(begun, self.nanos, self.is_set())
    }

    /// Whether it applies to a call with this deadline.
    #[inline]
    pub(super) fn applies(self, outer: Deadline) -> bool {
        self.source != LimitSource::Fallback as u64 || outer.propagated() == Moment::NEVER
    }

    /// Whether the limit is configured. A default is not propagated to the next service.
    #[must_use]
    pub const fn is_set(&self) -> bool {
        self.source == LimitSource::Set as u64
    }
}

/// The limit in the settings, for every request.
#[derive(Debug, Clone, Copy)]
pub struct Fixed(pub(crate) ());

impl Sealed for Fixed {}

impl LimitPolicy for Fixed {
    type Handle = TimeoutHandle;

    fn handle(state: StateOf<'_>) -> TimeoutHandle {
        state.plain_handle()
    }
}

impl<Req> PerRequest<Req> for Fixed {
    #[inline]
    fn limit(&self, own: &Own<'_>, _: &Req) -> Option<CallLimit> {
        own.limit()
    }
}

/// A closure as a time limit, made by [`TimeoutLayer::per_request`].
pub struct PerRequestFn<F>(Arc<F>);

impl<F> Sealed for PerRequestFn<F> {}

impl<F> LimitPolicy for PerRequestFn<F> {
    type Handle = TimeoutHandle;

    fn handle(state: StateOf<'_>) -> TimeoutHandle {
        state.plain_handle()
    }
}

impl<F, Req> PerRequest<Req> for PerRequestFn<F>
where
    F: Fn(&Req) -> Option<Duration>,
{
    #[inline]
    fn limit(&self, _: &Own<'_>, request: &Req) -> Option<CallLimit> {
        (self.0)(request).map(CallLimit::set)
    }
}

impl<F> Clone for PerRequestFn<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F> fmt::Debug for PerRequestFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PerRequestFn(..)")
    }
}

/// Limits how long a call may take: see the [module](crate::timeout).
#[derive(Clone)]
pub struct TimeoutLayer<P = Fixed, B = HeadOnly> {
    policy: P,
    cover: B,
    pub(crate) limits: Shared<TimeLimits>,
}

impl TimeoutLayer {
    /// Limits every call to `timeout`.
    ///
    /// All values are accepted: with zero a call must complete at its first poll, and a value too
    /// long for the clock is no limit. The [`builder`](Self::builder) refuses such values.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        let settings = TimeoutSettings {
            timeout: OwnLimit::Of(timeout),
            ..TimeoutSettings::default()
        };
        let role = Role::with_default(LimitSource::Default);
        Self::unchecked(Fixed(()), settings, role)
    }

    /// Limits each call to the result of a closure; with `None`, only to the context's deadline.
    ///
    /// ```
    /// # use mainstay::TimeoutLayer;
    /// # use std::time::Duration;
    /// struct Query { heavy: bool }
    ///
    /// let layer = TimeoutLayer::per_request(|query: &Query| {
    ///     Some(Duration::from_millis(if query.heavy { 5_000 } else { 200 }))
    /// });
    /// ```
    #[must_use]
    pub fn per_request<Req, F>(timeout: F) -> TimeoutLayer<PerRequestFn<F>>
    where
        F: Fn(&Req) -> Option<Duration>,
    {
        let role = Role::without_default(false);
        let policy = PerRequestFn(Arc::new(timeout));
        TimeoutLayer::unchecked(policy, TimeoutSettings::default(), role)
    }

    /// A layer with settings of your own.
    pub fn builder() -> TimeoutBuilder {
        let role = Role::with_default(LimitSource::Default);
        TimeoutBuilder::of(Fixed(()), HeadOnly, role)
    }
}

impl<P> TimeoutLayer<P> {
    /// An instance with the default name and settings of any value.
    fn unchecked(policy: P, settings: TimeoutSettings, role: Role) -> Self {
        let emitter = Emitter::of_default(&KIND);
        Self {
            policy,
            cover: HeadOnly,
            limits: Shared::new(TimeLimits::new(emitter, settings, role)),
        }
    }
}

impl<P, B> TimeoutLayer<P, B> {
    /// A handle for any policy.
    pub(crate) fn plain_handle(&self) -> TimeoutHandle {
        StateOf(&self.limits).plain_handle()
    }
}

impl<P: LimitPolicy, B> TimeoutLayer<P, B> {
    /// A handle to inspect the time limit, and to change its settings.
    #[must_use]
    pub fn handle(&self) -> P::Handle {
        P::handle(StateOf(&self.limits))
    }
}

impl<S, P: Clone, B: Clone> Layer<S> for TimeoutLayer<P, B> {
    type Service = Timeout<S, P, B>;

    fn layer(&self, inner: S) -> Self::Service {
        Timeout {
            inner: Inner::new(inner),
            policy: self.policy.clone(),
            cover: self.cover.clone(),
            limits: self.limits.clone(),
        }
    }
}

impl<P: fmt::Debug, B: fmt::Debug> fmt::Debug for TimeoutLayer<P, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutLayer")
            .field("name", &self.limits.emitter.name())
            .field("policy", &self.policy)
            .field("covers", &self.cover)
            .field("mode", &self.limits.mode())
            .finish()
    }
}

/// Builds a [`TimeoutLayer`].
///
/// ```
/// # use mainstay::TimeoutLayer;
/// # use std::time::Duration;
/// let layer = TimeoutLayer::builder()
///     .name("payments")
///     .timeout(Duration::from_millis(800))
///     .build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
#[must_use = "a builder does nothing until `build` is called"]
pub struct TimeoutBuilder<P = Fixed, B = HeadOnly> {
    /// A stack has two kinds.
    kind: &'static Kind,
    pub(crate) name: Option<String>,
    pub(crate) policy: P,
    pub(crate) cover: B,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) settings: TimeoutSettings,
    pub(crate) role: Role,
}

impl<P, B> TimeoutBuilder<P, B> {
    pub(crate) fn of(policy: P, cover: B, role: Role) -> Self {
        Self {
            kind: &KIND,
            name: None,
            policy,
            cover,
            observer: None,
            settings: TimeoutSettings::default(),
            role,
        }
    }

    /// Makes it a limit for attempts.
    pub(crate) const fn of_attempts(mut self) -> Self {
        self.kind = &ATTEMPT_KIND;
        self
    }

    /// Sets the policy.
    pub(crate) fn by<Q>(self, policy: Q) -> TimeoutBuilder<Q, B> {
        TimeoutBuilder {
            kind: self.kind,
            name: self.name,
            policy,
            cover: self.cover,
            observer: self.observer,
            settings: self.settings,
            role: self.role,
        }
    }

    /// Whether the time limit ends calls, only reports, or is off. Default [`Mode::Enforce`].
    ///
    /// In [shadow mode](Mode::Shadow) no call is ended, and inner services see only deadlines from
    /// outside. A call that takes longer than its limit is reported when it is over, and a call
    /// whose deadline has passed at once. A layer that is off also ignores deadlines. A limit of
    /// [`Overrides`](crate::Overrides) applies in every mode.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.settings.mode = mode;
        self
    }

    /// Name of this instance in rejections, events and metrics. Default `default`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sends the events of this instance to an observer. Default none.
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    fn built(self) -> Result<TimeoutLayer<P, B>, ConfigError> {
        let name = self.name.clone();
        self.finish(|policy| policy).of_instance(name.as_deref())
    }

    /// Builds the layer with a checked policy.
    pub(crate) fn finish<Q>(
        self,
        policy: impl FnOnce(P) -> Q,
    ) -> Result<TimeoutLayer<Q, B>, ConfigError> {
        self.settings.check()?;
        let instance = InstanceName::new(self.kind, self.name.as_deref())?;
        let emitter = Emitter::new(self.kind, instance, self.observer);
        let limits = TimeLimits::new(emitter, self.settings, self.role);
        limits.check(&limits.settings())?;
        Ok(TimeoutLayer {
            policy: policy(self.policy),
            cover: self.cover,
            limits: Shared::new(limits),
        })
    }
}

impl<P> TimeoutBuilder<P> {
    /// Time limit for a call. Default 30 seconds, long enough for almost all calls and short enough
    /// to end calls that hang; more than zero, at most 24 hours.
    ///
    /// A configured limit is also the deadline of inner services:
    /// [`Context::remaining`](crate::Context::remaining) returns the time left, and client layers
    /// propagate it. The default is neither shown nor propagated.
    pub fn timeout(mut self, timeout: Duration) -> TimeoutBuilder<Fixed> {
        self.settings.timeout = OwnLimit::Of(timeout);
        self.role = Role::with_default(LimitSource::Default);
        self.by(Fixed(()))
    }

    /// Sets all settings at once, such as those of a configuration.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings.set_plain(&settings);
        self
    }

    /// Time limit by request: see [`TimeoutLayer::per_request`].
    pub fn per_request<Req, F>(mut self, timeout: F) -> TimeoutBuilder<PerRequestFn<F>>
    where
        F: Fn(&Req) -> Option<Duration>,
    {
        self.settings.timeout = OwnLimit::Auto;
        self.role = Role::without_default(false);
        self.by(PerRequestFn(Arc::new(timeout)))
    }
}

/// Refuses a time limit out of range.
pub(crate) fn check(
    layer: &'static str,
    field: &'static str,
    limit: Duration,
) -> Result<(), ConfigError> {
    const LONGEST: Duration = Duration::from_secs(24 * 3600);
    if limit.is_zero() || limit > LONGEST {
        let rule = "must be more than 0 and at most 24 hours";
        let shown = format_args!("{limit:?}").to_string();
        return Err(ConfigError::new(layer, field, shown, rule));
    }
    Ok(())
}

impl TimeoutBuilder<Fixed> {
    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// When a value is out of range.
    pub fn build(self) -> Result<TimeoutLayer, ConfigError> {
        self.built()
    }
}

impl<F> TimeoutBuilder<PerRequestFn<F>> {
    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// When the name is invalid, or the [settings](Self::settings) contain a limit.
    pub fn build(self) -> Result<TimeoutLayer<PerRequestFn<F>>, ConfigError> {
        self.built()
    }
}

impl<P: fmt::Debug, B: fmt::Debug> fmt::Debug for TimeoutBuilder<P, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutBuilder")
            .field("name", &self.name)
            .field("policy", &self.policy)
            .field("covers", &self.cover)
            .finish_non_exhaustive()
    }
}
