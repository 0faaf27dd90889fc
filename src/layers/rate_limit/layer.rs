use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::handle::RateLimitHandle;
use super::limiter::Limiter;
use super::service::RateLimit;
use super::settings::Settings;
use crate::call::inner::Inner;
use crate::call::track::AtResponse;
use crate::layers::admission::{CanQueue, Gate, Queued, Rejecting};
use crate::layers::keyed::{Instance, Keying, OneForAll, keyed_setters};
use crate::observe::emitter::Emitter;
use crate::observe::event::Observer;
use crate::vocabulary::config::OfInstance as _;
use crate::vocabulary::kind::{Id, Kind, Series};
use crate::vocabulary::name::InstanceName;
use crate::vocabulary::settings::Fields as _;
use crate::vocabulary::{config::ConfigError, mode::Mode, reason::Reason};

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
pub struct RateLimitLayer<M = Rejecting, T = AtResponse, K: Keying = OneForAll> {
    limiter: K::Instances<Limiter>,
    queueing: PhantomData<M>,
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

impl<M, T, K: Keying> RateLimitLayer<M, T, K> {
    /// A handle to inspect the rate limit.
    #[must_use]
    pub fn handle(&self) -> RateLimitHandle {
        RateLimitHandle::new(K::target(&self.limiter))
    }
}

impl<S, M, T: Clone, K: Keying> Layer<S> for RateLimitLayer<M, T, K> {
    type Service = RateLimit<S, M, T, K>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit {
            gate: Gate {
                inner: Inner::new(inner),
                state: self.limiter.clone(),
                tracker: self.tracker.clone(),
            },
            queueing: PhantomData,
        }
    }
}

impl<M, T, K: Keying> fmt::Debug for RateLimitLayer<M, T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = self.handle().settings();
        f.debug_struct("RateLimitLayer")
            .field("name", &self.handle().name())
            .field("rate", &format_args!("{}", settings.rate()))
            .field("available", &self.handle().available())
            .field("waiting", &self.handle().waiting())
            .field("mode", &settings.mode)
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
pub struct RateLimitBuilder<M = Rejecting, T = AtResponse, K = OneForAll> {
    pub(crate) name: Option<String>,
    pub(crate) settings: Settings,
    /// Whether the rate was set.
    pub(crate) sets_rate: bool,
    queueing: PhantomData<M>,
    tracker: T,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) keying: K,
}

keyed_setters! {
    RateLimitBuilder<M, T>, "rate",
    |builder, keying| RateLimitBuilder {
        name: builder.name,
        settings: builder.settings,
        sets_rate: builder.sets_rate,
        queueing: PhantomData,
        tracker: builder.tracker,
        observer: builder.observer,
        keying,
    }
}

impl<T> RateLimitBuilder<Rejecting, T> {
    pub(crate) fn tracked_by(tracker: T) -> Self {
        Self {
            name: None,
            settings: Settings::default(),
            sets_rate: false,
            queueing: PhantomData,
            tracker,
            observer: None,
            keying: OneForAll,
        }
    }
}

impl<M, T, K> RateLimitBuilder<M, T, K> {
    pub(crate) fn retracked<T2>(self, by: impl FnOnce(T) -> T2) -> RateLimitBuilder<M, T2, K> {
        RateLimitBuilder {
            name: self.name,
            settings: self.settings,
            sets_rate: self.sets_rate,
            queueing: PhantomData,
            tracker: by(self.tracker),
            observer: self.observer,
            keying: self.keying,
        }
    }

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
        (self.settings.permits, self.settings.per) = (permits, period);
        self.sets_rate = true;
        self
    }

    /// Admits up to `burst` calls at once after a pause. Default: the permits of one period.
    ///
    /// The burst is at least 1, which spaces all calls evenly, and at most the permits of a year.
    pub fn burst(mut self, burst: u32) -> Self {
        self.settings.burst = Some(burst);
        self
    }

    /// Sets all settings at once, such as those of a configuration.
    ///
    /// Settings with a longest wait need a rate limit that is [`queueable`](Self::queueable).
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self.sets_rate = true;
        self
    }

    /// Whether the rate limit rejects calls, only reports, or is off. Default [`Mode::Enforce`].
    ///
    /// In [shadow mode](Mode::Shadow) no call waits. A call that would have to wait for longer than
    /// [`max_wait`](Self::max_wait) is reported. A rate limit that is off acquires no permits.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.settings.mode = mode;
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
    pub fn max_wait(mut self, max_wait: Duration) -> RateLimitBuilder<Queued, T, K> {
        self.settings.max_wait = Some(max_wait);
        self.queueable()
    }

    /// Allows a wait that the [settings](Self::settings) contain, or that an
    /// [update](super::RateLimitHandle::update) adds later. The inner service must be `Clone`.
    pub fn queueable(self) -> RateLimitBuilder<Queued, T, K> {
        RateLimitBuilder {
            name: self.name,
            settings: self.settings,
            sets_rate: self.sets_rate,
            queueing: PhantomData,
            tracker: self.tracker,
            observer: self.observer,
            keying: self.keying,
        }
    }

    /// Sends the events of this instance to an observer. Default none.
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Follows calls with a [`Track`](crate::Track) of your own, which classifies responses.
    /// Default [`AtResponse`]. Outcomes affect only snapshots, events and metrics, not the rate.
    pub fn tracker<T2>(self, tracker: T2) -> RateLimitBuilder<M, T2, K> {
        self.retracked(|_| tracker)
    }
}

impl<M: CanQueue, T, K: Keying> RateLimitBuilder<M, T, K> {
    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// A value is out of its range. The error names the setting, the value and the rule.
    pub fn build(self) -> Result<RateLimitLayer<M, T, K>, ConfigError> {
        let name = self.name.clone();
        self.built().of_instance(name.as_deref())
    }

    fn built(self) -> Result<RateLimitLayer<M, T, K>, ConfigError> {
        let instance = InstanceName::new(&KIND, self.name.as_deref())?;
        self.settings.check()?;
        <Limiter as Instance>::check(&M::CAN_QUEUE, &self.settings)?;
        let is_on = self.settings.mode != Mode::Off;
        let emitter = Emitter::measured(&KIND, instance, self.observer, is_on);
        let keying = self.keying;
        Ok(RateLimitLayer {
            limiter: keying.instances(KIND.layer, self.settings, M::CAN_QUEUE, emitter)?,
            queueing: PhantomData,
            tracker: self.tracker,
        })
    }
}

impl<M, T, K> fmt::Debug for RateLimitBuilder<M, T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitBuilder")
            .field("name", &self.name)
            .field("rate", &format_args!("{}", self.settings.rate()))
            .finish_non_exhaustive()
    }
}
