//! The layer and its builder.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::budget::RetryBudget;
use super::handle::RetryHandle;
use super::keyed::Fixed;
use super::policy::{CloneWith, Decision, RetryErrors, RetryFn, RetryIf};
use super::receive::Unchanged;
use super::service::{CallContext, Retry, Spare};
use super::settings::Settings;
use super::snapshot::Stats;
use crate::call::inner::Inner;
use crate::call::readiness::Readiness;
use crate::layers::keyed::{Keying, OneForAll, keyed_setters};
use crate::observe::emitter::Emitter;
use crate::observe::event::Observer;
use crate::policy::backoff::Backoff;
use crate::runtime::shared::Shared;
use crate::vocabulary::config::OfInstance as _;
use crate::vocabulary::kind::{Id, Kind, Series};
use crate::vocabulary::name::InstanceName;
use crate::vocabulary::settings::Fields as _;
use crate::vocabulary::{config::ConfigError, mode::Mode, reason::Reason};

pub(crate) static KIND: Kind = Kind::new(
    Id::Retry,
    &[Reason::NotReady],
    &[Series::GivenUp, Series::Retries],
);

pub(crate) const LAYER: &str = KIND.layer;

/// The state that all services of a layer share.
pub(crate) struct Core<P, R, K: Keying> {
    pub(super) policy: P,
    pub(super) receive: R,
    /// The budgets, settings and counts.
    pub(super) instances: K::Instances<Stats>,
}

/// Retries failed calls: see the [module](crate::retry).
///
/// Clones and their services share the budget.
pub struct RetryLayer<P = RetryErrors, R = Unchanged, K: Keying = OneForAll> {
    core: Arc<Core<P, R, K>>,
}

impl RetryLayer {
    /// Three attempts in all, after any error; exponential back-off from 50 ms to 2 s with full
    /// jitter; the default budget.
    #[must_use]
    pub fn new() -> Self {
        let emitter = Emitter::of_default(&KIND);
        let fixed = Fixed {
            budget: None,
            can_retry: true,
        };
        Self {
            core: Arc::new(Core {
                policy: RetryErrors,
                receive: Unchanged,
                instances: OneForAll::one(&Settings::default(), &fixed, emitter),
            }),
        }
    }

    /// A retry layer with settings of your own.
    pub fn builder() -> RetryBuilder {
        RetryBuilder::by(RetryErrors, Unchanged)
    }
}

impl<P, R, K: Keying> RetryLayer<P, R, K> {
    /// A handle to inspect the retries and their budget.
    #[must_use]
    pub fn handle(&self) -> RetryHandle {
        RetryHandle::new(K::target(&self.core.instances))
    }
}

impl Default for RetryLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Clone, P, R, K: Keying> Layer<S> for RetryLayer<P, R, K> {
    type Service = Retry<S, P, R, K>;

    fn layer(&self, inner: S) -> Self::Service {
        Retry {
            context: Shared::new(CallContext {
                core: Arc::clone(&self.core),
                spare: Spare::new(inner.clone()),
            }),
            inner: Inner::new(inner),
            readiness: Readiness::Ready,
            last: K::Last::default(),
        }
    }
}

impl<P, R, K: Keying> Clone for RetryLayer<P, R, K> {
    fn clone(&self) -> Self {
        Self {
            core: Arc::clone(&self.core),
        }
    }
}

impl<P, R, K: Keying> fmt::Debug for RetryLayer<P, R, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryLayer")
            .field("name", &self.handle().name())
            .field("settings", &self.handle().as_set())
            .finish_non_exhaustive()
    }
}

/// Builds a [`RetryLayer`].
///
/// ```
/// use mainstay::{Backoff, RetryLayer};
/// use std::time::Duration;
///
/// let layer = RetryLayer::builder()
///     .name("payments")
///     .attempts(4)
///     .backoff(Backoff::exponential(Duration::from_millis(20)).cap(Duration::from_millis(500)))
///     .retry_if(|_request: &String, result: Result<&u32, &mainstay::Error<std::io::Error>>| result.is_err())
///     .build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
#[must_use = "a builder does nothing until `build` is called"]
pub struct RetryBuilder<P = RetryErrors, R = Unchanged, K = OneForAll> {
    pub(crate) name: Option<String>,
    pub(crate) settings: Settings,
    /// The user's own.
    pub(crate) budget: Option<RetryBudget>,
    /// Whether the policy ever retries.
    pub(crate) can_retry: bool,
    pub(crate) policy: P,
    pub(crate) receive: R,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) keying: K,
}

keyed_setters! {
    RetryBuilder<P, R>, "budget",
    |builder, keying| RetryBuilder {
        name: builder.name,
        settings: builder.settings,
        budget: builder.budget,
        can_retry: builder.can_retry,
        policy: builder.policy,
        receive: builder.receive,
        observer: builder.observer,
        keying,
    }
}

impl<P, R> RetryBuilder<P, R> {
    pub(crate) fn by(policy: P, receive: R) -> Self {
        Self {
            name: None,
            settings: Settings::default(),
            budget: None,
            can_retry: true,
            policy,
            receive,
            observer: None,
            keying: OneForAll,
        }
    }
}

impl<P, R, K> RetryBuilder<P, R, K> {
    /// The policy never retries.
    pub(crate) fn never(mut self) -> Self {
        self.can_retry = false;
        self
    }

