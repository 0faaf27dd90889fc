//! The rate limit of a standard stack, which is off by default.

use std::time::Duration;

use crate::call::track::AtResponse;
use crate::layers::rate_limit::{self, Queued, RateLimitBuilder, RateLimitLayer, Rejecting};
#[cfg(feature = "http")]
use crate::protocol::grpc::GrpcClassifier;
#[cfg(feature = "http")]
use crate::protocol::http::{EndOfBody, HttpClassifier};
use crate::registry::Instance;
use crate::stack::numbers::Numbers;
use crate::stack::part::{Part, Setting, Stack};
use crate::stack::refine::Refine;
use crate::stack::snapshot::Snapshots;
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::mode::Mode;
use crate::vocabulary::sealed::Sealed;

/// The settings of a stack's rate limit.
pub(in crate::stack) type StackRateLimit = RateLimitBuilder<Queued, ()>;

pub(in crate::stack) struct RateLimit;

impl RateLimit {
    const LAYER: &'static str = "rate_limit";

    pub(in crate::stack) fn settings() -> StackRateLimit {
        RateLimitBuilder::tracked_by(()).queueable()
    }
}

/// It classifies a call at the head of its response. To follow the body only to count an outcome
/// would cost each request as much as a layer, even without a rate limit.
impl<T: AtHead> Part<T> for RateLimit {
    const NAME: &'static str = Self::LAYER;
    type Settings = StackRateLimit;
    type Layer = RateLimitLayer<Queued, AtResponse<T::Classifier>>;

    fn standard() -> Option<StackRateLimit> {
        None
    }

    fn numbers(settings: &StackRateLimit, numbers: &mut Numbers) {
        numbers.rate_limit_wait = settings.settings.max_wait;
    }

    fn describe(settings: &StackRateLimit) -> Vec<Setting> {
        let max_wait = settings.settings.max_wait;
        let max_wait = max_wait.map_or_else(|| "none".to_owned(), |wait| format!("{wait:?}"));
        vec![
            ("rate", settings.settings.rate().to_string()),
            ("max_wait", max_wait),
        ]
    }

    fn build(
        settings: Option<StackRateLimit>,
        stack: &Stack<'_, T>,
    ) -> Result<Self::Layer, ConfigError> {
        let is_set = settings.as_ref().is_none_or(|settings| settings.sets_rate);
        let mut rate_limit = settings.unwrap_or_else(|| Self::settings().mode(Mode::Off));
        if !is_set {
            let rule = "must be set: a stack has no rate limit by default";
            return Err(ConfigError::new(Self::LAYER, "per", "none", rule));
        }
        stack.adopt(&mut rate_limit.name, &mut rate_limit.observer);
        rate_limit.retracked(|()| stack.tracker.at_head()).build()
    }
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

impl<M, T> Snapshots for RateLimitLayer<M, T> {
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
