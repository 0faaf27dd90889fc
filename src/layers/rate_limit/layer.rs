use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::handle::RateLimitHandle;
use super::limiter::Limiter;
use super::service::RateLimit;
use crate::call::inner::Inner;
use crate::call::track::AtResponse;
use crate::layers::admission::{Gate, Queued, Rejecting};
use crate::observe::emitter::Emitter;
use crate::observe::event::Observer;
use crate::policy::rate_limit::Rate;
use crate::runtime::shared::Shared;
use crate::vocabulary::config::OfInstance as _;
use crate::vocabulary::kind::{Id, Kind, Series};
use crate::vocabulary::name::InstanceName;
use crate::vocabulary::{config::ConfigError, reason::Reason};

pub(crate) static KIND: Kind = Kind::new(
    Id::RateLimit,
    &[
        Reason::RateLimited,
        Reason::NotReady,
        Reason::DeadlinePassed,
    ],
    &[Series::Calls, Series::GivenUp, Series::Queue],
);

const SECOND: Duration = Duration::from_secs(1);

/// Limits the rate of calls: see the [module](crate::rate_limit).
///
/// Clones of the layer, and all services that they make, share the limit.
#[derive(Clone)]
pub struct RateLimitLayer<M = Rejecting, T = AtResponse> {
    limiter: Shared<Limiter>,
    mode: M,
    tracker: T,
}

impl RateLimitLayer {
    /// Admits `permits` calls a second, and as many at once after a pause.
    ///
    /// # Errors
    ///
    /// `permits` is not from 1 to 1 000 000.
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

    /// Starts a builder with the default settings.
    pub fn builder() -> RateLimitBuilder {
        RateLimitBuilder::tracked_by(AtResponse::default())
    }
}

impl<M, T> RateLimitLayer<M, T> {
    /// The name of the instance.
    #[cfg(feature = "http")]
    pub(crate) fn name(&self) -> &str {
        self.limiter.emitter.name()
    }

    /// The permits of a window of whole seconds, and its length.
    #[cfg(feature = "http")]
    pub(crate) fn in_whole_seconds(&self) -> (u64, u64) {
        self.limiter.rate.in_whole_seconds()
    }

    /// A handle to inspect the rate limit.
    #[must_use]
    pub fn handle(&self) -> RateLimitHandle {
        RateLimitHandle::new(&self.limiter)
    }
}

impl<S, M: Clone, T: Clone> Layer<S> for RateLimitLayer<M, T> {
    type Service = RateLimit<S, M, T>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit {
            gate: Gate {
                inner: Inner::new(inner),
                state: self.limiter.clone(),
                tracker: self.tracker.clone(),
            },
            mode: self.mode.clone(),
        }
    }
}

impl<M: fmt::Debug, T> fmt::Debug for RateLimitLayer<M, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayer")
            .field("name", &self.limiter.emitter.name())
            .field("rate", &format_args!("{}", self.limiter.rate))
            .field("available", &self.handle().available())
            .field("waiting", &self.handle().waiting())
            .field("mode", &self.mode)
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
pub struct RateLimitBuilder<M = Rejecting, T = AtResponse> {
    pub(crate) name: Option<String>,
    /// The permits and their period; `None`: not set.
    pub(crate) per: Option<(u32, Duration)>,
    burst: Option<u32>,
    pub(crate) mode: M,
    tracker: T,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    is_off: bool,
}

impl<T> RateLimitBuilder<Rejecting, T> {
    pub(crate) fn tracked_by(tracker: T) -> Self {
        Self {
            name: None,
            per: None,
            burst: None,
            mode: Rejecting,
            tracker,
            observer: None,
            is_off: false,
        }
    }

    /// The type of a rate limit with a queue, without one.
    pub(crate) fn maybe_queued(self) -> RateLimitBuilder<Queued, T> {
        self.by(Queued { max_wait: None })
    }
}

impl<M, T> RateLimitBuilder<M, T> {
    /// Admits every call and counts none.
    pub(crate) fn off(mut self) -> Self {
        self.is_off = true;
        self
    }