    /// Name of this instance in rejections, events and metrics. Default `default`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Number of attempts in all, including the first. Default 3; range 1 to 100.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.settings.attempts = attempts;
        self
    }

    /// Back-off between attempts. Default exponential from 50 ms to 2 s, with full jitter.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.settings.backoff = Some(backoff);
        self
    }

    /// Budget for retries. Default [`RetryBudget::new`] for this layer alone.
    ///
    /// It is one for all calls, also with [keys](Self::keyed): each key then has only counts of its
    /// own. Use [`settings`](Self::settings) for the settings of a budget for each key.
    pub fn budget(mut self, budget: RetryBudget) -> Self {
        self.settings.budget = Some(budget.settings());
        self.budget = Some(budget);
        self
    }

    /// Sets all settings at once, such as those of a configuration. They replace a
    /// [`budget`](Self::budget) that was set.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self.budget = None;
        self
    }

    /// Whether the layer retries, only reports, or is off. Default [`Mode::Enforce`].
    ///
    /// In [shadow mode](Mode::Shadow) a retry is decided and paid as usual, and then refused for the
    /// reason [`Shadow`](crate::RetryRefused::Shadow).
    pub fn mode(mut self, mode: Mode) -> Self {
        self.settings.mode = mode;
        self
    }

    /// Retries without a budget. An outage then multiplies the load by the number of attempts.
    pub fn without_budget(mut self) -> Self {
        self.settings.budget = None;
        self
    }

    /// Longest wait for a server's hint (`Retry-After`). Default 30 seconds; at most an hour.
    ///
    /// With a longer hint the caller gets the response at once.
    pub fn max_retry_after(mut self, longest: Duration) -> Self {
        self.settings.max_retry_after = longest;
        self
    }

    /// Longest wait for the inner service to be ready for a retry. Default 1 second; at most an
    /// hour.
    pub fn max_ready_wait(mut self, longest: Duration) -> Self {
        self.settings.max_ready_wait = longest;
        self
    }

    /// Bytes of a streamed request body that are kept, to send it again. Default 64 KiB; at most
    /// 64 MiB.
    ///
    /// A larger request is not sent again. With 0, streamed requests are sent once. The limit also
    /// holds for a body whose clone would be a copy.
    ///
    /// Only the policies of `mainstay::http` and `mainstay::grpc` use it. There is at most one
    /// buffer for each call in flight. It shares memory with the body, so a small piece of a large
    /// buffer keeps all of it alive. See `mainstay::http::ReplayBody`.
    pub fn replay_limit(mut self, bytes: usize) -> Self {
        self.settings.replay_limit = bytes;
        self
    }

    /// Retries if a closure of the request and the result returns `true`.
    pub fn retry_if<Req, Res, Err, F>(self, retry: F) -> RetryBuilder<RetryIf<F>, R, K>
    where
        F: Fn(&Req, Result<&Res, &Err>) -> bool,
    {
        self.policy(RetryIf(retry))
    }

    /// Decides by a closure of the request, the result and the number of the attempt.
    pub fn decide<Req, Res, Err, F>(self, decide: F) -> RetryBuilder<RetryFn<F>, R, K>
    where
        F: Fn(&Req, Result<&Res, &Err>, u32) -> Decision,
    {
        self.policy(RetryFn(decide))
    }

    /// Decides by a closure, and copies requests by another one: for requests that cannot always be
    /// cloned. A request that cannot be copied is sent once.
    pub fn decide_cloning<Req, Res, Err, C, F>(
        self,
        clone: C,
        decide: F,
    ) -> RetryBuilder<CloneWith<C, F>, R, K>
    where
        C: Fn(&Req) -> Option<Req>,
        F: Fn(&Req, Result<&Res, &Err>, u32) -> Decision,
    {
        self.policy(CloneWith { clone, decide })
    }

    /// Decides by a [`RetryPolicy`](crate::RetryPolicy) of your own.
    pub fn policy<P2>(self, policy: P2) -> RetryBuilder<P2, R, K> {
        RetryBuilder {
            name: self.name,
            settings: self.settings,
            budget: self.budget,
            can_retry: self.can_retry,
            policy,
            receive: self.receive,
            observer: self.observer,
            keying: self.keying,
        }
    }

    /// Sends the events of this instance to an observer. Default none.
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }
}

impl<P, R, K: Keying> RetryBuilder<P, R, K> {
    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// When a value is out of range.
    pub fn build(self) -> Result<RetryLayer<P, R, K>, ConfigError> {
        let name = self.name.clone();
        self.built().of_instance(name.as_deref())
    }

    fn built(self) -> Result<RetryLayer<P, R, K>, ConfigError> {
        let instance = InstanceName::new(&KIND, self.name.as_deref())?;
        self.settings.check()?;
        let is_on = self.settings.mode != Mode::Off;
        let emitter = Emitter::measured(&KIND, instance, self.observer, is_on);
        let fixed = Fixed {
            budget: self.budget,
            can_retry: self.can_retry,
        };
        Ok(RetryLayer {
            core: Arc::new(Core {
                policy: self.policy,
                receive: self.receive,
                instances: self
                    .keying
                    .instances(LAYER, self.settings, fixed, emitter)?,
            }),
        })
    }
}

impl<P, R, K> fmt::Debug for RetryBuilder<P, R, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryBuilder")
            .field("name", &self.name)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
