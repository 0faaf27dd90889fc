//! The layer and its builder.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::budget::RetryBudget;
use super::handle::RetryHandle;
use super::policy::{CloneWith, Decision, RetryErrors, RetryFn, RetryIf};
use super::receive::Unchanged;
use super::service::{CallContext, Retry, Spare};
use super::snapshot::Stats;
use crate::call::inner::Inner;
use crate::call::readiness::Readiness;
use crate::observe::emit::Emit;
use crate::observe::emitter::Emitter;
use crate::observe::event::Observer;
use crate::observe::meter::Handles;
use crate::policy::backoff::Backoff;
use crate::runtime::shared::Shared;
use crate::vocabulary::config::OfInstance as _;
use crate::vocabulary::kind::{Id, Kind, Series};
use crate::vocabulary::name::InstanceName;
use crate::vocabulary::{config::ConfigError, reason::Reason};

pub(crate) static KIND: Kind = Kind::new(
    Id::Retry,
    &[Reason::NotReady],
    &[Series::GivenUp, Series::Retries],
);

pub(crate) const LAYER: &str = KIND.layer;

/// The highest number of attempts.
pub(crate) const MOST_ATTEMPTS: u32 = 100;

/// The state that all services of a layer share.
pub(crate) struct Core<P, R> {
    pub(super) policy: P,
    pub(super) receive: R,
    pub(super) settings: Settings,
    /// A waiting retry holds it, too, and records that it was given up.
    pub(super) stats: Arc<Stats>,
}

impl<P, R> Emit for Core<P, R> {
    fn emitter(&self) -> &Emitter {
        &self.stats.emitter
    }

    fn set_gauges(&self, handles: &Handles) {
        if let Some(budget) = &self.settings.budget {
            handles.balance(budget.balance());
        }
    }
}

/// All settings but policy and observer.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) attempts: u32,
    /// `None`: not set.
    pub(crate) backoff: Option<Backoff>,
    pub(crate) budget: Option<RetryBudget>,
    pub(crate) max_retry_after: Duration,
    pub(crate) max_ready_wait: Duration,
    pub(crate) replay_limit: usize,
}

/// Retries failed calls: see the [module](crate::retry).
///
/// Clones and their services share the budget.
pub struct RetryLayer<P = RetryErrors, R = Unchanged> {
    core: Arc<Core<P, R>>,
}

impl RetryLayer {
    /// Three attempts in all, after any error; exponential back-off from 50 ms to 2 s with full
    /// jitter; the default budget.
    #[must_use]
    pub fn new() -> Self {
        Self {
            core: Arc::new(Core {
                policy: RetryErrors,
                receive: Unchanged,
                settings: Settings::default(),
                stats: Arc::new(Stats::new(Emitter::of_default(&KIND))),
            }),
        }
    }

    /// A retry layer with settings of your own.
    pub fn builder() -> RetryBuilder {
        RetryBuilder::by(RetryErrors, Unchanged)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            attempts: 3,
            backoff: None,
            budget: Some(RetryBudget::new()),
            max_retry_after: Duration::from_secs(30),
            max_ready_wait: Duration::from_secs(1),
            replay_limit: 64 * 1024,
        }
    }
}

impl Settings {
    pub(crate) fn backoff(&self) -> Backoff {
        self.backoff.unwrap_or_default()
    }
}

impl<P, R> RetryLayer<P, R> {
    pub(crate) fn budget(&self) -> Option<&RetryBudget> {
        self.core.settings.budget.as_ref()
    }

    /// A handle to inspect the retries and their budget.
    #[must_use]
    pub fn handle(&self) -> RetryHandle {
        RetryHandle::new(&self.core)
    }
}

impl Default for RetryLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Clone, P, R> Layer<S> for RetryLayer<P, R> {
    type Service = Retry<S, P, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Retry {
            context: Shared::new(CallContext {
                core: Arc::clone(&self.core),
                spare: Spare::new(inner.clone()),
            }),
            inner: Inner::new(inner),
            readiness: Readiness::Ready,
        }
    }
}