    pub(crate) fn retracked<T2>(self, by: impl FnOnce(T) -> T2) -> RateLimitBuilder<M, T2> {
        RateLimitBuilder {
            name: self.name,
            per: self.per,
            burst: self.burst,
            mode: self.mode,
            tracker: by(self.tracker),
            observer: self.observer,
            is_off: self.is_off,
        }
    }

    pub(crate) fn rate(&self) -> Rate {
        let (permits, per) = self.per.unwrap_or((100, SECOND));
        Rate {
            burst: self.burst,
            ..Rate::new(permits, per)
        }
    }

    fn by<M2>(self, mode: M2) -> RateLimitBuilder<M2, T> {
        RateLimitBuilder {
            name: self.name,
            per: self.per,
            burst: self.burst,
            mode,
            tracker: self.tracker,
            observer: self.observer,
            is_off: self.is_off,
        }
    }
}

impl<M, T> RateLimitBuilder<M, T> {
    /// Sets the name of this instance in rejections, events and metrics. Default `default`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Admits `permits` calls per period. Default: 100 a second.
    ///
    /// The period is 1 ms to 24 hours. The permits are at least 1, and at most one per microsecond.
    /// They become available one by one, evenly over the period. The time between two permits is
    /// rounded up to whole nanoseconds, so the rate is never higher. A standard stack has no default
    /// rate: set it there.
    pub fn per(mut self, permits: u32, period: Duration) -> Self {
        self.per = Some((permits, period));
        self
    }

    /// Admits up to `burst` calls at once after a pause. Default: the permits of one period.
    ///
    /// The burst is at least 1, which spaces all calls evenly, and at most the permits of a year.
    pub fn burst(mut self, burst: u32) -> Self {
        self.burst = Some(burst);
        self
    }

    /// Queues calls that have no permit, each for at most `max_wait`, up to one hour. Default: no
    /// queue, such a call is rejected.
    ///
    /// `max_wait` includes the wait for the inner service to become ready. A call is rejected at
    /// once if its permit would come after `max_wait` or after the request's deadline, so
    /// `max_wait` bounds the queue. A waiting call is called on a clone of the inner service, which
    /// must be `Clone`.
    ///
    /// Timers are exact to a millisecond. For rates above 1000 calls a second, set the burst to the
    /// permits of at least two milliseconds.
    pub fn max_wait(self, max_wait: Duration) -> RateLimitBuilder<Queued, T> {
        self.by(Queued {
            max_wait: Some(max_wait),
        })
    }

    /// Sends the events of this instance to an observer. Default none.
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Follows calls with a [`Track`](crate::Track) of your own, which classifies responses.
    /// Default [`AtResponse`]. Outcomes affect only snapshots, events and metrics, not the rate.
    pub fn tracker<T2>(self, tracker: T2) -> RateLimitBuilder<M, T2> {
        self.retracked(|_| tracker)
    }

    fn built(self) -> Result<RateLimitLayer<M, T>, ConfigError> {
        let instance = InstanceName::new(&KIND, self.name.as_deref())?;
        let rate = self.rate();
        rate.check()?;
        let emitter = Emitter::measured(&KIND, instance, self.observer, !self.is_off);
        Ok(RateLimitLayer {
            limiter: Shared::new(Limiter::new(rate, self.is_off, emitter)),
            mode: self.mode,
            tracker: self.tracker,
        })
    }
}

impl<T> RateLimitBuilder<Rejecting, T> {
    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// A value is out of its range. The error names the setting, the value and the rule.
    pub fn build(self) -> Result<RateLimitLayer<Rejecting, T>, ConfigError> {
        let name = self.name.clone();
        self.built().of_instance(name.as_deref())
    }
}

impl<T> RateLimitBuilder<Queued, T> {
    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// A value is out of its range. The error names the setting, the value and the rule.
    pub fn build(self) -> Result<RateLimitLayer<Queued, T>, ConfigError> {
        let name = self.name.clone();
        let checked = self.mode.check(KIND.layer, "max_wait");
        checked
            .and_then(|()| self.built())
            .of_instance(name.as_deref())
    }
}

impl<M, T> fmt::Debug for RateLimitBuilder<M, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitBuilder")
            .field("name", &self.name)
            .field("rate", &format_args!("{}", self.rate()))
            .finish_non_exhaustive()
    }
}
