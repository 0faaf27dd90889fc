use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::cover::HeadOnly;
use super::service::Timeout;
use super::snapshot::Snapshot;
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
use crate::vocabulary::sealed::Sealed;
use crate::vocabulary::{config::ConfigError, reason::Reason};

const REASONS: &[Reason] = &[Reason::TimedOut, Reason::DeadlinePassed];

pub(crate) static KIND: Kind = Kind::new(Id::Timeout, REASONS, &[Series::Deadline]);

/// The limit of each attempt in a standard stack.
pub(crate) static ATTEMPT_KIND: Kind = Kind::new(Id::AttemptTimeout, REASONS, &[Series::Deadline]);

pub(crate) const LAYER: &str = KIND.layer;

/// Long enough to break nobody, and short enough to end what hangs.
pub(crate) const DEFAULT: Duration = Duration::from_secs(30);

/// How long a call of a request may take.
///
/// This trait is sealed: only mainstay implements it.
pub trait PerRequest<Req>: Sealed {
    /// The limit for this request; `None` is no limit of this layer's own.
    fn limit(&self, request: &Req) -> Option<CallLimit>;

    /// What the request itself asks to be done by, from now on; zero is late already. `None` is nothing, which is what requests that
    /// have no place for it always say.
    #[inline]
    fn asked(&self, _request: &Req) -> Option<Duration> {
        None
    }

    /// What is known of the request's body while it is sent: for evidence, and for a default limit, which does not end what moves.
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

/// Where a layer's own limit comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LimitSource {
    /// Somebody set it.
    Set,
    /// Nobody did: it is not propagated to the next service.
    Default,
    /// Nobody did, and it holds only where nothing else says how long a call may take.
    Fallback,
}

impl CallLimit {
    /// A limit that somebody set.
    pub(crate) const fn set(length: Duration) -> Self {
        let source = LimitSource::Set;
        Self { length, source }
    }

    /// The length of the limit.
    #[must_use]
    pub const fn length(&self) -> Duration {
        self.length
    }

    /// Whether it holds for a call that comes with this deadline.
    #[inline]
    pub(super) fn holds(self, outer: Deadline) -> bool {
        self.source != LimitSource::Fallback || outer.propagated() == Moment::NEVER
    }

    /// Whether somebody set the limit. A default that nobody set is not propagated to the next service.
    #[must_use]
    pub const fn is_set(&self) -> bool {
        matches!(self.source, LimitSource::Set)
    }
}

/// The same limit for every request.
#[derive(Debug, Clone, Copy)]
pub struct Fixed(pub(crate) CallLimit);

impl Fixed {
    /// The limit of a layer for which nobody set one.
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

/// A limit by a closure of the request. Made by [`TimeoutLayer::per_request`].
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
    /// Every call may take so long.
    ///
    /// Every duration means what it says: with zero a call must be ready at once, and one that is too long for the clock
    /// is no limit. To have such values refused, use the [`builder`](Self::builder).
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        Self {
            policy: Fixed(CallLimit::set(timeout)),
            cover: HeadOnly,
            emitter: Shared::new(Emitter::of_default(&KIND)),
            ends: true,
        }
    }

    /// A call may take as long as this closure says of its request; `None` is no limit but the context's deadline.
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

    /// A layer with more settings.
    pub fn builder() -> TimeoutBuilder {
        TimeoutBuilder::of(Fixed::DEFAULT, HeadOnly)
    }
}

impl<P, B> TimeoutLayer<P, B> {
    /// What it ended.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(&self.emitter)
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
    /// What it calls itself: a stack can have more than one.
    kind: &'static Kind,
    pub(crate) name: Option<String>,
    pub(crate) policy: P,
    pub(crate) cover: B,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    /// Whether it ends anything: a standard stack can leave it out without being of another type.
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

    /// The same for the attempts of a call.
    pub(crate) const fn of_attempts(mut self) -> Self {
        self.kind = &ATTEMPT_KIND;
        self
    }

    /// The same type, which ends nothing: not even at the context's deadline, which is another's.
    pub(crate) fn off(mut self) -> Self {
        self.ends = false;
        self
    }

    /// The same with another policy.
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

    /// The name of this instance, in rejections and events; `default` if it is not set.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sends the events of this instance to an observer. Default none.
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// The layer, with the policy as it was checked.
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
    /// How long a call may take: longer than nothing, at most 24 hours. Default 30 seconds, which is long enough to break nobody
    /// and short enough to end what hangs.
    ///
    /// A limit that is set here is also the deadline of everything inside: [`Context::remaining`](crate::Context::remaining) returns
    /// the time left, and client layers propagate it. The default is neither shown nor propagated.
    pub fn timeout(self, timeout: Duration) -> TimeoutBuilder<Fixed> {
        self.by(Fixed(CallLimit::set(timeout)))
    }

    /// How long a call may take, by its request: see [`TimeoutLayer::per_request`].
    pub fn per_request<Req, F>(self, timeout: F) -> TimeoutBuilder<PerRequestFn<F>>
    where
        F: Fn(&Req) -> Option<Duration>,
    {
        self.by(PerRequestFn(Arc::new(timeout)))
    }
}

/// Refuses what can be no time limit.
pub(crate) fn check(
    layer: &'static str,
    field: &'static str,
    limit: Duration,
) -> Result<(), ConfigError> {
    const LONGEST: Duration = Duration::from_secs(24 * 3600);
    if limit.is_zero() || limit > LONGEST {
        let rule = "must be longer than nothing and at most 24 hours";
        let shown = format_args!("{limit:?}").to_string();
        return Err(ConfigError::new(layer, field, shown, rule));
    }
    Ok(())
}

impl TimeoutBuilder<Fixed> {
    /// The layer, or which setting is refused and why.
    ///
    /// # Errors
    ///
    /// When a value is out of its range.
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
    /// The layer, or which setting is refused and why.
    ///
    /// # Errors
    ///
    /// When the name is refused.
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
