use std::marker::PhantomData;
use std::time::Duration;

use super::{describe_mode, shown};
use crate::layers::circuit_breaker::{
    self, CircuitBreakerBuilder, CircuitBreakerHandle, CircuitBreakerLayer, OnCancel, Recovery,
    Settings, SlowCalls,
};
use crate::layers::keyed::{Keying, OneForAll};
use crate::registry::Instance;
#[cfg(feature = "http")]
use crate::stack::classifier::{CustomClassifier, StackTracker};
use crate::stack::live::LayerSettings;
use crate::stack::numbers::Numbers;
use crate::stack::part::{OfStack, Part, Setting, Stack, describe_keys};
#[cfg(feature = "http")]
use crate::stack::refine::Refine;
use crate::stack::snapshot::Snapshots;
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::kind::Id;
use crate::vocabulary::mode::Mode;
use crate::vocabulary::sealed::Sealed;

/// The settings of a stack's circuit breaker.
pub(in crate::stack) type StackBreaker = CircuitBreakerBuilder<()>;

/// The circuit breaker of a client stack.
pub(in crate::stack) struct CircuitBreaker<K = OneForAll>(PhantomData<K>);

impl CircuitBreaker {
    pub(in crate::stack) fn settings() -> StackBreaker {
        StackBreaker::tracked_by(())
    }
}

impl<T: Clone, K: OfStack<Q>, Q> Part<T, Q> for CircuitBreaker<K> {
    const NAME: &'static str = "circuit_breaker";
    type Settings = StackBreaker;
    type Layer = CircuitBreakerLayer<T, K::Keying>;

    fn standard() -> Option<StackBreaker> {
        Some(CircuitBreaker::settings())
    }

    fn is_on(settings: &StackBreaker) -> bool {
        settings.config.is_on()
    }

    fn derive(settings: &mut StackBreaker, numbers: &mut Numbers) {
        settings.config.derive(numbers);
    }

    fn describe(settings: &StackBreaker) -> Vec<Setting> {
        settings.config.describe()
    }

    fn describe_keys(_: Option<&StackBreaker>, stack: &Stack<'_, T, Q>) -> Option<Setting> {
        describe_keys(&K::of_stack(stack))
    }

    fn build(
        settings: Option<StackBreaker>,
        stack: &Stack<'_, T, Q>,
    ) -> Result<Self::Layer, ConfigError> {
        let off = || CircuitBreaker::settings().mode(Mode::Off);
        let mut breaker = settings.unwrap_or_else(off);
        stack.adopt(&mut breaker.name, &mut breaker.observer);
        let breaker = breaker.retracked(|()| stack.tracker.clone());
        breaker.with_keying(K::of_stack(stack)).build()
    }
}

of_instance!(CircuitBreakerHandle, CircuitBreaker);

impl LayerSettings for Settings {
    through_handle!(CircuitBreakerHandle);

    fn is_on(&self) -> bool {
        self.mode != Mode::Off
    }

    fn numbers(&self, _: Id, _: &mut Numbers) {}

    fn derive(&mut self, numbers: &mut Numbers) {
        if let (None, Some(limit)) = (self.on_cancel, numbers.attempt) {
            // An attempt that takes this long has failed, whoever ends it.
            self.on_cancel = Some(OnCancel::FailureAfter(limit));
            numbers.derived.on_cancel = true;
        }
        if self.probe_life.is_none() {
            numbers.derived.probe_life = true;
            let usual = self.probe_life();
            let longest = numbers.attempt.or(numbers.total).unwrap_or_default();
            self.probe_life = Some(usual.max(longest));
        }
        if LayerSettings::is_on(self) {
            numbers.breaker = Some(*self);
        }
    }

    fn remove_derived(&mut self, numbers: &Numbers) {
        self.on_cancel = self.on_cancel.filter(|_| !numbers.derived.on_cancel);
        self.probe_life = self.probe_life.filter(|_| !numbers.derived.probe_life);
    }

    fn keep_derived(&mut self, set: &Self, put: &Self) {
        if set.on_cancel.is_none() && self.on_cancel == put.on_cancel {
            self.on_cancel = None;
        }
        if set.probe_life.is_none() && self.probe_life == put.probe_life {
            self.probe_life = None;
        }
    }

    fn describe(&self) -> Vec<Setting> {
        describe(self)
    }
}

impl<T, K: Keying> Snapshots for CircuitBreakerLayer<T, K> {
    type Snapshot = circuit_breaker::Snapshot;

    fn snapshot(&self) -> Self::Snapshot {
        self.handle().snapshot()
    }

    fn instance(&self) -> Instance {
        self.handle().into()
    }
}

fn describe(config: &Settings) -> Vec<Setting> {
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
    settings.extend(describe_mode(config.mode));
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
