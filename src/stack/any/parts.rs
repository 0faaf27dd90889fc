//! The time limit and the retry of a stack for any request type.

use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use super::deadline::asked;
use super::propagate::{Carried, NoContext, Propagate};
use crate::layers::deadline::FIELD;
use crate::layers::keyed::Keying;
use crate::layers::retry::{RetryBuilder, RetryErrors, RetryLayer, RetryPolicy, Unchanged};
use crate::layers::timeout::{
    CallLimit, Fixed, HeadOnly, LAYER, LimitPolicy, LimitSource, Own, OwnLimit, PerRequest, Role,
    Settings, StateOf, TimeoutBuilder, TimeoutHandle, TimeoutLayer,
};
use crate::layers::{correlation::Carry, retry::Decision};
use crate::policy::retry::RetryRefused;
use crate::stack::numbers::{Numbers, RetryNumbers};
use crate::stack::part::{Part, Setting, Stack};
use crate::stack::parts::{
    derive_backoff, describe_mode, describe_retry, describe_retry_keys, shown,
};
use crate::stack::refine::Refine;
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::mode::Mode;
use crate::vocabulary::overrides::{CallOverrides, CallSettings};
use crate::vocabulary::sealed::Sealed;

/// The time limit of a stack for any request type: the stack's, and with [`Carried`] also the
/// request's.
pub struct AnyLimit<K> {
    /// Whether the limits of callers apply.
    trusts_inbound: bool,
    kind: PhantomData<fn() -> K>,
}

impl<K> AnyLimit<K> {
    const fn new() -> Self {
        Self {
            trusts_inbound: true,
            kind: PhantomData,
        }
    }
}

impl<K> Sealed for AnyLimit<K> {}

impl<K> LimitPolicy for AnyLimit<K> {
    type Handle = TimeoutHandle;

    fn handle(state: StateOf<'_>) -> TimeoutHandle {
        state.plain_handle()
    }
}

impl<Req> PerRequest<Req> for AnyLimit<NoContext> {
    #[inline]
    fn limit(&self, own: &Own<'_>, _: &Req) -> Option<CallLimit> {
        own.limit()
    }

    #[inline]
    fn overrides(&self, _: &Req) -> CallOverrides {
        CallSettings::current().call_limit().into()
    }
}

impl<Req: Carry> PerRequest<Req> for AnyLimit<Carried> {
    #[inline]
    fn limit(&self, own: &Own<'_>, _: &Req) -> Option<CallLimit> {
        own.limit()
    }

    #[inline]
    fn overrides(&self, _: &Req) -> CallOverrides {
        CallSettings::current().call_limit().into()
    }

    #[inline]
    fn asked(&self, request: &Req, is_on: bool) -> Option<Duration> {
        let reads = self.trusts_inbound && is_on;
        reads.then(|| asked(request)).flatten()
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
            .field("trusts_inbound", &self.trusts_inbound)
            .finish()
    }
}

pub(super) type AnyTimeout<K> = TimeoutBuilder<AnyLimit<K>>;

