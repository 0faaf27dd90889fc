//! The time limit and the retry of a stack for any request type.

use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use super::deadline::asked;
use super::propagate::{Carried, NoContext, Propagate};
use crate::layers::deadline::FIELD;
use crate::layers::retry::{RetryBuilder, RetryErrors, RetryLayer, RetryPolicy, Unchanged};
use crate::layers::timeout::{
    CallLimit, DEFAULT, Fixed, HeadOnly, LAYER, LimitSource, PerRequest, TimeoutBuilder,
    TimeoutLayer, check,
};
use crate::layers::{correlation::Carry, retry::Decision};
use crate::policy::retry::RetryRefused;
use crate::stack::numbers::{Numbers, RetryNumbers};
use crate::stack::part::{Part, Setting, Stack};
use crate::stack::parts::{TOTAL, derive_backoff, describe_retry, shown};
use crate::stack::refine::Refine;
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::mode::Mode;
use crate::vocabulary::overrides::{LimitOverride, Overrides};
use crate::vocabulary::sealed::Sealed;

/// The time limit of a stack for any request type: the stack's, and with [`Carried`] also the
/// request's.
pub struct AnyLimit<K> {
    /// `None` is no limit.
    own: Option<CallLimit>,
    /// Whether the limits of callers apply.
    trusts_inbound: bool,
    kind: PhantomData<fn() -> K>,
}

impl<K> AnyLimit<K> {
    const fn new(own: Option<CallLimit>) -> Self {
        Self {
            own,
            trusts_inbound: true,
            kind: PhantomData,
        }
    }
}

impl<K> Sealed for AnyLimit<K> {}

impl<Req> PerRequest<Req> for AnyLimit<NoContext> {
    #[inline]
    fn limit(&self, _: &Req) -> Option<CallLimit> {
        self.own
    }

    #[inline]
    fn limit_override(&self, _: &Req) -> LimitOverride {
        Overrides::current().call_limit()
    }
}

impl<Req: Carry> PerRequest<Req> for AnyLimit<Carried> {
    #[inline]
    fn limit(&self, _: &Req) -> Option<CallLimit> {
        self.own
    }

    #[inline]
    fn limit_override(&self, _: &Req) -> LimitOverride {
        Overrides::current().call_limit()
    }

    #[inline]
    fn asked(&self, request: &Req) -> Option<Duration> {
        self.trusts_inbound.then(|| asked(request)).flatten()
    }
}

impl<K> Clone for AnyLimit<K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for AnyLimit<K> {}

impl<K> fmt::Debug for AnyLimit<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyLimit")
            .field("own", &self.own)
            .field("trusts_inbound", &self.trusts_inbound)
            .finish()
    }
}

pub(super) type AnyTimeout<K> = TimeoutBuilder<AnyLimit<K>>;

/// The same settings with another `K`.
pub(super) fn with_context<K, L>(timeout: AnyTimeout<K>) -> AnyTimeout<L> {
    let policy = timeout.policy;
    timeout.by(AnyLimit {
        own: policy.own,
        trusts_inbound: policy.trusts_inbound,
        kind: PhantomData,
    })
}

pub(super) fn ignore_inbound<K>(timeout: &mut AnyTimeout<K>) {
    timeout.policy.trusts_inbound = false;
}

impl Sealed for Duration {}

impl<K> Refine<AnyTimeout<K>> for Duration {
    fn refine(self, mut standard: AnyTimeout<K>) -> AnyTimeout<K> {
        standard.policy.own = Some(CallLimit::set(self));
        standard
    }
}

impl<P, B> Sealed for TimeoutBuilder<P, B> {}

impl<K> Refine<AnyTimeout<K>> for TimeoutBuilder<Fixed> {
    fn refine(self, standard: AnyTimeout<K>) -> AnyTimeout<K> {
        // A builder without a limit of its own leaves that of the stack.
        let own = match self.policy.0 {
            CallLimit {
                source: LimitSource::Default,
                ..
            } => standard.policy.own,
            own => Some(own),
        };
        self.by(AnyLimit::new(own))
    }
}

/// The time limit of a client's calls.
pub(super) struct ClientTimeout;

impl ClientTimeout {
    pub(super) fn settings() -> AnyTimeout<NoContext> {
        // It applies only to calls without a deadline.
        let own = CallLimit {
            length: TOTAL,
            source: LimitSource::Fallback,
        };
        TimeoutBuilder::of(AnyLimit::new(Some(own)), HeadOnly)
    }
}

impl<T> Part<T> for ClientTimeout {
    const NAME: &'static str = LAYER;
    type Settings = AnyTimeout<NoContext>;
    type Layer = TimeoutLayer<AnyLimit<NoContext>>;

    fn standard() -> Option<Self::Settings> {
        Some(Self::settings())
    }

    fn numbers(settings: &Self::Settings, numbers: &mut Numbers) {
        numbers.total = settings.policy.own.map(|own| own.length);
    }

    fn describe(settings: &Self::Settings) -> Vec<Setting> {
        describe(settings)
    }

    fn build(
        settings: Option<Self::Settings>,
        stack: &Stack<'_, T>,
    ) -> Result<Self::Layer, ConfigError> {
        // The deadline of the context still applies.
        let none = || TimeoutBuilder::of(AnyLimit::new(None), HeadOnly);
        build(settings.unwrap_or_else(none), stack)
    }
}

/// The time limit of a server's requests.
pub(super) struct ServerTimeout<K>(PhantomData<K>);

