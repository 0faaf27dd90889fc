#[cfg(feature = "http")]
use std::marker::PhantomData;

use super::describe_mode;
use crate::layers::keyed::Keying;
use crate::layers::retry::{self, RetryBuilder, RetryHandle, RetryLayer, Settings};
#[cfg(feature = "http")]
use crate::protocol::grpc::{EarlyTrailers, GrpcRetry};
#[cfg(feature = "http")]
use crate::protocol::http::HttpRetry;
use crate::registry::Instance;
#[cfg(feature = "http")]
use crate::stack::keys::StackKeying;
use crate::stack::live::LayerSettings;
use crate::stack::numbers::{Numbers, RetryNumbers, backoff_for};
#[cfg(feature = "http")]
use crate::stack::part::{Part, Stack};
use crate::stack::part::{Setting, describe_keys};
#[cfg(feature = "http")]
use crate::stack::protocol::{Grpc, Http, Protocol};
#[cfg(feature = "http")]
use crate::stack::refine::Refine;
use crate::stack::snapshot::Snapshots;
#[cfg(feature = "http")]
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::kind::Id;
use crate::vocabulary::mode::Mode;
#[cfg(feature = "http")]
use crate::vocabulary::sealed::Sealed;

/// The settings of the retry of an HTTP or gRPC stack.
#[cfg(feature = "http")]
pub(in crate::stack) type StackRetry<P> =
    RetryBuilder<<P as Protocol>::Policy, <P as Protocol>::Receive>;

/// The retry of a client stack over HTTP or gRPC.
#[cfg(feature = "http")]
pub(in crate::stack) struct Retry<P>(PhantomData<P>);

#[cfg(feature = "http")]
impl<P: Protocol, T> Part<T, StackKeying> for Retry<P> {
    const NAME: &'static str = "retry";
    type Settings = StackRetry<P>;
    type Layer = RetryLayer<P::Policy, P::Receive, StackKeying>;

    fn standard() -> Option<Self::Settings> {
        Some(P::retry())
    }

    fn is_on(settings: &Self::Settings) -> bool {
        settings.settings.is_on()
    }

    fn numbers(settings: &Self::Settings, numbers: &mut Numbers) {
        settings.settings.numbers(Id::Retry, numbers);
    }

    fn derive(settings: &mut Self::Settings, numbers: &mut Numbers) {
        settings.settings.derive(numbers);
    }

    fn describe(settings: &Self::Settings) -> Vec<Setting> {
        settings.settings.describe()
    }

    fn describe_keys(
        settings: Option<&Self::Settings>,
        stack: &Stack<'_, T, StackKeying>,
    ) -> Option<Setting> {
        describe_retry_keys(&stack.keying, settings)
    }

    fn build(
        settings: Option<Self::Settings>,
        stack: &Stack<'_, T, StackKeying>,
    ) -> Result<Self::Layer, ConfigError> {
        let mut retry = settings.unwrap_or_else(|| P::retry().mode(Mode::Off));
        stack.adopt(&mut retry.name, &mut retry.observer);
        retry.with_keying(stack.keying.clone()).build()
    }
}

/// The keys in a description. They share a budget that is the user's own.
pub(in crate::stack) fn describe_retry_keys<P, R>(
    keying: &impl Keying,
    retry: Option<&RetryBuilder<P, R>>,
) -> Option<Setting> {
    let (name, mut keys) = describe_keys(keying)?;
    if retry.is_some_and(|retry| retry.budget.is_some() && retry.settings.budget.is_some()) {
        keys.push_str(", with one budget for all");
    }
    Some((name, keys))
}

impl<P, R, K: Keying> Snapshots for RetryLayer<P, R, K> {
    type Snapshot = retry::Snapshot;

    fn snapshot(&self) -> Self::Snapshot {
        self.handle().snapshot()
    }

    fn instance(&self) -> Instance {
        self.handle().into()
    }
}

of_instance!(RetryHandle, Retry);

impl LayerSettings for Settings {
    through_handle!(RetryHandle);

    fn is_on(&self) -> bool {
        self.mode != Mode::Off
    }

    fn numbers(&self, _: Id, numbers: &mut Numbers) {
        numbers.retry = RetryNumbers::of(self);
    }

    fn derive(&mut self, numbers: &mut Numbers) {
        if LayerSettings::is_on(self) {
            derive_backoff(self, numbers);
        }
    }

    fn adapt(&mut self, handle: &RetryHandle) {
        if !handle.can_retry() {
            self.mode = Mode::Off;
        }
    }

    fn remove_derived(&mut self, numbers: &Numbers) {
        self.backoff = self.backoff.filter(|_| !numbers.retry.backoff_is_derived);
    }

    fn keep_derived(&mut self, set: &Self, put: &Self) {
        if set.backoff.is_none() && self.backoff == put.backoff {
            self.backoff = None;
        }
    }

    fn describe(&self) -> Vec<Setting> {
        describe(self)
    }
}

/// Derives a shorter back-off from a short time limit, unless a back-off is set.
pub(in crate::stack) fn derive_backoff(settings: &mut Settings, numbers: &mut Numbers) {
    if let Some(total) = numbers.total
        && settings.backoff.is_none()
    {
        let backoff = backoff_for(total, settings.attempts);
        settings.backoff = Some(backoff);
        numbers.retry.backoff = backoff;
        numbers.retry.backoff_is_derived = true;
    }
}

pub(in crate::stack) fn describe(settings: &Settings) -> Vec<Setting> {
    let budget = settings.budget.as_ref();
    let mut described = vec![
        ("attempts", settings.attempts.to_string()),
        ("backoff", settings.backoff().to_string()),
        (
            "budget",
            budget.map_or_else(|| "none".to_owned(), ToString::to_string),
        ),
        ("replay_limit", settings.replay_limit.to_string()),
    ];
    described.extend(describe_mode(settings.mode));
    described
}

#[cfg(feature = "http")]
impl Refine<Self> for StackRetry<Http> {
    fn refine(self, _: Self) -> Self {
        self
    }
}

#[cfg(feature = "http")]
impl Refine<Self> for StackRetry<Grpc> {
    fn refine(self, _: Self) -> Self {
        self
    }
}

#[cfg(feature = "http")]
impl<P, R> Refine<RetryBuilder<P, R>> for u32 {
    fn refine(self, standard: RetryBuilder<P, R>) -> RetryBuilder<P, R> {
        standard.attempts(self)
    }
}

#[cfg(feature = "http")]
impl Sealed for HttpRetry {}

#[cfg(feature = "http")]
impl Refine<StackRetry<Http>> for HttpRetry {
    fn refine(self, standard: StackRetry<Http>) -> StackRetry<Http> {
        standard.policy(self)
    }
}

#[cfg(feature = "http")]
impl Sealed for GrpcRetry {}

#[cfg(feature = "http")]
impl Refine<StackRetry<Grpc>> for GrpcRetry {
    fn refine(self, standard: RetryBuilder<Self, EarlyTrailers>) -> StackRetry<Grpc> {
        standard.policy(self)
    }
}
