use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::handle::BulkheadHandle;
use super::permits::Permits;
use super::service::Bulkhead;
use super::settings::{QueueSettings, Settings};
use crate::call::inner::Inner;
use crate::call::track::AtResponse;
use crate::layers::admission::{CanQueue, Gate, Queued, Rejecting};
use crate::layers::keyed::{Instance, Keying, OneForAll, keyed_setters};
use crate::observe::emitter::Emitter;
use crate::observe::event::Observer;
use crate::observe::snapshot::MOST_CALLS;
use crate::runtime::shared::Shared;
use crate::vocabulary::config::OfInstance as _;
use crate::vocabulary::kind::{Id, Kind, Series};
use crate::vocabulary::name::InstanceName;
use crate::vocabulary::settings::Fields as _;
use crate::vocabulary::{config::ConfigError, mode::Mode, reason::Reason};

pub(crate) static KIND: Kind = Kind::new(
    Id::Bulkhead,
    &[
        Reason::Full,
        Reason::QueueTimeout,
        Reason::NotReady,
        Reason::DeadlinePassed,
    ],
    &[Series::Calls, Series::GivenUp, Series::Queue],
);

pub(crate) const LAYER: &str = KIND.layer;

/// Limits the calls in flight: see the [module](crate::bulkhead).
///
/// Clones of the layer, and all services that they make, share the limit.
#[derive(Clone)]
pub struct BulkheadLayer<M = Rejecting, T = AtResponse, K: Keying = OneForAll> {
    permits: K::Instances<Permits>,
    queueing: PhantomData<M>,
    tracker: T,
}

impl BulkheadLayer {
    /// Admits up to `limit` calls at the same time, and rejects further calls at once.
    ///
    /// A limit of 0 rejects every call. The [`builder`](Self::builder) reports that setting as an
    /// error. From 16 777 215 there is no limit: calls in flight are only counted.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        let settings = Settings {
            limit: Some(limit).filter(|limit| *limit < MOST_CALLS),
            ..Settings::default()
        };
        let permits = Permits::new(settings, false, Emitter::of_default(&KIND));
        Self {
            permits: Shared::new(permits),
            queueing: PhantomData,
            tracker: AtResponse::default(),
        }
    }

    /// Starts a builder with the default settings.
    pub fn builder() -> BulkheadBuilder {
        BulkheadBuilder::tracked_by(AtResponse::default())
    }
}

impl<M, T, K: Keying> BulkheadLayer<M, T, K> {
    /// A handle to inspect the bulkhead.
    #[must_use]
    pub fn handle(&self) -> BulkheadHandle {
        BulkheadHandle::new(K::target(&self.permits))
    }
}

impl<S, M, T: Clone, K: Keying> Layer<S> for BulkheadLayer<M, T, K> {
    type Service = Bulkhead<S, M, T, K>;

    fn layer(&self, inner: S) -> Self::Service {
        Bulkhead {
            gate: Gate {
                inner: Inner::new(inner),
                state: self.permits.clone(),
                tracker: self.tracker.clone(),
            },
            queueing: PhantomData,
        }
    }
}

impl<M, T, K: Keying> fmt::Debug for BulkheadLayer<M, T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadLayer")
            .field("name", &self.handle().name())
            .field("limit", &self.handle().limit())
            .field("in_flight", &self.handle().in_flight())
            .field("waiting", &self.handle().waiting())
            .field("mode", &self.handle().settings().mode)
            .finish()
    }
}

/// Builds a [`BulkheadLayer`].
///
/// ```
/// use mainstay::BulkheadLayer;
/// use std::time::Duration;
///
/// let layer = BulkheadLayer::builder()
///     .name("payments")
///     .limit(32)
///     .queue(64, Duration::from_millis(50))
///     .build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
#[must_use = "a builder does nothing until `build` is called"]
pub struct BulkheadBuilder<M = Rejecting, T = AtResponse, K = OneForAll> {
    pub(crate) name: Option<String>,
    pub(crate) settings: Settings,
    /// Whether the limit was set.
    pub(crate) sets_limit: bool,
    queueing: PhantomData<M>,
    pub(crate) tracker: T,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) keying: K,
}

keyed_setters! {
    BulkheadBuilder<M, T>, "limit",
    |builder, keying| BulkheadBuilder {
        name: builder.name,
        settings: builder.settings,
        sets_limit: builder.sets_limit,
        queueing: PhantomData,
        tracker: builder.tracker,
        observer: builder.observer,
        keying,
    }
}

