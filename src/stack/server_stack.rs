//! The stack of a server.

use std::fmt;
use std::sync::Arc;

use tower_layer::{Identity, Layer};

use super::classifier::StackClassifier;
use super::description::Description;
use super::list::list;
use super::parts::{self, ServerCorrelation, ServerTimeout};
use super::service::{LimitedService, ServerService};
use crate::call::track::AtResponse;
use crate::layers::bulkhead::{self, Bulkhead, BulkheadLayer, Queued};
use crate::layers::correlation::Correlation;
use crate::layers::load_shed::{self, Limited, LoadShed, LoadShedLayer};
use crate::layers::rate_limit::{self, RateLimit, RateLimitLayer, Waiting};
use crate::layers::timeout::{self, Timeout};
use crate::protocol::http::{BodyLimits, EndOfBody, HttpClassifier, HttpLimit};
use crate::protocol::respond::Respond;

/// How the layers of a server's stack classify, and follow calls.
pub(super) type Tracker = EndOfBody<StackClassifier<HttpClassifier>>;

list! {
    /// The snapshots of the layers of a server's stack, of those that are in it: see [`snapshot`](crate::snapshot).
    #[derive(Eq)]
    snapshot ServerSnapshot;
    settings ServerParts, layers ServerLayers, tracker Tracker;
    parameters [] [];
    outer Requests[] of Sized {
        correlation: ServerCorrelation, Correlation<_>;
        respond: parts::Respond, Respond<_>;
    }
    // Layers of the user's own go here.
    inner Limits[] {
        timeout: ServerTimeout, Timeout<_, HttpLimit, BodyLimits>, timeout::Snapshot, "The time limit.";
        rate_limit: parts::RateLimit, RateLimit<_, Waiting, AtResponse<StackClassifier<HttpClassifier>>>, rate_limit::Snapshot, "The rate limit.";
        load_shed: parts::LoadShed, LoadShed<_, Limited<Tracker>>, load_shed::Snapshot, "The load shedder.";
        bulkhead: parts::Bulkhead, Bulkhead<_, Queued, Tracker>, bulkhead::Snapshot, "The bulkhead.";
    }
}

/// The layers of a server, in their order: correlation, respond,
/// timeout, rate limit (off by default), load shed, bulkhead.
///
/// Made by [`http::server`](crate::http::server) or [`grpc::server`](crate::grpc::server), it is a [`Layer`] for axum's `Router::layer`, tonic's `Server::layer` and
/// any other server. Its only error is [`Infallible`](std::convert::Infallible). It serves HTTP and gRPC on one port: each
/// caller is answered in its own protocol. Clones share one limit and one bulkhead, and so do all services that they make: for
/// every route and connection, and also for several routers if you want it so. `W` are the
/// [request layers](super::ServerBuilder::with_request_layer).
#[derive(Clone)]
pub struct ServerStack<W = Identity> {
    pub(super) layers: ServerLayers,
    pub(super) with: W,
    pub(super) description: Arc<Description>,
}

impl<W> ServerStack<W> {
    /// Puts the stack around a service: the same as [`layer`](Layer::layer), without having to import the trait.
    pub fn wrap<S>(&self, service: S) -> ServerService<W::Service>
    where
        W: Layer<LimitedService<S>>,
    {
        self.layer(service)
    }

    /// The rate limit: the permits that are available, and how many calls wait. It admits every call
    /// unless the builder set a rate.
    #[must_use]
    pub fn rate_limit(
        &self,
    ) -> &RateLimitLayer<Waiting, AtResponse<StackClassifier<HttpClassifier>>> {
        &self.layers.rate_limit.layer
    }

    /// The load shedder: how many requests are in flight and may be.
    #[must_use]
    pub fn load_shed(&self) -> &LoadShedLayer<Limited<EndOfBody<StackClassifier<HttpClassifier>>>> {
        &self.layers.load_shed.layer
    }

    /// The bulkhead: how many requests are in flight and may be, how many wait.
    #[must_use]
    pub fn bulkhead(&self) -> &BulkheadLayer<Queued, EndOfBody<StackClassifier<HttpClassifier>>> {
        &self.layers.bulkhead.layer
    }

    /// The snapshots of its layers.
    #[must_use]
    pub fn snapshot(&self) -> ServerSnapshot {
        self.layers.snapshot()
    }

    /// The layers with their settings, outermost first, and what is unwise about them. `Display` of the stack prints the same.
    #[must_use]
    pub fn describe(&self) -> &Description {
        &self.description
    }
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
        self.description.fmt(f)
    }
}

impl<W> fmt::Debug for ServerStack<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServerStack")
            .field(&self.description)
            .finish()
    }
}