/// The same settings with another `K`.
pub(super) fn with_context<K, L>(timeout: AnyTimeout<K>) -> AnyTimeout<L> {
    let policy = timeout.policy;
    timeout.by(AnyLimit {
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
        standard.settings.timeout = OwnLimit::Of(self);
        standard
    }
}

impl<P, B> Sealed for TimeoutBuilder<P, B> {}

impl<K> Refine<AnyTimeout<K>> for TimeoutBuilder<Fixed> {
    fn refine(self, standard: AnyTimeout<K>) -> AnyTimeout<K> {
        // A builder without a limit of its own leaves that of the stack.
        let mut timeout = self.by(AnyLimit::new());
        timeout.role = standard.role;
        timeout
    }
}

/// The time limit of a client's calls.
pub(super) struct ClientTimeout;

impl ClientTimeout {
    pub(super) fn settings() -> AnyTimeout<NoContext> {
        // It applies only to calls without a deadline.
        let role = Role::with_default(LimitSource::Fallback);
        TimeoutBuilder::of(AnyLimit::new(), HeadOnly, role)
    }
}

impl<T, Q> Part<T, Q> for ClientTimeout {
    const NAME: &'static str = LAYER;
    type Settings = AnyTimeout<NoContext>;
    type Layer = TimeoutLayer<AnyLimit<NoContext>>;

    fn standard() -> Option<Self::Settings> {
        Some(Self::settings())
    }

    fn is_on(settings: &Self::Settings) -> bool {
        settings.settings.mode != Mode::Off
    }

    fn numbers(settings: &Self::Settings, numbers: &mut Numbers) {
        plain_numbers(&settings.settings.plain(), &settings.role, numbers);
    }

    fn describe(settings: &Self::Settings) -> Vec<Setting> {
        describe(settings)
    }

    fn build(
        settings: Option<Self::Settings>,
        stack: &Stack<'_, T, Q>,
    ) -> Result<Self::Layer, ConfigError> {
        let off = || Self::settings().mode(Mode::Off);
        let mut timeout = settings.unwrap_or_else(off);
        timeout.role.keeps_deadlines = true;
        build(timeout, stack)
    }
}

/// The time limit of a server's requests.
pub(super) struct ServerTimeout<K>(PhantomData<K>);

impl<K> ServerTimeout<K> {
    pub(super) fn settings() -> AnyTimeout<K> {
        let role = Role::with_default(LimitSource::Default);
        TimeoutBuilder::of(AnyLimit::new(), HeadOnly, role)
    }
}

impl<K: Propagate, T, Q> Part<T, Q> for ServerTimeout<K> {
    const NAME: &'static str = LAYER;
    type Settings = AnyTimeout<K>;
    type Layer = TimeoutLayer<AnyLimit<K>>;

    fn standard() -> Option<Self::Settings> {
        Some(Self::settings())
    }

    fn is_on(settings: &Self::Settings) -> bool {
        settings.settings.mode != Mode::Off
    }

    fn numbers(settings: &Self::Settings, numbers: &mut Numbers) {
        plain_numbers(&settings.settings.plain(), &settings.role, numbers);
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
        stack: &Stack<'_, T, Q>,
    ) -> Result<Self::Layer, ConfigError> {
        let off = || Self::settings().mode(Mode::Off);
        build(settings.unwrap_or_else(off), stack)
    }
}

/// The numbers of these settings.
fn plain_numbers(settings: &Settings, role: &Role, numbers: &mut Numbers) {
    // In shadow mode it ends no call, so other layers derive nothing from it.
    if settings.mode == Mode::Enforce {
        numbers.total = role.length(settings.timeout);
    }
}

fn describe<K>(settings: &AnyTimeout<K>) -> Vec<Setting> {
    let own = settings.role.length(settings.settings.timeout);
    let own = own.map(|own| ("timeout", shown(own)));
    let mode = describe_mode(settings.settings.mode);
    own.into_iter().chain(mode).collect()
}

fn build<K, T, Q>(
    mut timeout: AnyTimeout<K>,
    stack: &Stack<'_, T, Q>,
) -> Result<TimeoutLayer<AnyLimit<K>>, ConfigError> {
    stack.adopt(&mut timeout.name, &mut timeout.observer);
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

impl<P, R, K> Sealed for RetryBuilder<P, R, K> {}

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

impl<R, T, Q: Keying> Part<T, Q> for Retry<R> {
    const NAME: &'static str = "retry";
    type Settings = MaybeRetry<R>;
    type Layer = RetryLayer<R, Unchanged, Q>;

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

    fn describe_keys(
        settings: Option<&Self::Settings>,
        stack: &Stack<'_, T, Q>,
    ) -> Option<Setting> {
        describe_retry_keys(&stack.keying, settings.map(|settings| &settings.retry))
    }

    fn build(
        settings: Option<Self::Settings>,
        stack: &Stack<'_, T, Q>,
    ) -> Result<Self::Layer, ConfigError> {
        let Some(MaybeRetry { mut retry, .. }) = settings else {
            // The builders start with one and only replace it.
            return Err(ConfigError::new("retry", "policy", "none", "must be set"));
        };
        stack.adopt(&mut retry.name, &mut retry.observer);
        retry.with_keying(stack.keying.clone()).build()
    }
}

impl<R> MaybeRetry<R> {
    pub(super) const fn on(retry: RetryBuilder<R>) -> Self {
        Self { retry, is_on: true }
    }

    /// Sets the settings, unless there is no policy.
    pub(super) fn put(&mut self, settings: crate::layers::retry::Settings) {
        if self.retry.can_retry {
            self.is_on = settings.mode != Mode::Off;
            self.retry.settings = settings;
        }
    }
}

impl MaybeRetry<NoRetry> {
    pub(super) fn off() -> Self {
        let retry = RetryLayer::builder().policy(NoRetry);
        Self {
            retry: retry.mode(Mode::Off).never(),
            is_on: false,
        }
    }
}
