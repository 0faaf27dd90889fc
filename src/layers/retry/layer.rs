use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tower_layer::Layer;

use super::budget::RetryBudget;
use super::policy::{CloneWith, Decision, RetryErrors, RetryFn, RetryIf};
use super::receive::AsItComes;
use super::service::{Kit, Retry};
use super::snapshot::{Books, Snapshot};
use crate::call::inner::Inner;
use crate::call::readiness::Readiness;
use crate::observe::emit::Emit;
use crate::observe::emitter::Emitter;
use crate::observe::event::{Events, Observer};
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

/// With more it is no retry.
pub(crate) const MOST_ATTEMPTS: u32 = 100;

/// What a retry layer shares between all its services.
pub(crate) struct Core<P, R> {
    pub(super) policy: P,
    pub(super) receive: R,
    pub(super) settings: Settings,
    /// A retry that waits holds it as well, and emits that it was given up.
    pub(super) books: Arc<Books>,
}

impl<P, R> Emit for Core<P, R> {
    fn emitter(&self) -> &Emitter {
        &self.books.emitter
    }

    fn set_gauges(&self, handles: &Handles) {
        if let Some(budget) = &self.settings.budget {
            handles.balance(budget.balance());
        }
    }
}

/// Everything but who decides and who listens.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) attempts: u32,
    pub(crate) backoff: Backoff,
    pub(crate) budget: Option<RetryBudget>,
    pub(crate) max_retry_after: Duration,
    pub(crate) max_ready_wait: Duration,
    pub(crate) replay_limit: usize,
}

/// Tries again what failed: see the [module](crate::retry).
///
/// Clones share the budget, and so do all services that they make.
pub struct RetryLayer<P = RetryErrors, R = AsItComes> {
    core: Arc<Core<P, R>>,
}

impl RetryLayer {
    /// Three attempts in all, for every error; exponential back-off from 50 ms to 2 s with full jitter; the default budget.
    #[must_use]
    pub fn new() -> Self {
        Self {
            core: Arc::new(Core {
                policy: RetryErrors,
                receive: AsItComes,
                settings: Settings::default(),
                books: Arc::new(Books::new(Emitter::of_default(&KIND))),
            }),
        }
    }

    /// A retry layer with settings of your own.
    pub fn builder() -> RetryBuilder {
        RetryBuilder::by(RetryErrors, AsItComes)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            attempts: 3,
            backoff: Backoff::default(),
            budget: Some(RetryBudget::new()),
            max_retry_after: Duration::from_secs(30),
            max_ready_wait: Duration::from_secs(1),
            replay_limit: 64 * 1024,
        }
    }
}

impl<P, R> RetryLayer<P, R> {
    /// The budget, if there is one.
    #[must_use]
    pub fn budget(&self) -> Option<&RetryBudget> {
        self.core.settings.budget.as_ref()
    }

    /// How often there were retries, why not, and what the budget has left.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(&self.core)
    }

    /// Subscribes to what the layer decides.
    #[must_use]
    pub fn events(&self) -> Events {
        self.core.books.emitter.subscribe()
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
            kit: Shared::new(Kit {
                core: Arc::clone(&self.core),
                spare: Mutex::new(inner.clone()),
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
            .field("name", &self.core.books.emitter.name())
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
pub struct RetryBuilder<P = RetryErrors, R = AsItComes> {
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

    /// The name of this instance, in rejections and events; `default` if it is not set.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How many attempts there are in all, with the first: 1 to 100; 3 by default.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.settings.attempts = attempts;
        self
    }

    /// How long to wait between two attempts; by default exponential from 50 ms to 2 s, with full jitter.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.settings.backoff = backoff;
        self
    }

    /// How many retries there may be for the requests there are; by default [`RetryBudget::new`], of this layer's own.
    pub fn budget(mut self, budget: RetryBudget) -> Self {
        self.settings.budget = Some(budget);
        self
    }

    /// Retries without a budget. When everything fails, the load is then multiplied by the number of attempts.
    pub fn without_budget(mut self) -> Self {
        self.settings.budget = None;
        self
    }

    /// The longest wait that is granted to a server that says when to come back (`Retry-After`); if it asks for more, the caller gets
    /// the response now. At most an hour, 30 seconds by default.
    pub fn max_retry_after(mut self, longest: Duration) -> Self {
        self.settings.max_retry_after = longest;
        self
    }

    /// How long to wait, when a retry is due, for the inner service to be ready: at most an hour, one second by default.
    pub fn max_ready_wait(mut self, longest: Duration) -> Self {
        self.settings.max_ready_wait = longest;
        self
    }

    /// How many bytes of a request's body are kept, where the body streams or a clone of it would be a copy, so that it can be sent again: at most
    /// 64 MiB, 64 KiB by default. A request that has more is not sent again. With 0 requests that stream are sent once.
    ///
    /// For the policies that know such requests: those of `mainstay::http` and `mainstay::grpc`. There is at most one such buffer for each call in
    /// flight. What is kept is shared with the body and not copied, so a small piece of a large buffer keeps all of it. See `mainstay::http::ReplayBody`
    /// for how a stream is kept.
    pub fn replay_limit(mut self, bytes: usize) -> Self {
        self.settings.replay_limit = bytes;
        self
    }

    /// Retries where a closure of the request and the result says so.
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

    /// Decides by a closure, with another one that copies the request: for requests that are not `Clone`, or not always. One that
    /// cannot be copied is sent once.
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

    /// The layer, or which setting is refused and why.
    ///
    /// # Errors
    ///
    /// When a value is out of its range.
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
        settings.backoff.check()?;
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
                books: Arc::new(Books::new(Emitter::new(&KIND, instance, self.observer))),
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
