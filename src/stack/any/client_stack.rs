//! The stack of a client for any request type.

use std::fmt;
use std::sync::Arc;

use tower_layer::Layer;

use super::parts::{self, AnyLimit, ClientTimeout, NoRetry};
use super::propagate::{NoContext, Propagate};
use crate::call::track::AtResponse;

use crate::layers::bulkhead::{self, Bulkhead, BulkheadHandle, Queued};
use crate::layers::circuit_breaker::{self, CircuitBreaker, CircuitBreakerHandle};

use crate::layers::keyed::{Keying, OneForAll};
use crate::layers::rate_limit::{self, RateLimit, RateLimitHandle};
use crate::layers::retry::{self, Retry, RetryHandle, Unchanged};
use crate::layers::timeout::{self, Fixed, HeadOnly, Timeout};
use crate::stack::description::Description;
use crate::stack::list::list;
use crate::stack::live::{Live, live_methods};
use crate::stack::part::ByStack;
use crate::stack::parts::{
    AttemptTimeout, Bulkhead as BulkheadPart, CircuitBreaker as CircuitBreakerPart,
    RateLimit as RateLimitPart,
};
use crate::stack::settings::AnyClientSettings;
use crate::vocabulary::outcome::ErrorsFail;

list! {
    /// The snapshots of the layers of a client stack for any request type; `None` for a layer that
    /// was removed. See [`snapshot`](crate::snapshot).
    snapshot AnyClientSnapshot;
    settings Parts, layers Layers, tracker AtResponse<C>, keying Q;
    parameters [R, C: Clone, Q: Keying] [R, C, Q];
    outer Calls[R, Q] of Clone {
        timeout: ClientTimeout, Timeout<_, AnyLimit<NoContext>>, timeout::Snapshot, "The time limit of whole calls.";
        retry: parts::Retry<R>, Retry<_, R, Unchanged, Q>, retry::Snapshot, "The retries.";
    }
    inner Attempts[C, Q] {
        rate_limit: RateLimitPart, RateLimit<_, Queued, AtResponse<C>>, rate_limit::Snapshot, "The rate limit.";
        circuit_breaker: CircuitBreakerPart<ByStack>, CircuitBreaker<_, AtResponse<C>, Q>, circuit_breaker::Snapshot, "The circuit breaker.";
        bulkhead: BulkheadPart<ByStack>, Bulkhead<_, Queued, AtResponse<C>, Q>, bulkhead::Snapshot, "The bulkhead.";
        attempt_timeout: AttemptTimeout<HeadOnly>, Timeout<_, Fixed>, timeout::Snapshot, "The time limit of each attempt.";
    }
}

/// The layers of a client for any request type, outermost first: correlation, timeout, retry, rate
/// limit (off by default), circuit breaker, bulkhead, attempt timeout, deadline. Correlation and
/// deadline are in it if it [propagates](super::AnyClientBuilder::propagate) the context.
///
/// Build it with [`mainstay::client`](crate::client). Its clones, and the services that they make,
/// share one circuit, one budget and one bulkhead, or one of each for each
/// [key](super::AnyClientBuilder::keyed): build one stack for each upstream, for all its connections.
/// `R` is the retry policy, `C` the classifier, `K` whether the context is propagated, `Q` whether
/// there are keys.
pub struct AnyClientStack<
    R = NoRetry,
    C: Clone = ErrorsFail,
    K: Propagate = NoContext,
    Q: Keying = OneForAll,
> {
    pub(super) correlation: K::Client,
    pub(super) layers: Layers<R, C, Q>,
    pub(super) deadline: K::Deadline,
    pub(super) live: Arc<Live<AnyClientSettings>>,
}

/// A client in the stack that [`mainstay::client`](crate::client) builds.
///
/// ```
/// use mainstay::stack::AnyClient;
/// use tower::util::BoxCloneService;
///
/// struct Cache {
///     client: AnyClient<BoxCloneService<String, String, std::io::Error>>,
/// }
/// ```
pub type AnyClient<S, R = NoRetry, C = ErrorsFail, K = NoContext, Q = OneForAll> =
    <AnyClientStack<R, C, K, Q> as Layer<S>>::Service;

impl<R, C: Clone, K: Propagate, Q: Keying> AnyClientStack<R, C, K, Q> {
    /// Wraps a client, which must be `Clone`. Like [`layer`](Layer::layer), without an import of
    /// the trait.
    pub fn wrap<S>(&self, client: S) -> AnyClient<S, R, C, K, Q>
    where
        Self: Layer<S>,
    {
        self.layer(client)
    }

    /// The handle of the circuit breaker. Without a circuit breaker the circuit stays closed.
    #[must_use]
    pub fn circuit_breaker(&self) -> CircuitBreakerHandle {
        self.layers.circuit_breaker.layer.handle()
    }

    /// The rate limit, with its available permits and the waiting calls. By default it admits every
    /// call.
    #[must_use]
    pub fn rate_limit(&self) -> RateLimitHandle {
        self.layers.rate_limit.layer.handle()
    }

    /// The bulkhead, with its limit and the attempts in flight and in the queue.
    #[must_use]
    pub fn bulkhead(&self) -> BulkheadHandle {
        self.layers.bulkhead.layer.handle()
    }

    /// The retries and their budget. By default there are none. With keys, each of them has a
    /// budget of its own, which the handle of the [`key`](RetryHandle::key) returns.
    #[must_use]
    pub fn retry(&self) -> RetryHandle {
        self.layers.retry.layer.handle()
    }

    /// The snapshots of its layers.
    #[must_use]
    pub fn snapshot(&self) -> AnyClientSnapshot {
        self.layers.snapshot()
    }

    live_methods!(AnyClientSettings);
}

impl<S, R, C, K, Q> Layer<S> for AnyClientStack<R, C, K, Q>
where
    C: Clone,
    Q: Keying,
    K: Propagate,
    K::Deadline: Layer<S>,
    <K::Deadline as Layer<S>>::Service: Clone,
    K::Client: Layer<Calls<Attempts<<K::Deadline as Layer<S>>::Service, C, Q>, R, Q>>,
{
    type Service = <K::Client as Layer<
        Calls<Attempts<<K::Deadline as Layer<S>>::Service, C, Q>, R, Q>,
    >>::Service;

    fn layer(&self, inner: S) -> Self::Service {
        let attempts = self.layers.inner(self.deadline.layer(inner));
        self.correlation.layer(self.layers.outer(attempts))
    }
}

impl<R, C: Clone, K: Propagate, Q: Keying> Clone for AnyClientStack<R, C, K, Q> {
    fn clone(&self) -> Self {
        Self {
            correlation: self.correlation.clone(),
            layers: self.layers.clone(),
            deadline: self.deadline.clone(),
            live: Arc::clone(&self.live),
        }
    }
}

impl<R, C: Clone, K: Propagate, Q: Keying> fmt::Display for AnyClientStack<R, C, K, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.describe().fmt(f)
    }
}

impl<R, C: Clone, K: Propagate, Q: Keying> fmt::Debug for AnyClientStack<R, C, K, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AnyClientStack")
            .field(&self.describe())
            .finish()
    }
}
