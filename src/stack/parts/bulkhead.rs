use crate::call::track::AtResponse;
use crate::layers::bulkhead::{self, BulkheadBuilder, BulkheadLayer, Queued, Rejecting};
use crate::observe::snapshot::{MOST_CALLS, ShownLimit, limited};
#[cfg(feature = "http")]
use crate::protocol::grpc::GrpcClassifier;
#[cfg(feature = "http")]
use crate::protocol::http::{EndOfBody, HttpClassifier};
use crate::stack::numbers::{BulkheadNumbers, Numbers};
use crate::stack::part::{Part, Setting, Stack};
use crate::stack::refine::Refine;
use crate::stack::snapshot::Snapshots;
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::sealed::Sealed;

/// The settings of a stack's bulkhead, without a classifier: all layers share the stack's. Without
/// a limit that is set, there is none.
pub(in crate::stack) type StackBulkhead = BulkheadBuilder<Queued, ()>;

/// The bulkhead of a stack. By default it has no limit and counts the calls in flight.
pub(in crate::stack) struct Bulkhead;

impl Bulkhead {
    const LAYER: &'static str = "bulkhead";

    pub(in crate::stack) fn settings() -> StackBulkhead {
        BulkheadBuilder::tracked_by(()).maybe_queued()
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
        numbers.bulkhead = settings
            .limit
            .and_then(limited)
            .map(|limit| BulkheadNumbers {
                limit,
                queue: settings.queue,
                max_wait: settings.mode.max_wait,
            });
    }

    fn describe(settings: &StackBulkhead) -> Vec<Setting> {
        let queue = match settings.mode.max_wait {
            Some(wait) => format!("{} for {wait:?}", settings.queue),
            None => "none".to_owned(),
        };
        let limit = ShownLimit(settings.limit.and_then(limited)).to_string();
        vec![("limit", limit), ("queue", queue)]
    }

    fn build(
        settings: Option<StackBulkhead>,
        stack: &Stack<'_, T>,
    ) -> Result<Self::Layer, ConfigError> {
        let off = || BulkheadBuilder::tracked_by(()).off().maybe_queued();
        let mut bulkhead = settings.unwrap_or_else(off);
        stack.adopt(&mut bulkhead.name, &mut bulkhead.observer);
        if bulkhead.limit.is_none() && bulkhead.mode.max_wait.is_some() {
            let rule =
                "must be set with a queue: a stack has no limit by default, so no call waits";
            return Err(ConfigError::new(Self::LAYER, "limit", "none", rule));
        }
        bulkhead.limit.get_or_insert(MOST_CALLS);
        bulkhead.retracked(|()| stack.tracker.clone()).build()
    }
}

impl<M, T> Snapshots for BulkheadLayer<M, T> {
    type Snapshot = bulkhead::Snapshot;

    fn snapshot(&self) -> Self::Snapshot {
        self.handle().snapshot()
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
                self.maybe_queued().retracked(drop)
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
