use crate::call::track::AtResponse;
use crate::layers::bulkhead::{self, BulkheadBuilder, BulkheadLayer, Queued, Rejecting};
use crate::observe::snapshot::ShownLimit;
#[cfg(feature = "http")]
use crate::protocol::grpc::GrpcClassifier;
#[cfg(feature = "http")]
use crate::protocol::http::{EndOfBody, HttpClassifier};
use crate::registry::Instance;
use crate::stack::numbers::{BulkheadNumbers, Numbers};
use crate::stack::part::{Part, Setting, Stack};
use crate::stack::refine::Refine;
use crate::stack::snapshot::Snapshots;
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::mode::Mode;
use crate::vocabulary::sealed::Sealed;

/// The settings of a stack's bulkhead, without a classifier: all layers share the stack's. Without
/// a limit that is set, there is none.
pub(in crate::stack) type StackBulkhead = BulkheadBuilder<Queued, ()>;

/// The bulkhead of a stack. By default it has no limit and counts the calls in flight.
pub(in crate::stack) struct Bulkhead;

impl Bulkhead {
    const LAYER: &'static str = "bulkhead";

    pub(in crate::stack) fn settings() -> StackBulkhead {
        BulkheadBuilder::tracked_by(()).queueable()
    }
}

impl<T: Clone> Part<T> for Bulkhead {
    const NAME: &'static str = Self::LAYER;
    type Settings = StackBulkhead;
    type Layer = BulkheadLayer<Queued, T>;

    fn standard() -> Option<StackBulkhead> {
        Some(Self::settings())
    }

    fn numbers(settings: &StackBulkhead, numbers: &mut Numbers) {
        let limit = settings.settings.limit.filter(|_| settings.sets_limit);
        let queue = settings.settings.queue.as_ref();
        numbers.bulkhead = limit.map(|limit| BulkheadNumbers {
            limit,
            queue: queue.map_or(0, |queue| queue.calls),
            max_wait: queue.map(|queue| queue.max_wait),
        });
    }

    fn describe(settings: &StackBulkhead) -> Vec<Setting> {
        let queue = match &settings.settings.queue {
            Some(queue) => format!("{} for {:?}", queue.calls, queue.max_wait),
            None => "none".to_owned(),
        };
        let limit = settings.settings.limit.filter(|_| settings.sets_limit);
        let limit = ShownLimit(limit).to_string();
        vec![("limit", limit), ("queue", queue)]
    }

    fn build(
        settings: Option<StackBulkhead>,
        stack: &Stack<'_, T>,
    ) -> Result<Self::Layer, ConfigError> {
        let off = || Self::settings().mode(Mode::Off);
        let mut bulkhead = settings.unwrap_or_else(off);
        stack.adopt(&mut bulkhead.name, &mut bulkhead.observer);
        if !bulkhead.sets_limit && bulkhead.settings.queue.is_some() {
            let rule =
                "must be set with a queue: a stack has no limit by default, so no call waits";
            return Err(ConfigError::new(Self::LAYER, "limit", "none", rule));
        }
        if !bulkhead.sets_limit {
            bulkhead.settings.limit = None;
        }
        bulkhead.retracked(|()| stack.tracker.clone()).build()
    }
}

impl<M, T> Snapshots for BulkheadLayer<M, T> {
    type Snapshot = bulkhead::Snapshot;

    fn snapshot(&self) -> Self::Snapshot {
        self.handle().snapshot()
    }

    fn instance(&self) -> Instance {
        self.handle().into()
    }
}

impl<Q, T> Sealed for BulkheadBuilder<Q, T> {}

impl Refine<StackBulkhead> for u32 {
    fn refine(self, standard: StackBulkhead) -> StackBulkhead {
        standard.limit(self)
    }
}

macro_rules! bulkheads {
    ($($(#[$if:meta])? $tracker:ty;)*) => {$(
        $(#[$if])?
        impl Refine<StackBulkhead> for BulkheadBuilder<Rejecting, $tracker> {
            fn refine(self, _: StackBulkhead) -> StackBulkhead {
                self.queueable().retracked(drop)
            }
        }

        $(#[$if])?
        impl Refine<StackBulkhead> for BulkheadBuilder<Queued, $tracker> {
            fn refine(self, _: StackBulkhead) -> StackBulkhead {
                self.retracked(drop)
            }
        }
    )*};
}

// The default trackers only: the stack classifies, so a custom classifier would be lost.
bulkheads! {
    AtResponse;
    #[cfg(feature = "http")]
    EndOfBody<HttpClassifier>;
    #[cfg(feature = "http")]
    EndOfBody<GrpcClassifier>;
}
