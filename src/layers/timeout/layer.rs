//! The layer and its builder.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::cover::HeadOnly;
use super::handle::TimeoutHandle;
use super::service::Timeout;
use super::upload::Upload;
use crate::call::inner::Inner;
use crate::observe::emitter::Emitter;
use crate::observe::event::Observer;
use crate::runtime::Moment;
use crate::runtime::shared::Shared;
use crate::vocabulary::config::OfInstance as _;
use crate::vocabulary::context::Deadline;
use crate::vocabulary::kind::{Id, Kind, Series};
use crate::vocabulary::name::InstanceName;
use crate::vocabulary::overrides::{LimitOverride, Overrides};
use crate::vocabulary::sealed::Sealed;
use crate::vocabulary::{config::ConfigError, reason::Reason};

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
    fn limit(&self, request: &Req) -> Option<CallLimit>;

    /// The limit for this request that replaces the layer's.
    #[doc(hidden)]
    #[inline]
    fn limit_override(&self, _request: &Req) -> LimitOverride {
        Overrides::current().limit()
    }

    /// The request's own time limit, from now on; zero has passed already. Default `None`.
    #[inline]
    fn asked(&self, _request: &Req) -> Option<Duration> {
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

/// A layer's own limit for one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallLimit {
    pub(crate) length: Duration,
    pub(crate) source: LimitSource,
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
    /// A configured limit.
    pub(crate) const fn set(length: Duration) -> Self {
        let source = LimitSource::Set;
        Self { length, source }
    }

    /// The length of the limit.
    #[must_use]
    pub const fn length(&self) -> Duration {
        self.length
    }

    /// Whether it applies to a call with this deadline.
    #[inline]
    pub(super) fn applies(self, outer: Deadline) -> bool {
        self.source != LimitSource::Fallback || outer.propagated() == Moment::NEVER
    }

    /// Whether the limit is configured. A default is not propagated to the next service.
    #[must_use]
    pub const fn is_set(&self) -> bool {
        matches!(self.source, LimitSource::Set)
    }
}

/// The same limit for every request.
#[derive(Debug, Clone, Copy)]
pub struct Fixed(pub(crate) CallLimit);

impl Fixed {
    /// The default limit.
    const DEFAULT: Self = Self(CallLimit {
        length: DEFAULT,
        source: LimitSource::Default,
    });
}

impl Sealed for Fixed {}

impl<Req> PerRequest<Req> for Fixed {
    #[inline]
    fn limit(&self, _: &Req) -> Option<CallLimit> {
        Some(self.0)
    }
}

/// A closure as a time limit, made by [`TimeoutLayer::per_request`].
pub struct PerRequestFn<F>(Arc<F>);

impl<F> Sealed for PerRequestFn<F> {}

impl<F, Req> PerRequest<Req> for PerRequestFn<F>
where
    F: Fn(&Req) -> Option<Duration>,
{
    #[inline]
    fn limit(&self, request: &Req) -> Option<CallLimit> {
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
    emitter: Shared<Emitter>,
    ends: bool,
}

impl TimeoutLayer {
    /// Limits every call to `timeout`.
    ///
    /// All values are accepted: with zero a call must complete at its first poll, and a value too
    /// long for the clock is no limit. The [`builder`](Self::builder) refuses such values.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        Self {
            policy: Fixed(CallLimit::set(timeout)),
            cover: HeadOnly,
            emitter: Shared::new(Emitter::of_default(&KIND)),
            ends: true,
        }
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
        TimeoutLayer {
            policy: PerRequestFn(Arc::new(timeout)),
            cover: HeadOnly,
            emitter: Shared::new(Emitter::of_default(&KIND)),
            ends: true,
        }
    }

    /// A layer with settings of your own.
    pub fn builder() -> TimeoutBuilder {
        TimeoutBuilder::of(Fixed::DEFAULT, HeadOnly)
    }
}

impl<P, B> TimeoutLayer<P, B> {
    /// A handle to inspect the time limit.
    #[must_use]
    pub fn handle(&self) -> TimeoutHandle {
        TimeoutHandle::new(&self.emitter)
    }
}

impl<S, P: Clone, B: Clone> Layer<S> for TimeoutLayer<P, B> {
    type Service = Timeout<S, P, B>;

    fn layer(&self, inner: S) -> Self::Service {
        Timeout {
            inner: Inner::new(inner),
            policy: self.policy.clone(),
            cover: self.cover.clone(),
            emitter: self.emitter.clone(),
            ends: self.ends,
        }
    }
}

impl<P: fmt::Debug, B: fmt::Debug> fmt::Debug for TimeoutLayer<P, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutLayer")
            .field("name", &self.emitter.name())
            .field("policy", &self.policy)
            .field("covers", &self.cover)
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
    /// `false` if it is switched off: a standard stack keeps its type without it.
    ends: bool,
}

impl<P, B> TimeoutBuilder<P, B> {
    pub(crate) const fn of(policy: P, cover: B) -> Self {
        Self {
            kind: &KIND,
            name: None,
            policy,
            cover,
            observer: None,
            ends: true,
        }
    }

    /// Makes it a limit for attempts.
    pub(crate) const fn of_attempts(mut self) -> Self {
        self.kind = &ATTEMPT_KIND;
        self
    }

    /// Switches it off: it ends no call, not even at the context's deadline.
    pub(crate) fn off(mut self) -> Self {
        self.ends = false;
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
            ends: self.ends,
        }
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

    /// Builds the layer with a checked policy.
    pub(crate) fn finish<Q>(
        self,
        policy: impl FnOnce(P) -> Q,
    ) -> Result<TimeoutLayer<Q, B>, ConfigError> {
        let instance = InstanceName::new(self.kind, self.name.as_deref())?;
        Ok(TimeoutLayer {
            policy: policy(self.policy),
            cover: self.cover,
            emitter: Shared::new(Emitter::new(self.kind, instance, self.observer)),
            ends: self.ends,
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
    pub fn timeout(self, timeout: Duration) -> TimeoutBuilder<Fixed> {
        self.by(Fixed(CallLimit::set(timeout)))
    }

    /// Time limit by request: see [`TimeoutLayer::per_request`].
    pub fn per_request<Req, F>(self, timeout: F) -> TimeoutBuilder<PerRequestFn<F>>
    where
        F: Fn(&Req) -> Option<Duration>,
    {
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
        let name = self.name.clone();
        self.built().of_instance(name.as_deref())
    }

    fn built(self) -> Result<TimeoutLayer, ConfigError> {
        check(self.kind.layer, "timeout", self.policy.0.length)?;
        self.finish(|policy| policy)
    }
}

impl<F> TimeoutBuilder<PerRequestFn<F>> {
    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// When the name is invalid.
    pub fn build(self) -> Result<TimeoutLayer<PerRequestFn<F>>, ConfigError> {
        self.finish(|policy| policy)
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
