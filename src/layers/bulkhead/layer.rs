use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::places::{MOST_WAITERS, Places};
use super::service::Bulkhead;
use super::snapshot::Snapshot;
use crate::call::inner::Inner;
use crate::call::track::AtResponse;
use crate::layers::admission::Gate;
use crate::observe::event::{Events, Observer};
use crate::observe::snapshot::{MOST_CALLS, limited};
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

/// What a bulkhead is made of.
pub(crate) struct Settings {
    pub(super) limit: u32,
    pub(super) queue: u32,
    /// Whether it is in its stack at all: if not, it has no metrics.
    pub(super) is_on: bool,
    pub(super) instance: InstanceName,
    pub(super) observer: Option<Arc<dyn Observer>>,
}

/// A bulkhead that rejects at once when it is full.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rejecting;

/// A bulkhead in whose queue a call may wait.
#[derive(Debug, Clone, Copy)]
pub struct Queued {
    /// `None`: there is no queue, and a call is rejected at once. A standard stack has a queue or none without being of another type.
    pub(crate) max_wait: Option<Duration>,
}

/// Limits how many calls are in flight: see the [module](crate::bulkhead).
///
/// Clones share the limit, and so do all services that they make.
#[derive(Clone)]
pub struct BulkheadLayer<M = Rejecting, T = AtResponse> {
    places: Shared<Places>,
    mode: M,
    tracker: T,
}

impl BulkheadLayer {
    /// At most so many calls in flight; one more is rejected at once.
    ///
    /// With 0 every call is rejected. 16 777 215 or more is no limit: calls in flight are only
    /// counted. To have a 0 that came from a configuration file refused, use the
    /// [`builder`](Self::builder).
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

    /// A bulkhead with more settings.
    pub fn builder() -> BulkheadBuilder {
        BulkheadBuilder::tracked_by(AtResponse::default())
    }
}

impl<M, T> BulkheadLayer<M, T> {
    fn of(settings: Settings, mode: M, tracker: T) -> Self {
        Self {
            places: Shared::new(Places::new(settings)),
            mode,
            tracker,
        }
    }

    /// How many calls are in flight.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.places.in_flight()
    }

    /// How many calls wait in the queue.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.places.waiting()
    }

    /// How many calls may be in flight; `None` if there is no limit.
    #[must_use]
    pub fn limit(&self) -> Option<u32> {
        limited(self.places.limit())
    }

    /// What is in flight and waits, and how calls went.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(&self.places)
    }

    /// Subscribes to what the bulkhead decides.
    #[must_use]
    pub fn events(&self) -> Events {
        self.places.emitter.subscribe()
    }
}

impl<S, M: Clone, T: Clone> Layer<S> for BulkheadLayer<M, T> {
    type Service = Bulkhead<S, M, T>;

    fn layer(&self, inner: S) -> Self::Service {
        Bulkhead {
            gate: Gate {
                inner: Inner::new(inner),
                state: self.places.clone(),
                tracker: self.tracker.clone(),
            },
            mode: self.mode.clone(),
        }
    }
}

impl<M: fmt::Debug, T> fmt::Debug for BulkheadLayer<M, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadLayer")
            .field("name", &self.places.emitter.name())
            .field("limit", &self.limit())
            .field("in_flight", &self.in_flight())
            .field("waiting", &self.waiting())
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
    pub(crate) limit: u32,
    pub(crate) queue: u32,
    pub(crate) is_on: bool,
    pub(crate) mode: M,
    pub(crate) tracker: T,
    pub(crate) observer: Option<Arc<dyn Observer>>,
}

impl<T> BulkheadBuilder<Rejecting, T> {
    /// With this judgement of responses, and this end of a call.
    pub(crate) fn tracked_by(tracker: T) -> Self {
        Self {
            name: None,
            // Tower, hyper and most database pools live well below it, and a process with the usual
            // memory can afford it.
            limit: 256,
            queue: 0,
            is_on: true,
            mode: Rejecting,
            tracker,
            observer: None,
        }
    }
}

impl<M, T> BulkheadBuilder<M, T> {
    /// The name of this instance, in rejections and events; `default` if it is not set.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How many calls may be in flight: 1 to 16 777 215, 256 by default. The highest number is no limit:
    /// calls in flight are only counted.
    ///
    /// A good limit is what the service behind it can work on at the same time, not what it survives:
    /// its throughput times its latency (Little's law), and a half more for bursts.
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit;
        self
    }

    /// Queues up to `calls` calls, each for at most `max_wait`, the wait for the inner service to
    /// become ready included. Default: no queue.
    ///
    /// A waiting call is called on a clone of the inner service when its turn comes, so with a
    /// queue the inner service must be `Clone`. Choose a `max_wait` that is a fraction of the
    /// caller's own time limit: a longer queue only makes work for callers that have left.
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

    /// Follows calls by a [`Track`](crate::Track) of your own: it judges responses, and says when a call is over.
    ///
    /// [`AtResponse`] is the default here; `mainstay::http` and `mainstay::grpc` begin with one that lasts to the end of the body.
    pub fn tracker<T2>(self, tracker: T2) -> BulkheadBuilder<M, T2> {
        self.retracked(|_| tracker)
    }

    /// As it is, where a queue might have been.
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

    /// Counts the calls in flight, and rejects none.
    pub(crate) fn unlimited(self) -> Self {
        self.limit(MOST_CALLS)
    }

    /// Rejects nothing, and has no metrics.
    pub(crate) fn off(mut self) -> Self {
        self.is_on = false;
        self.unlimited()
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
        if !(1..=MOST_CALLS).contains(&self.limit) {
            let rule = "must be from 1 to 16777215";
            return Err(ConfigError::new(LAYER, "limit", self.limit, rule));
        }
        let settings = Settings {
            limit: self.limit,
            queue: self.queue,
            is_on: self.is_on,
            instance,
            observer: self.observer,
        };
        Ok(BulkheadLayer::of(settings, self.mode, self.tracker))
    }
}

impl<T> BulkheadBuilder<Rejecting, T> {
    /// The layer, or which setting is refused and why.
    ///
    /// # Errors
    ///
    /// When a value is out of its range.
    pub fn build(self) -> Result<BulkheadLayer<Rejecting, T>, ConfigError> {
        let name = self.name.clone();
        self.finish().of_instance(name.as_deref())
    }
}

impl<T> BulkheadBuilder<Queued, T> {
    /// The layer, or which setting is refused and why.
    ///
    /// # Errors
    ///
    /// When a value is out of its range: a queue must have room for at least one call and at most 1 048 575, and a wait must be
    /// longer than nothing and at most an hour.
    pub fn build(self) -> Result<BulkheadLayer<Queued, T>, ConfigError> {
        let name = self.name.clone();
        self.built().of_instance(name.as_deref())
    }

    fn built(self) -> Result<BulkheadLayer<Queued, T>, ConfigError> {
        const LONGEST_WAIT: Duration = Duration::from_secs(3600);
        let Some(wait) = self.mode.max_wait else {
            return self.finish();
        };
        if !(1..=MOST_WAITERS).contains(&self.queue) {
            let rule = "must be from 1 to 1048575; without a queue, do not call `queue`";
            return Err(ConfigError::new(LAYER, "queue.calls", self.queue, rule));
        }
        if wait.is_zero() || wait > LONGEST_WAIT {
            let rule = "must be longer than nothing and at most one hour";
            return Err(ConfigError::new(
                LAYER,
                "queue.max_wait",
                format_args!("{wait:?}"),
                rule,
            ));
        }
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
