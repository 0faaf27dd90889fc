use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::handle::BulkheadHandle;
use super::permits::{MAX_WAITERS, Permits};
use super::service::Bulkhead;
use crate::call::inner::Inner;
use crate::call::track::AtResponse;
use crate::layers::admission::{Gate, Queued, Rejecting};
use crate::observe::event::Observer;
use crate::observe::snapshot::MOST_CALLS;
use crate::runtime::shared::Shared;
use crate::vocabulary::config::OfInstance as _;
use crate::vocabulary::kind::{Id, Kind, Series};
use crate::vocabulary::name::InstanceName;
use crate::vocabulary::{config::ConfigError, reason::Reason};

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

/// Most connection pools are smaller, and a usual process has the memory.
const DEFAULT_LIMIT: u32 = 256;

/// The settings of a bulkhead.
pub(crate) struct Settings {
    pub(super) limit: u32,
    pub(super) queue: u32,
    /// If not, the bulkhead has no metrics.
    pub(super) is_on: bool,
    pub(super) instance: InstanceName,
    pub(super) observer: Option<Arc<dyn Observer>>,
}

/// Limits the calls in flight: see the [module](crate::bulkhead).
///
/// Clones of the layer, and all services that they make, share the limit.
#[derive(Clone)]
pub struct BulkheadLayer<M = Rejecting, T = AtResponse> {
    permits: Shared<Permits>,
    mode: M,
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
            limit,
            queue: 0,
            is_on: true,
            instance: InstanceName::default_of(&KIND),
            observer: None,
        };
        Self::of(settings, Rejecting, AtResponse::default())
    }

    /// Starts a builder with the default settings.
    pub fn builder() -> BulkheadBuilder {
        BulkheadBuilder::tracked_by(AtResponse::default())
    }
}

impl<M, T> BulkheadLayer<M, T> {
    fn of(settings: Settings, mode: M, tracker: T) -> Self {
        Self {
            permits: Shared::new(Permits::new(settings)),
            mode,
            tracker,
        }
    }

    /// A handle to inspect the bulkhead.
    #[must_use]
    pub fn handle(&self) -> BulkheadHandle {
        BulkheadHandle::new(&self.permits)
    }
}

impl<S, M: Clone, T: Clone> Layer<S> for BulkheadLayer<M, T> {
    type Service = Bulkhead<S, M, T>;

    fn layer(&self, inner: S) -> Self::Service {
        Bulkhead {
            gate: Gate {
                inner: Inner::new(inner),
                state: self.permits.clone(),
                tracker: self.tracker.clone(),
            },
            mode: self.mode.clone(),
        }
    }
}

impl<M: fmt::Debug, T> fmt::Debug for BulkheadLayer<M, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadLayer")
            .field("name", &self.permits.emitter.name())
            .field("limit", &self.handle().limit())
            .field("in_flight", &self.handle().in_flight())
            .field("waiting", &self.handle().waiting())
            .field("mode", &self.mode)
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
pub struct BulkheadBuilder<M = Rejecting, T = AtResponse> {
    pub(crate) name: Option<String>,
    /// `None`: not set.
    pub(crate) limit: Option<u32>,
    pub(crate) queue: u32,
    pub(crate) is_on: bool,
    pub(crate) mode: M,
    pub(crate) tracker: T,
    pub(crate) observer: Option<Arc<dyn Observer>>,
}

impl<T> BulkheadBuilder<Rejecting, T> {
    pub(crate) fn tracked_by(tracker: T) -> Self {
        Self {
            name: None,
            limit: None,
            queue: 0,
            is_on: true,
            mode: Rejecting,
            tracker,
            observer: None,
        }
    }
}

impl<M, T> BulkheadBuilder<M, T> {
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
        self.limit = Some(limit);
        self
    }

    /// Queues up to `calls` calls, each for at most `max_wait`, the wait for the inner service to
    /// become ready included. Default: no queue.
    ///
    /// `calls` is 1 to 1 048 575; `max_wait` is at most one hour. A waiting call is called on a
    /// clone of the inner service, which must be `Clone`. Set `max_wait` to a fraction of the
    /// caller's own time limit: a longer wait makes work for callers that have given up.
    pub fn queue(self, calls: u32, max_wait: Duration) -> BulkheadBuilder<Queued, T> {
        BulkheadBuilder {
            name: self.name,
            limit: self.limit,
            queue: calls,
            is_on: self.is_on,
            mode: Queued {
                max_wait: Some(max_wait),
            },
            tracker: self.tracker,
            observer: self.observer,
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
    pub fn tracker<T2>(self, tracker: T2) -> BulkheadBuilder<M, T2> {
        self.retracked(|_| tracker)
    }

    /// The type of a bulkhead with a queue, without one.
    pub(crate) fn maybe_queued(self) -> BulkheadBuilder<Queued, T> {
        BulkheadBuilder {
            name: self.name,
            limit: self.limit,
            queue: self.queue,
            is_on: self.is_on,
            mode: Queued { max_wait: None },
            tracker: self.tracker,
            observer: self.observer,
        }
    }

    /// Rejects nothing and has no metrics.
    pub(crate) fn off(mut self) -> Self {
        self.is_on = false;
        self.limit(MOST_CALLS)
    }

    pub(crate) fn retracked<T2>(self, by: impl FnOnce(T) -> T2) -> BulkheadBuilder<M, T2> {
        BulkheadBuilder {
            name: self.name,
            limit: self.limit,
            queue: self.queue,
            is_on: self.is_on,
            mode: self.mode,
            tracker: by(self.tracker),
            observer: self.observer,
        }
    }

    fn finish(self) -> Result<BulkheadLayer<M, T>, ConfigError> {
        let instance = InstanceName::new(&KIND, self.name.as_deref())?;
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MOST_CALLS).contains(&limit) {
            let rule = "must be from 1 to 16777215";
            return Err(ConfigError::new(LAYER, "limit", limit, rule));
        }
        let settings = Settings {
            limit,
            queue: self.queue,
            is_on: self.is_on,
            instance,
            observer: self.observer,
        };
        Ok(BulkheadLayer::of(settings, self.mode, self.tracker))
    }
}

impl<T> BulkheadBuilder<Rejecting, T> {
    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// A value is out of its range.
    pub fn build(self) -> Result<BulkheadLayer<Rejecting, T>, ConfigError> {
        let name = self.name.clone();
        self.finish().of_instance(name.as_deref())
    }
}

impl<T> BulkheadBuilder<Queued, T> {
    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// A value is out of its range.
    pub fn build(self) -> Result<BulkheadLayer<Queued, T>, ConfigError> {
        let name = self.name.clone();
        self.built().of_instance(name.as_deref())
    }

    fn built(self) -> Result<BulkheadLayer<Queued, T>, ConfigError> {
        if self.mode.max_wait.is_some() && !(1..=MAX_WAITERS).contains(&self.queue) {
            let rule = "must be from 1 to 1048575; without a queue, do not call `queue`";
            return Err(ConfigError::new(LAYER, "queue.calls", self.queue, rule));
        }
        if self.mode.max_wait.is_some() && self.limit == Some(MOST_CALLS) {
            let rule = "must be at most 16777214 with a queue: without a limit no call waits";
            return Err(ConfigError::new(LAYER, "limit", MOST_CALLS, rule));
        }
        self.mode.check(LAYER, "queue.max_wait")?;
        self.finish()
    }
}

impl<M: fmt::Debug, T> fmt::Debug for BulkheadBuilder<M, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadBuilder")
            .field("name", &self.name)
            .field("limit", &self.limit)
            .field("queue", &self.queue)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}
