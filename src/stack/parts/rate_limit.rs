//! The rate limit of a standard stack, which is off by default.

use std::marker::PhantomData;
use std::time::Duration;

use super::describe_mode;
use crate::call::track::AtResponse;
use crate::layers::keyed::{Keying, OneForAll};
use crate::layers::rate_limit::{
    self, Queued, RateLimitBuilder, RateLimitHandle, RateLimitLayer, Rejecting, Settings,
};
#[cfg(feature = "http")]
use crate::protocol::grpc::GrpcClassifier;
#[cfg(feature = "http")]
use crate::protocol::http::{EndOfBody, HttpClassifier};
use crate::registry::Instance;
use crate::stack::live::LayerSettings;
use crate::stack::numbers::Numbers;
use crate::stack::part::{OfStack, Part, Setting, Stack, describe_keys};
use crate::stack::refine::Refine;
use crate::stack::snapshot::Snapshots;
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::kind::Id;
use crate::vocabulary::mode::Mode;
use crate::vocabulary::sealed::Sealed;
use crate::vocabulary::settings::{Changes, Fields};

/// The settings of a stack's rate limit.
pub(in crate::stack) type StackRateLimit = RateLimitBuilder<Queued, ()>;

pub(in crate::stack) struct RateLimit<K = OneForAll>(PhantomData<K>);

impl RateLimit {
    const LAYER: &'static str = "rate_limit";

    pub(in crate::stack) fn settings() -> StackRateLimit {
        RateLimitBuilder::tracked_by(()).queueable()
    }
}

/// It classifies a call at the head of its response. To follow the body only to count an outcome
/// would cost each request as much as a layer, even without a rate limit.
impl<T: AtHead, K: OfStack<Q>, Q> Part<T, Q> for RateLimit<K> {
    const NAME: &'static str = RateLimit::LAYER;
    type Settings = StackRateLimit;
    type Layer = RateLimitLayer<Queued, AtResponse<T::Classifier>, K::Keying>;

    fn standard() -> Option<StackRateLimit> {
        None
    }

    fn is_on(settings: &StackRateLimit) -> bool {
        settings.settings.mode != Mode::Off
    }

    fn numbers(settings: &StackRateLimit, numbers: &mut Numbers) {
        numbers.rate_limit_wait = settings.settings.max_wait;
    }

    fn describe(settings: &StackRateLimit) -> Vec<Setting> {
        describe(&settings.settings)
    }

    fn describe_keys(_: Option<&StackRateLimit>, stack: &Stack<'_, T, Q>) -> Option<Setting> {
        describe_keys(&K::of_stack(stack))
    }

    fn build(
        settings: Option<StackRateLimit>,
        stack: &Stack<'_, T, Q>,
    ) -> Result<Self::Layer, ConfigError> {
        let is_set = settings.as_ref().is_none_or(|settings| settings.sets_rate);
        let off = || RateLimit::settings().mode(Mode::Off);
        let mut rate_limit = settings.unwrap_or_else(off);
        if !is_set {
            let rule = "must be set: a stack has no rate limit by default";
            return Err(ConfigError::new(RateLimit::LAYER, "per", "none", rule));
        }
        stack.adopt(&mut rate_limit.name, &mut rate_limit.observer);
        let rate_limit = rate_limit.retracked(|()| stack.tracker.at_head());
        rate_limit.with_keying(K::of_stack(stack)).build()
    }
}

of_instance!(RateLimitHandle, RateLimit);

/// `None` if the layer is off, which is the default.
impl LayerSettings for Option<Settings> {
    type Handle = RateLimitHandle;

    fn is_on(&self) -> bool {
        self.as_ref()
            .is_some_and(|settings| settings.mode != Mode::Off)
    }

    fn check(&self, _: Id) -> Result<(), ConfigError> {
        self.as_ref().map_or(Ok(()), Fields::check)
    }

    fn numbers(&self, _: Id, numbers: &mut Numbers) {
        numbers.rate_limit_wait = self.as_ref().and_then(|settings| settings.max_wait);
    }

    fn describe(&self) -> Vec<Setting> {
        self.as_ref().map(describe).unwrap_or_default()
    }

    fn of(_: Id, handle: &RateLimitHandle) -> Self {
        Some(handle.as_set()).filter(|settings| settings.mode != Mode::Off)
    }

    fn put(&self, _: Id, handle: &RateLimitHandle) -> Result<Changes, ConfigError> {
        match self {
            Some(settings) => handle.update(settings),
            None => handle.change(|settings| settings.mode = Mode::Off),
        }
    }

    fn announce(handle: &RateLimitHandle, changes: &Changes) {
        handle.announce(changes);
    }
}

fn describe(settings: &Settings) -> Vec<Setting> {
    let max_wait = settings.max_wait;
    let max_wait = max_wait.map_or_else(|| "none".to_owned(), |wait| format!("{wait:?}"));
    let mut described = vec![
        ("rate", settings.rate().to_string()),
        ("max_wait", max_wait),
    ];
    described.extend(describe_mode(settings.mode));
    described
}

/// A tracker whose classifier can also classify at the head.
pub(in crate::stack) trait AtHead {
    type Classifier: Clone;

    fn at_head(&self) -> AtResponse<Self::Classifier>;
}

impl<C: Clone> AtHead for AtResponse<C> {
    type Classifier = C;

    fn at_head(&self) -> AtResponse<C> {
        self.clone()
    }
}

#[cfg(feature = "http")]
impl<C: Clone> AtHead for EndOfBody<C> {
    type Classifier = C;

    fn at_head(&self) -> AtResponse<C> {
        AtResponse(self.0.clone())
    }
}

impl<M, T, K: Keying> Snapshots for RateLimitLayer<M, T, K> {
    type Snapshot = rate_limit::Snapshot;

    fn snapshot(&self) -> Self::Snapshot {
        self.handle().snapshot()
    }

    fn instance(&self) -> Instance {
        self.handle().into()
    }
}

impl<M, T> Sealed for RateLimitBuilder<M, T> {}

/// Calls a second.
impl Refine<StackRateLimit> for u32 {
    fn refine(self, standard: StackRateLimit) -> StackRateLimit {
        standard.per(self, Duration::from_secs(1))
    }
}

macro_rules! rate_limits {
    ($($(#[$if:meta])? $tracker:ty;)*) => {$(
        $(#[$if])?
        impl Refine<StackRateLimit> for RateLimitBuilder<Rejecting, $tracker> {
            fn refine(self, _: StackRateLimit) -> StackRateLimit {
                self.queueable().retracked(drop)
            }
        }

        $(#[$if])?
        impl Refine<StackRateLimit> for RateLimitBuilder<Queued, $tracker> {
            fn refine(self, _: StackRateLimit) -> StackRateLimit {
                self.retracked(drop)
            }
        }
    )*};
}

// The default trackers only: the stack classifies, so a custom classifier would be lost.
rate_limits! {
    AtResponse;
    #[cfg(feature = "http")]
    AtResponse<HttpClassifier>;
    #[cfg(feature = "http")]
    EndOfBody<GrpcClassifier>;
}
