use std::marker::PhantomData;

use super::describe_mode;
use crate::call::track::AtResponse;
use crate::layers::bulkhead::{
    self, BulkheadBuilder, BulkheadHandle, BulkheadLayer, Queued, Rejecting, Settings,
};
use crate::layers::keyed::{Keying, OneForAll};
use crate::observe::snapshot::ShownLimit;
#[cfg(feature = "http")]
use crate::protocol::grpc::GrpcClassifier;
#[cfg(feature = "http")]
use crate::protocol::http::{EndOfBody, HttpClassifier};
use crate::registry::Instance;
use crate::stack::live::LayerSettings;
use crate::stack::numbers::{BulkheadNumbers, Numbers};
use crate::stack::part::{OfStack, Part, Setting, Stack, describe_keys};
use crate::stack::refine::Refine;
use crate::stack::snapshot::Snapshots;
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::kind::Id;
use crate::vocabulary::mode::Mode;
use crate::vocabulary::sealed::Sealed;

/// The settings of a stack's bulkhead, without a classifier: all layers share the stack's. Without
/// a limit that is set, there is none.
pub(in crate::stack) type StackBulkhead = BulkheadBuilder<Queued, ()>;

/// The bulkhead of a stack. By default it has no limit and counts the calls in flight.
pub(in crate::stack) struct Bulkhead<K = OneForAll>(PhantomData<K>);

impl Bulkhead {
    const LAYER: &'static str = "bulkhead";

    pub(in crate::stack) fn settings() -> StackBulkhead {
        BulkheadBuilder::tracked_by(()).queueable()
    }
}

impl<T: Clone, K: OfStack<Q>, Q> Part<T, Q> for Bulkhead<K> {
    const NAME: &'static str = Bulkhead::LAYER;
    type Settings = StackBulkhead;
    type Layer = BulkheadLayer<Queued, T, K::Keying>;

    fn standard() -> Option<StackBulkhead> {
        Some(Bulkhead::settings())
    }

    fn is_on(settings: &StackBulkhead) -> bool {
        settings.settings.is_on()
    }

    fn numbers(settings: &StackBulkhead, numbers: &mut Numbers) {
        of_stack(settings).numbers(Id::Bulkhead, numbers);
    }

    fn describe(settings: &StackBulkhead) -> Vec<Setting> {
        of_stack(settings).describe()
    }

    fn describe_keys(_: Option<&StackBulkhead>, stack: &Stack<'_, T, Q>) -> Option<Setting> {
        describe_keys(&K::of_stack(stack))
    }

    fn build(
        settings: Option<StackBulkhead>,
        stack: &Stack<'_, T, Q>,
    ) -> Result<Self::Layer, ConfigError> {
        let off = || Bulkhead::settings().mode(Mode::Off);
        let mut bulkhead = settings.unwrap_or_else(off);
        stack.adopt(&mut bulkhead.name, &mut bulkhead.observer);
        if !bulkhead.sets_limit && bulkhead.settings.queue.is_some() {
            let rule =
                "must be set with a queue: a stack has no limit by default, so no call waits";
            return Err(ConfigError::new(Bulkhead::LAYER, "limit", "none", rule));
        }
        if !bulkhead.sets_limit {
            bulkhead.settings.limit = None;
        }
        let bulkhead = bulkhead.retracked(|()| stack.tracker.clone());
        bulkhead.with_keying(K::of_stack(stack)).build()
    }
}

/// The settings: without a limit that is set, there is none.
fn of_stack(bulkhead: &StackBulkhead) -> Settings {
    let mut settings = bulkhead.settings.clone();
    settings.limit = settings.limit.filter(|_| bulkhead.sets_limit);
    settings
}

of_instance!(BulkheadHandle, Bulkhead);

impl LayerSettings for Settings {
    through_handle!(BulkheadHandle);

    fn is_on(&self) -> bool {
        self.mode != Mode::Off
    }

    fn numbers(&self, _: Id, numbers: &mut Numbers) {
        let queue = self.queue.as_ref();
        numbers.bulkhead = self.limit.map(|limit| BulkheadNumbers {
            limit,
            queue: queue.map_or(0, |queue| queue.calls),
            max_wait: queue.map(|queue| queue.max_wait),
        });
    }

    fn describe(&self) -> Vec<Setting> {
        let queue = match &self.queue {
            Some(queue) => format!("{} for {:?}", queue.calls, queue.max_wait),
            None => "none".to_owned(),
        };
        let mut settings = vec![
            ("limit", ShownLimit(self.limit).to_string()),
            ("queue", queue),
        ];
        settings.extend(describe_mode(self.mode));
        settings
    }
}

impl<M, T, K: Keying> Snapshots for BulkheadLayer<M, T, K> {
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
