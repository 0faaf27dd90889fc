//! The stack of a server.

use std::fmt;
use std::sync::Arc;

use tower_layer::{Identity, Layer};

use super::classifier::StackClassifier;
use super::description::Description;
use super::keys::StackKeying;
use super::list::list;
use super::live::{Live, live_methods};
use super::part::ByStack;
use super::parts::{self, ServerCorrelation, ServerTimeout};
use super::service::{LimitedService, ServerService};
use super::settings::ServerSettings;
use crate::call::track::AtResponse;

use crate::layers::bulkhead::{self, Bulkhead, BulkheadHandle, Queued};
use crate::layers::correlation::Correlation;

use crate::layers::load_shed::{self, Limited, LoadShed, LoadShedHandle};

use crate::layers::rate_limit::{self, RateLimit, RateLimitHandle};
use crate::layers::timeout::{self, Timeout};
use crate::protocol::http::{BodyLimits, EndOfBody, HttpClassifier, HttpLimit};
use crate::protocol::respond::Respond;

/// The tracker of a server stack.
pub(super) type Tracker = EndOfBody<StackClassifier<HttpClassifier>>;

list! {
    /// The snapshots of the layers of a server stack; `None` for a layer that was removed. See
    /// [`snapshot`](crate::snapshot).
    #[derive(Eq)]
    snapshot ServerSnapshot;
    settings ServerParts, layers ServerLayers, tracker Tracker, keying StackKeying;
    parameters [] [];
    outer Requests[] of Sized {
        correlation: ServerCorrelation, Correlation<_>;
        respond: parts::Respond, Respond<_>;
    }
    // The user's request layers go here.
    inner Limits[] {
        timeout: ServerTimeout, Timeout<_, HttpLimit, BodyLimits>, timeout::Snapshot, "The time limit.";
        rate_limit: parts::RateLimit<ByStack>, RateLimit<_, Queued, AtResponse<StackClassifier<HttpClassifier>>, StackKeying>, rate_limit::Snapshot, "The rate limit.";
        load_shed: parts::LoadShed, LoadShed<_, Limited<Tracker>>, load_shed::Snapshot, "The load shedder.";
        bulkhead: parts::Bulkhead<ByStack>, Bulkhead<_, Queued, Tracker, StackKeying>, bulkhead::Snapshot, "The bulkhead.";
    }
}

/// The layers of a server, outermost first: correlation, respond, timeout, rate limit (off by
/// default), load shed, bulkhead.
///
/// Build it with [`http::server`](crate::http::server) or [`grpc::server`](crate::grpc::server),
/// and use it as a [`Layer`] in axum's `Router::layer`, tonic's `Server::layer` and any other
/// server. It serves HTTP and gRPC on one port and answers each caller in its protocol. Its error
/// is [`Infallible`](std::convert::Infallible). Its clones, and the services that they make for
/// routes and connections, share one load shedder and one bulkhead. `W` is the type of the [request
/// layers](super::ServerBuilder::with_request_layer).
#[derive(Clone)]
pub struct ServerStack<W = Identity> {
    pub(super) layers: ServerLayers,
    pub(super) with: W,
    pub(super) live: Arc<Live<ServerSettings>>,
}

impl<W> ServerStack<W> {
    /// Wraps a service. Like [`layer`](Layer::layer), without an import of the trait.
    pub fn wrap<S>(&self, service: S) -> ServerService<W::Service>
    where
        W: Layer<LimitedService<S>>,
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
    pub fn snapshot(&self) -> ServerSnapshot {
        self.layers.snapshot()
    }

    live_methods!(ServerSettings);
}

impl<S, W> Layer<S> for ServerStack<W>
where
    W: Layer<LimitedService<S>>,
{
    type Service = ServerService<W::Service>;

    fn layer(&self, inner: S) -> Self::Service {
        let limited = LimitedService(self.layers.inner(inner));
        ServerService(self.layers.outer(self.with.layer(limited)))
    }
}

impl<W> fmt::Display for ServerStack<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.describe().fmt(f)
    }
}

impl<W> fmt::Debug for ServerStack<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServerStack")
            .field(&self.describe())
            .finish()
    }
}
