//! The stack of a server for any request type.

use std::fmt;
use std::sync::Arc;

use tower_layer::Layer;

use super::parts::{AnyLimit, ServerTimeout};
use super::propagate::{NoContext, Propagate};
use crate::call::track::AtResponse;

use crate::layers::bulkhead::{self, Bulkhead, BulkheadHandle, Queued};

use crate::layers::keyed::{Keying, OneForAll};
use crate::layers::load_shed::{self, Limited, LoadShed, LoadShedHandle};

use crate::layers::rate_limit::{self, RateLimit, RateLimitHandle};
use crate::layers::timeout::{self, Timeout};
use crate::stack::description::Description;
use crate::stack::list::list;
use crate::stack::live::{Live, live_methods};
use crate::stack::part::ByStack;
use crate::stack::parts::{
    Bulkhead as BulkheadPart, LoadShed as LoadShedPart, RateLimit as RateLimitPart,
};
use crate::stack::settings::AnyServerSettings;
use crate::vocabulary::outcome::ErrorsFail;

list! {
    /// The snapshots of the layers of a server stack for any request type; `None` for a layer that
    /// was removed. See [`snapshot`](crate::snapshot).
    #[derive(Eq)]
    snapshot AnyServerSnapshot;
    settings Parts, layers Layers, tracker AtResponse<C>, keying Q;
    parameters [C: Clone, K: Propagate, Q: Keying] [C, K, Q];
    outer Requests[K] of Sized {
        timeout: ServerTimeout<K>, Timeout<_, AnyLimit<K>>, timeout::Snapshot, "The time limit.";
    }
    inner Limits[C, Q] {
        rate_limit: RateLimitPart<ByStack>, RateLimit<_, Queued, AtResponse<C>, Q>, rate_limit::Snapshot, "The rate limit.";
        load_shed: LoadShedPart, LoadShed<_, Limited<AtResponse<C>>>, load_shed::Snapshot, "The load shedder.";
        bulkhead: BulkheadPart<ByStack>, Bulkhead<_, Queued, AtResponse<C>, Q>, bulkhead::Snapshot, "The bulkhead.";
    }
}

/// The layers of a server for any request type, outermost first: correlation (if it
/// [reads](super::AnyServerBuilder::propagate) the context), timeout, rate limit, load shed,
/// bulkhead.
///
/// Build it with [`mainstay::server`](crate::server). Its clones, and the services that they make
/// for connections, share one load shedder and one bulkhead, or a bulkhead and a rate limit for
/// each [key](super::AnyServerBuilder::keyed). `C` is the classifier, `K` whether the context is read,
/// `Q` whether there are keys.
pub struct AnyServerStack<C: Clone = ErrorsFail, K: Propagate = NoContext, Q: Keying = OneForAll> {
    pub(super) correlation: K::Server,
    pub(super) layers: Layers<C, K, Q>,
    pub(super) live: Arc<Live<AnyServerSettings>>,
}

/// A service in the stack that [`mainstay::server`](crate::server) builds.
pub type AnyServer<S, C = ErrorsFail, K = NoContext, Q = OneForAll> =
    <AnyServerStack<C, K, Q> as Layer<S>>::Service;

impl<C: Clone, K: Propagate, Q: Keying> AnyServerStack<C, K, Q> {
    /// Wraps a service. Like [`layer`](Layer::layer), without an import of the trait.
    pub fn wrap<S>(&self, service: S) -> AnyServer<S, C, K, Q>
    where
        Self: Layer<S>,
    {
        self.layer(service)
    }

    /// The rate limit, with its available permits and the waiting calls. By default it admits every
    /// call.
    #[must_use]
    pub fn rate_limit(&self) -> RateLimitHandle {
        self.layers.rate_limit.layer.handle()
    }

    /// The load shedder, with its limit and the requests in flight.
    #[must_use]
    pub fn load_shed(&self) -> LoadShedHandle {
        self.layers.load_shed.layer.handle()
    }

    /// The bulkhead, with its limit and the requests in flight and in the queue.
    #[must_use]
    pub fn bulkhead(&self) -> BulkheadHandle {
        self.layers.bulkhead.layer.handle()
    }

    /// The snapshots of its layers.
    #[must_use]
    pub fn snapshot(&self) -> AnyServerSnapshot {
        self.layers.snapshot()
    }

    live_methods!(AnyServerSettings);
}

impl<S, C, K, Q> Layer<S> for AnyServerStack<C, K, Q>
where
    C: Clone,
    Q: Keying,
    K: Propagate,
    K::Server: Layer<Requests<Limits<S, C, Q>, K>>,
{
    type Service = <K::Server as Layer<Requests<Limits<S, C, Q>, K>>>::Service;

    fn layer(&self, inner: S) -> Self::Service {
        let limited = self.layers.inner(inner);
        self.correlation.layer(self.layers.outer(limited))
    }
}

impl<C: Clone, K: Propagate, Q: Keying> Clone for AnyServerStack<C, K, Q> {
    fn clone(&self) -> Self {
        Self {
            correlation: self.correlation.clone(),
            layers: self.layers.clone(),
            live: Arc::clone(&self.live),
        }
    }
}

impl<C: Clone, K: Propagate, Q: Keying> fmt::Display for AnyServerStack<C, K, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.describe().fmt(f)
    }
}

impl<C: Clone, K: Propagate, Q: Keying> fmt::Debug for AnyServerStack<C, K, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AnyServerStack")
            .field(&self.describe())
            .finish()
    }
}