impl<K> ServerTimeout<K> {
    pub(super) fn settings() -> AnyTimeout<K> {
        let own = CallLimit {
            length: DEFAULT,
            source: LimitSource::Default,
        };
        TimeoutBuilder::of(AnyLimit::new(Some(own)), HeadOnly)
    }
}

impl<K: Propagate, T> Part<T> for ServerTimeout<K> {
    const NAME: &'static str = LAYER;
    type Settings = AnyTimeout<K>;
    type Layer = TimeoutLayer<AnyLimit<K>>;

    fn standard() -> Option<Self::Settings> {
        Some(Self::settings())
    }

    fn numbers(settings: &Self::Settings, numbers: &mut Numbers) {
        numbers.total = settings.policy.own.map(|own| own.length);
    }

    fn describe(settings: &Self::Settings) -> Vec<Setting> {
        let mut described = describe(settings);
        match (K::CARRIES, settings.policy.trusts_inbound) {
            (true, true) => described.push(("field", FIELD.to_owned())),
            (true, false) => described.push(("ignore_inbound", "true".to_owned())),
            (false, _) => {}
        }
        described
    }

    fn build(
        settings: Option<Self::Settings>,
        stack: &Stack<'_, T>,
    ) -> Result<Self::Layer, ConfigError> {
        let off = || {
            let mut limit = AnyLimit::new(None);
            limit.trusts_inbound = false;
            TimeoutBuilder::of(limit, HeadOnly).off()
        };
        build(settings.unwrap_or_else(off), stack)
    }
}

fn describe<K>(settings: &AnyTimeout<K>) -> Vec<Setting> {
    let own = settings.policy.own.iter();
    own.map(|own| ("timeout", shown(own.length))).collect()
}

fn build<K, T>(
    mut timeout: AnyTimeout<K>,
    stack: &Stack<'_, T>,
) -> Result<TimeoutLayer<AnyLimit<K>>, ConfigError> {
    stack.adopt(&mut timeout.name, &mut timeout.observer);
    if let Some(own) = timeout.policy.own {
        check(LAYER, "timeout", own.length)?;
    }
    timeout.finish(|policy| policy)
}

/// The policy of a client stack without a retry. It needs no copy of a request.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoRetry;

impl<Req, Res, Err> RetryPolicy<Req, Res, Err> for NoRetry {
    type Kept = Infallible;

    #[inline]
    fn keep(&self, _: &mut Req, _: usize) -> Option<Infallible> {
        None
    }

    fn decide(&self, kept: &Infallible, _: Result<&Res, &Err>, _: u32) -> Decision {
        match *kept {}
    }

    fn again(&self, kept: &mut Infallible, _: u32) -> Result<Req, RetryRefused> {
        match *kept {}
    }
}

/// The argument of [`AnyClientBuilder::retry`](super::AnyClientBuilder::retry): a number of
/// attempts, or a builder with a policy.
///
/// This trait is sealed: only mainstay implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no retry of a standard stack",
    note = "the setter accepts the number of attempts as `u32`, for requests that are `Clone` and may all be repeated, or `mainstay::RetryLayer::builder()` with a policy, before `build()`"
)]
pub trait IntoRetry: Sealed {
    /// The retry policy.
    type Policy;

    #[doc(hidden)]
    fn into_retry(self) -> RetryBuilder<Self::Policy>;
}

impl Sealed for u32 {}

impl IntoRetry for u32 {
    type Policy = RetryErrors;

    fn into_retry(self) -> RetryBuilder {
        RetryLayer::builder().attempts(self)
    }
}

impl<P, R> Sealed for RetryBuilder<P, R> {}

impl<R> IntoRetry for RetryBuilder<R> {
    type Policy = R;

    fn into_retry(self) -> Self {
        self
    }
}

/// The retry of a client stack for any request type, with the policy `R`.
pub(super) struct Retry<R>(PhantomData<R>);

/// A retry that may be off: only the user can create its policy.
pub(super) struct MaybeRetry<R> {
    pub(super) retry: RetryBuilder<R>,
    pub(super) is_on: bool,
}

impl<R, T> Part<T> for Retry<R> {
    const NAME: &'static str = "retry";
    type Settings = MaybeRetry<R>;
    type Layer = RetryLayer<R, Unchanged>;

    fn standard() -> Option<Self::Settings> {
        None
    }

    fn is_on(settings: &Self::Settings) -> bool {
        settings.is_on
    }

    fn numbers(settings: &Self::Settings, numbers: &mut Numbers) {
        if settings.is_on {
            numbers.retry = RetryNumbers::of(&settings.retry.settings);
        }
    }

    fn derive(settings: &mut Self::Settings, numbers: &mut Numbers) {
        if settings.is_on {
            derive_backoff(&mut settings.retry.settings, numbers);
        }
    }

    fn describe(settings: &Self::Settings) -> Vec<Setting> {
        describe_retry(&settings.retry.settings)
    }

    fn build(
        settings: Option<Self::Settings>,
        stack: &Stack<'_, T>,
    ) -> Result<Self::Layer, ConfigError> {
        let Some(MaybeRetry { mut retry, .. }) = settings else {
            // The builders start with one and only replace it.
            return Err(ConfigError::new("retry", "policy", "none", "must be set"));
        };
        stack.adopt(&mut retry.name, &mut retry.observer);
        retry.build()
    }
}

impl<R> MaybeRetry<R> {
    pub(super) const fn on(retry: RetryBuilder<R>) -> Self {
        Self { retry, is_on: true }
    }
}

impl MaybeRetry<NoRetry> {
    pub(super) fn off() -> Self {
        let retry = RetryLayer::builder().policy(NoRetry);
        Self {
            retry: retry.mode(Mode::Off),
            is_on: false,
        }
    }
}
