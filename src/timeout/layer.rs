use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::service::Timeout;
use crate::ConfigError;
use crate::name::origin;
use crate::name::unnamed::TIMEOUT;
use crate::observe::{Observer, Teller};

pub(crate) const LAYER: &str = "timeout";

/// How long a call of a request may take.
pub trait PerRequest<Req> {
    /// The limit for this request; `None` is no limit of this layer's own.
    fn timeout(&self, request: &Req) -> Option<Duration>;
}

/// The same limit for every request.
#[derive(Debug, Clone, Copy)]
pub struct Fixed(pub(super) Duration);

impl<Req> PerRequest<Req> for Fixed {
    #[inline]
    fn timeout(&self, _: &Req) -> Option<Duration> {
        Some(self.0)
    }
}

/// A limit by a closure of the request. Made by [`TimeoutLayer::per_request`].
pub struct PerRequestFn<F>(Arc<F>);

impl<F, Req> PerRequest<Req> for PerRequestFn<F>
where
    F: Fn(&Req) -> Option<Duration>,
{
    #[inline]
    fn timeout(&self, request: &Req) -> Option<Duration> {
        (self.0)(request)
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
pub struct TimeoutLayer<P = Fixed> {
    pub(super) policy: P,
    pub(super) teller: Teller,
}

impl TimeoutLayer {
    /// Every call may take so long.
    ///
    /// Every duration means what it says: with zero a call must be ready at once, and one that is too long for the clock
    /// is no limit. To have such values refused, use the [`builder`](Self::builder).
    #[must_use]
    pub const fn new(timeout: Duration) -> Self {
        Self {
            policy: Fixed(timeout),
            teller: Teller::new(&TIMEOUT),
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
            teller: Teller::new(&TIMEOUT),
        }
    }

    /// A layer with more settings.
    pub fn builder() -> TimeoutBuilder {
        TimeoutBuilder {
            name: None,
            policy: Fixed(Duration::from_secs(30)),
            observer: None,
        }
    }
}

impl<S, P: Clone> Layer<S> for TimeoutLayer<P> {
    type Service = Timeout<S, P>;

    fn layer(&self, inner: S) -> Self::Service {
        Timeout {
            inner,
            policy: self.policy.clone(),
            teller: self.teller.clone(),
        }
    }
}

impl<P: fmt::Debug> fmt::Debug for TimeoutLayer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutLayer")
            .field("name", &self.teller.origin().name())
            .field("policy", &self.policy)
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
pub struct TimeoutBuilder<P = Fixed> {
    name: Option<String>,
    policy: P,
    observer: Option<Arc<dyn Observer>>,
}

impl<P> TimeoutBuilder<P> {
    /// The name of this instance, in rejections and events; `default` if it is not set.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How long a call may take: longer than nothing, at most 24 hours; 30 seconds by default, which is long enough to break
    /// nobody and short enough to end what hangs.
    pub fn timeout(self, timeout: Duration) -> TimeoutBuilder<Fixed> {
        TimeoutBuilder {
            name: self.name,
            policy: Fixed(timeout),
            observer: self.observer,
        }
    }

    /// How long a call may take, by its request: see [`TimeoutLayer::per_request`].
    pub fn per_request<Req, F>(self, timeout: F) -> TimeoutBuilder<PerRequestFn<F>>
    where
        F: Fn(&Req) -> Option<Duration>,
    {
        TimeoutBuilder {
            name: self.name,
            policy: PerRequestFn(Arc::new(timeout)),
            observer: self.observer,
        }
    }

    /// Tells this observer what the layer decides.
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    fn finish(self) -> Result<TimeoutLayer<P>, ConfigError> {
        let origin = origin(LAYER, self.name.as_deref().unwrap_or(TIMEOUT.name()))?;
        Ok(TimeoutLayer {
            policy: self.policy,
            teller: Teller::new(origin).told(self.observer),
        })
    }
}

impl TimeoutBuilder<Fixed> {
    /// The layer, or which setting is refused and why.
    ///
    /// # Errors
    ///
    /// When a value is out of its range.
    pub fn build(self) -> Result<TimeoutLayer, ConfigError> {
        const LONGEST: Duration = Duration::from_secs(24 * 3600);
        let Fixed(timeout) = self.policy;
        if timeout.is_zero() || timeout > LONGEST {
            let rule = "must be longer than nothing and at most 24 hours";
            let shown = format_args!("{timeout:?}").to_string();
            return Err(ConfigError::new(LAYER, "timeout", shown, rule));
        }
        self.finish()
    }
}

impl<F> TimeoutBuilder<PerRequestFn<F>> {
    /// The layer, or which setting is refused and why.
    ///
    /// # Errors
    ///
    /// When the name is refused.
    pub fn build(self) -> Result<TimeoutLayer<PerRequestFn<F>>, ConfigError> {
        self.finish()
    }
}

impl<P: fmt::Debug> fmt::Debug for TimeoutBuilder<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutBuilder")
            .field("name", &self.name)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
