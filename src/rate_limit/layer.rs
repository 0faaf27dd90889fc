use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::limiter::Limiter;
use super::service::RateLimit;
use super::snapshot::Snapshot;
use crate::admission::Admission;
use crate::config::OfInstance as _;
use crate::inner::Inner;
use crate::listeners::Listeners;
use crate::name::origin;
use crate::name::unnamed::RATE_LIMIT;
use crate::observe::{Events, Observer};
use crate::policy::rate_limit::Rate;
use crate::shared::Shared;
use crate::{AtResponse, ConfigError};

pub(crate) const LAYER: &str = "rate_limit";

const SECOND: Duration = Duration::from_secs(1);

/// Limits the rate of calls: see the [module](crate::rate_limit).
///
/// Clones share the limit, and so do all services that they make.
#[derive(Clone)]
pub struct RateLimitLayer<T = AtResponse> {
    limiter: Shared<Limiter>,
    tracker: T,
}

impl RateLimitLayer {
    /// Admits `permits` calls a second, and as many at once after a pause.
    ///
    /// # Errors
    ///
    /// When `permits` is not from 1 to 1 000 000.
    ///
    /// ```
    /// use mainstay::RateLimitLayer;
    ///
    /// let layer = RateLimitLayer::per_second(10)?;
    /// # Ok::<_, mainstay::ConfigError>(())
    /// ```
    pub fn per_second(permits: u32) -> Result<Self, ConfigError> {
        Self::builder().per(permits, SECOND).build()
    }

    /// A rate limit with more settings.
    pub fn builder() -> RateLimitBuilder {
        RateLimitBuilder::tracked_by(AtResponse::default())
    }
}

impl<T> RateLimitLayer<T> {
    /// The number of calls that would be admitted now.
    #[must_use]
    pub fn available(&self) -> u32 {
        self.limiter.available()
    }

    /// The name of the instance.
    #[cfg(feature = "http")]
    pub(crate) fn name(&self) -> &'static str {
        self.limiter.listeners.origin().name()
    }

    /// The permits of a window of whole seconds, and its length.
    #[cfg(feature = "http")]
    pub(crate) fn in_whole_seconds(&self) -> (u64, u64) {
        self.limiter.rate.in_whole_seconds()
    }

    /// The permits that are available, the outcomes of calls and the rejections.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(&self.limiter)
    }

    /// Subscribes to the events of the rate limit.
    #[must_use]
    pub fn events(&self) -> Events {
        self.limiter.listeners.subscribe()
    }
}

impl<S, T: Clone> Layer<S> for RateLimitLayer<T> {
    type Service = RateLimit<S, T>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit {
            admission: Admission {
                inner: Inner::new(inner),
                state: self.limiter.clone(),
                tracker: self.tracker.clone(),
            },
        }
    }
}

impl<T> fmt::Debug for RateLimitLayer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayer")
            .field("name", &self.limiter.listeners.origin().name())
            .field("rate", &format_args!("{}", self.limiter.rate))
            .field("available", &self.available())
            .finish()
    }
}

/// Builds a [`RateLimitLayer`].
///
/// ```
/// use mainstay::RateLimitLayer;
/// use std::time::Duration;
///
/// let layer = RateLimitLayer::builder()
///     .name("search")
///     .per(100, Duration::from_secs(60))
///     .burst(20)
///     .build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
#[must_use = "a builder does nothing until `build` is called"]
pub struct RateLimitBuilder<T = AtResponse> {
    name: Option<String>,
    rate: Rate,
    tracker: T,
    observer: Option<Arc<dyn Observer>>,
}

impl<T> RateLimitBuilder<T> {
    pub(crate) fn tracked_by(tracker: T) -> Self {
        Self {
            name: None,
            rate: Rate::new(100, SECOND),
            tracker,
            observer: None,
        }
    }

    /// The name of this instance, in rejections and events. Default: `default`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Admits `permits` calls for each period. Default: 100 a second.
    ///
    /// The period may last from 1 ms to 24 hours, and the permits are at least 1 and at most one for
    /// each microsecond. Permits come one by one, evenly over the period. The time between two is
    /// rounded up to whole nanoseconds, so that the rate is never higher than this.
    pub fn per(mut self, permits: u32, period: Duration) -> Self {
        (self.rate.permits, self.rate.per) = (permits, period);
        self
    }

    /// Admits up to this number of calls at once after a pause. Default: the permits of a period.
    ///
    /// At least 1, which spaces all calls evenly, and at most as many as become available in a year.
    pub fn burst(mut self, burst: u32) -> Self {
        self.rate.burst = Some(burst);
        self
    }

    /// Sends events to this observer.
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Follows calls by a [`Track`](crate::Track) of your own, which classifies responses. Default:
    /// [`AtResponse`]. The outcome of a call changes nothing but the counts in snapshots and metrics.
    pub fn tracker<T2>(self, tracker: T2) -> RateLimitBuilder<T2> {
        RateLimitBuilder {
            name: self.name,
            rate: self.rate,
            tracker,
            observer: self.observer,
        }
    }

    /// The layer.
    ///
    /// # Errors
    ///
    /// When a value is out of its range; the error names the setting, the value and the rule.
    pub fn build(self) -> Result<RateLimitLayer<T>, ConfigError> {
        let name = self.name.clone();
        self.built().of_instance(name.as_deref())
    }

    fn built(self) -> Result<RateLimitLayer<T>, ConfigError> {
        let origin = origin(LAYER, self.name.as_deref().unwrap_or(RATE_LIMIT.name()))?;
        self.rate.check()?;
        let listeners = Listeners::new(origin, self.observer);
        Ok(RateLimitLayer {
            limiter: Shared::new(Limiter::new(self.rate, listeners)),
            tracker: self.tracker,
        })
    }
}

impl<T> fmt::Debug for RateLimitBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitBuilder")
            .field("name", &self.name)
            .field("rate", &format_args!("{}", self.rate))
            .finish_non_exhaustive()
    }
}
