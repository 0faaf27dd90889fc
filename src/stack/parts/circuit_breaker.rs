use std::time::Duration;

use super::shown;
use crate::layers::circuit_breaker::{self, CircuitBreakerBuilder, CircuitBreakerLayer};
use crate::policy::breaker::OnCancel;
use crate::policy::breaker::{Config, Recovery, SlowCalls};
use crate::registry::Instance;
#[cfg(feature = "http")]
use crate::stack::classifier::{CustomClassifier, StackTracker};
use crate::stack::numbers::Numbers;
use crate::stack::part::{Part, Setting, Stack};
#[cfg(feature = "http")]
use crate::stack::refine::Refine;
use crate::stack::snapshot::Snapshots;
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::mode::Mode;
use crate::vocabulary::sealed::Sealed;

/// The settings of a stack's circuit breaker.
pub(in crate::stack) type StackBreaker = CircuitBreakerBuilder<()>;

/// The circuit breaker of a client stack.
pub(in crate::stack) struct CircuitBreaker;

impl CircuitBreaker {
    pub(in crate::stack) fn settings() -> StackBreaker {
        StackBreaker::tracked_by(())
    }
}

impl<T: Clone> Part<T> for CircuitBreaker {
    const NAME: &'static str = "circuit_breaker";
    type Settings = StackBreaker;
    type Layer = CircuitBreakerLayer<T>;

    fn standard() -> Option<StackBreaker> {
        Some(Self::settings())
    }

    fn derive(settings: &mut StackBreaker, numbers: &mut Numbers) {
        let config = &mut settings.config;
        if let (None, Some(limit)) = (config.on_cancel, numbers.attempt) {
            // An attempt that takes this long has failed, whoever ends it.
            config.on_cancel = Some(OnCancel::FailureAfter(limit));
        }
        if config.probe_life.is_none() {
            let usual = config.probe_life();
            let longest = numbers.attempt.or(numbers.total).unwrap_or_default();
            let slow = config.slow_after();
            config.probe_life = Some(usual.max(longest).max(slow.unwrap_or_default()));
        }
        numbers.breaker = Some(*config);
    }

    fn describe(settings: &StackBreaker) -> Vec<Setting> {
        describe(&settings.config)
    }

    fn build(
        settings: Option<StackBreaker>,
        stack: &Stack<'_, T>,
    ) -> Result<Self::Layer, ConfigError> {
        let mut breaker = settings.unwrap_or_else(|| Self::settings().mode(Mode::Off));
        stack.adopt(&mut breaker.name, &mut breaker.observer);
        breaker.retracked(|()| stack.tracker.clone()).build()
    }
}

impl<T> Snapshots for CircuitBreakerLayer<T> {
    type Snapshot = circuit_breaker::Snapshot;

    fn snapshot(&self) -> Self::Snapshot {
        self.handle().snapshot()
    }

    fn instance(&self) -> Instance {
        self.handle().into()
    }
}

fn describe(config: &Config) -> Vec<Setting> {
    let mut settings = Vec::new();
    if let Some(rate) = config.failure_rate {
        settings.push(("failure_rate", rate.to_string()));
    }
    if let Some(SlowCalls {
        threshold, rate, ..
    }) = config.slow_calls
    {
        settings.push(("slow_calls", format!("{rate} over {threshold:?}")));
    }
    if let Some(failures) = config.consecutive_failures {
        settings.push(("consecutive_failures", failures.to_string()));
    }
    settings.push(("min_calls", config.min_calls.to_string()));
    settings.push(("window", config.window.to_string()));
    let (first, longest): (Duration, Duration) = (config.open_for, config.open_max);
    settings.push(("open_for", format!("{first:?} to {longest:?}")));
    settings.push(("probes", config.probes.to_string()));
    settings.push(("probe_life", shown(config.probe_life())));
    if let Recovery::Stepwise { steps, over } = config.recovery {
        settings.push(("recovery", format!("{steps} steps over {over:?}")));
    }
    if config.mode != Mode::Enforce {
        settings.push(("mode", shown(config.mode)));
    }
    settings
}

impl<T> Sealed for CircuitBreakerBuilder<T> {}

/// A builder also sets how the stack classifies.
#[cfg(feature = "http")]
#[doc(hidden)]
impl<T: StackTracker> Refine<(StackBreaker, Option<CustomClassifier>)>
    for CircuitBreakerBuilder<T>
{
    fn refine(
        self,
        _: (StackBreaker, Option<CustomClassifier>),
    ) -> (StackBreaker, Option<CustomClassifier>) {
        let mut classifier = None;
        let settings = self.retracked(|tracker| classifier = tracker.classifier());
        (settings, classifier)
    }
}