impl<P, R> Clone for RetryLayer<P, R> {
    fn clone(&self) -> Self {
        Self {
            core: Arc::clone(&self.core),
        }
    }
}

impl<P, R> fmt::Debug for RetryLayer<P, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryLayer")
            .field("name", &self.core.stats.emitter.name())
            .field("settings", &self.core.settings)
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
pub struct RetryBuilder<P = RetryErrors, R = Unchanged> {
    pub(crate) name: Option<String>,
    pub(crate) settings: Settings,
    pub(crate) policy: P,
    pub(crate) receive: R,
    pub(crate) observer: Option<Arc<dyn Observer>>,
}

impl<P, R> RetryBuilder<P, R> {
    pub(crate) fn by(policy: P, receive: R) -> Self {
        Self {
            name: None,
            settings: Settings::default(),
            policy,
            receive,
            observer: None,
        }
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
    pub fn budget(mut self, budget: RetryBudget) -> Self {
        self.settings.budget = Some(budget);
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
    pub fn retry_if<Req, Res, Err, F>(self, retry: F) -> RetryBuilder<RetryIf<F>, R>
    where
        F: Fn(&Req, Result<&Res, &Err>) -> bool,
    {
        self.policy(RetryIf(retry))
    }

    /// Decides by a closure of the request, the result and the number of the attempt.
    pub fn decide<Req, Res, Err, F>(self, decide: F) -> RetryBuilder<RetryFn<F>, R>
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
    ) -> RetryBuilder<CloneWith<C, F>, R>
    where
        C: Fn(&Req) -> Option<Req>,
        F: Fn(&Req, Result<&Res, &Err>, u32) -> Decision,
    {
        self.policy(CloneWith { clone, decide })
    }

    /// Decides by a [`RetryPolicy`](crate::RetryPolicy) of your own.
    pub fn policy<P2>(self, policy: P2) -> RetryBuilder<P2, R> {
        RetryBuilder {
            name: self.name,
            settings: self.settings,
            policy,
            receive: self.receive,
            observer: self.observer,
        }
    }

    /// Sends the events of this instance to an observer. Default none.
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// When a value is out of range.
    pub fn build(self) -> Result<RetryLayer<P, R>, ConfigError> {
        let name = self.name.clone();
        self.built().of_instance(name.as_deref())
    }

    fn built(self) -> Result<RetryLayer<P, R>, ConfigError> {
        const LONGEST: Duration = Duration::from_secs(3600);
        const MOST_KEPT: usize = 64 * 1024 * 1024;
        let instance = InstanceName::new(&KIND, self.name.as_deref())?;
        let settings = self.settings;
        if !(1..=MOST_ATTEMPTS).contains(&settings.attempts) {
            let rule = "must be from 1 (no retry) to 100";
            return Err(ConfigError::new(LAYER, "attempts", settings.attempts, rule));
        }
        settings.backoff().check()?;
        for (field, value) in [
            ("max_retry_after", settings.max_retry_after),
            ("max_ready_wait", settings.max_ready_wait),
        ] {
            if value > LONGEST {
                let shown = format_args!("{value:?}").to_string();
                return Err(ConfigError::new(
                    LAYER,
                    field,
                    shown,
                    "must be at most one hour",
                ));
            }
        }
        if settings.replay_limit > MOST_KEPT {
            let rule = "must be at most 64 MiB";
            return Err(ConfigError::new(
                LAYER,
                "replay_limit",
                settings.replay_limit,
                rule,
            ));
        }
        Ok(RetryLayer {
            core: Arc::new(Core {
                policy: self.policy,
                receive: self.receive,
                settings,
                stats: Arc::new(Stats::new(Emitter::new(&KIND, instance, self.observer))),
            }),
        })
    }
}

impl<P, R> fmt::Debug for RetryBuilder<P, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryBuilder")
            .field("name", &self.name)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