impl<T> BulkheadBuilder<Rejecting, T> {
    pub(crate) fn tracked_by(tracker: T) -> Self {
        Self {
            name: None,
            settings: Settings::default(),
            sets_limit: false,
            queueing: PhantomData,
            tracker,
            observer: None,
            keying: OneForAll,
        }
    }
}

impl<M, T, K> BulkheadBuilder<M, T, K> {
    /// Sets the name of this instance in rejections, events and metrics. Default `default`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the limit of calls in flight. Default 256; range 1 to 16 777 215.
    ///
    /// The highest number means no limit: calls in flight are only counted. That is the default in
    /// a standard stack, and a queue needs a lower limit. A good limit is the number of calls that
    /// the inner service can process at the same time: its throughput times its latency (Little's
    /// law), plus 50 % for bursts.
    pub fn limit(mut self, limit: u32) -> Self {
        self.settings.limit = Some(limit).filter(|limit| *limit != MOST_CALLS);
        self.sets_limit = true;
        self
    }

    /// Sets all settings at once, such as those of a configuration.
    ///
    /// Settings with a queue need a bulkhead that is [`queueable`](Self::queueable).
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self.sets_limit = true;
        self
    }

    /// Whether the bulkhead rejects calls, only reports, or is off. Default [`Mode::Enforce`].
    ///
    /// In [shadow mode](Mode::Shadow) no call waits. A call that exceeds the limit and the queue is
    /// reported. A bulkhead that is off counts only the calls in flight, without metrics.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.settings.mode = mode;
        self
    }

    /// Queues up to `calls` calls, each for at most `max_wait`, the wait for the inner service to
    /// become ready included. Default: no queue.
    ///
    /// `calls` is 1 to 1 048 575; `max_wait` is at most one hour. A waiting call is called on a
    /// clone of the inner service, which must be `Clone`. Set `max_wait` to a fraction of the
    /// caller's own time limit: a longer wait makes work for callers that have given up.
    pub fn queue(mut self, calls: u32, max_wait: Duration) -> BulkheadBuilder<Queued, T, K> {
        self.settings.queue = Some(QueueSettings::new(calls, max_wait));
        self.queueable()
    }

    /// Allows a queue that the [settings](Self::settings) contain, or that an
    /// [update](super::BulkheadHandle::update) adds later. The inner service must be `Clone`.
    pub fn queueable(self) -> BulkheadBuilder<Queued, T, K> {
        BulkheadBuilder {
            name: self.name,
            settings: self.settings,
            sets_limit: self.sets_limit,
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

    /// Follows calls with a [`Track`](crate::Track) of your own, which classifies responses and
    /// decides when a call is over. Default [`AtResponse`].
    ///
    /// `mainstay::http` and `mainstay::grpc` start with trackers that follow a call to the end of
    /// its body.
    pub fn tracker<T2>(self, tracker: T2) -> BulkheadBuilder<M, T2, K> {
        self.retracked(|_| tracker)
    }

    pub(crate) fn retracked<T2>(self, by: impl FnOnce(T) -> T2) -> BulkheadBuilder<M, T2, K> {
        BulkheadBuilder {
            name: self.name,
            settings: self.settings,
            sets_limit: self.sets_limit,
            queueing: PhantomData,
            tracker: by(self.tracker),
            observer: self.observer,
            keying: self.keying,
        }
    }
}

impl<M: CanQueue, T, K: Keying> BulkheadBuilder<M, T, K> {
    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// A value is out of its range.
    pub fn build(self) -> Result<BulkheadLayer<M, T, K>, ConfigError> {
        let name = self.name.clone();
        self.built().of_instance(name.as_deref())
    }

    fn built(self) -> Result<BulkheadLayer<M, T, K>, ConfigError> {
        let instance = InstanceName::new(&KIND, self.name.as_deref())?;
        self.settings.check()?;
        <Permits as Instance>::check(&M::CAN_QUEUE, &self.settings)?;
        let is_on = self.settings.mode != Mode::Off;
        let emitter = Emitter::measured(&KIND, instance, self.observer, is_on);
        let keying = self.keying;
        Ok(BulkheadLayer {
            permits: keying.instances(LAYER, self.settings, M::CAN_QUEUE, emitter)?,
            queueing: PhantomData,
            tracker: self.tracker,
        })
    }
}

impl<M, T, K> fmt::Debug for BulkheadBuilder<M, T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadBuilder")
            .field("name", &self.name)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
