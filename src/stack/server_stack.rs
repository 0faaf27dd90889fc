//! The stack of a server.

use std::fmt;
use std::sync::Arc;

use tower_layer::{Identity, Layer};

use super::description::Description;
use super::service::{LimitedService, ServerService};
use super::snapshot::ServerSnapshot;
use crate::bulkhead::{BulkheadLayer, Queued};
use crate::correlation::{CorrelationLayer, Server};
use crate::http::{BodyLimits, EndOfBody, HttpClassifier, HttpLimit};
use crate::load_shed::{Limited, LoadShedLayer};
use crate::respond::RespondLayer;
use crate::timeout::TimeoutLayer;

/// The layers of a server, in their order: correlation, respond, timeout, load shed, bulkhead.
///
/// Made by [`http::server`](crate::http::server) or [`grpc::server`](crate::grpc::server), it is a [`Layer`] for axum's `Router::layer`, tonic's `Server::layer` and
/// any other server, and nothing but [`Infallible`](std::convert::Infallible) leaves it. It serves HTTP and gRPC on one port: each
/// caller is answered in its own protocol. Clones share one limit and one bulkhead, and so do all services that they make: for
/// every route and connection, and also for several routers if you want it so. `W` are the [request layers](super::ServerBuilder::with_request_layer), `C` is what
/// it [judges](super#how-a-stack-judges) by.
#[derive(Clone)]
pub struct ServerStack<W = Identity, C = HttpClassifier> {
    pub(super) correlation: CorrelationLayer<Server>,
    pub(super) respond: RespondLayer,
    pub(super) with: W,
    pub(super) timeout: TimeoutLayer<HttpLimit, BodyLimits>,
    pub(super) load_shed: LoadShedLayer<Limited<EndOfBody<C>>>,
    pub(super) bulkhead: BulkheadLayer<Queued, EndOfBody<C>>,
    pub(super) description: Arc<Description>,
}

impl<W, C: Clone> ServerStack<W, C> {
    /// Puts the stack around a service: the same as [`layer`](Layer::layer), without having to import the trait.
    pub fn wrap<S>(&self, service: S) -> ServerService<W::Service>
    where
        W: Layer<LimitedService<S, C>>,
    {
        self.layer(service)
    }

    /// The load shedder: how many requests are in flight and may be.
    #[must_use]
    pub fn load_shed(&self) -> &LoadShedLayer<Limited<EndOfBody<C>>> {
        &self.load_shed
    }

    /// The bulkhead: how many requests are in flight and may be, how many wait.
    #[must_use]
    pub fn bulkhead(&self) -> &BulkheadLayer<Queued, EndOfBody<C>> {
        &self.bulkhead
    }

    /// What its layers look like now.
    #[must_use]
    pub fn snapshot(&self) -> ServerSnapshot {
        let on = |layer| self.description.has(layer);
        ServerSnapshot {
            timeout: on("timeout").then(|| self.timeout.snapshot()),
            load_shed: on("load_shed").then(|| self.load_shed.snapshot()),
            bulkhead: on("bulkhead").then(|| self.bulkhead.snapshot()),
        }
    }

    /// The layers with their settings, outermost first, and what is unwise about them. `Display` of the stack prints the same.
    #[must_use]
    pub fn describe(&self) -> &Description {
        &self.description
    }
}

impl<S, W, C> Layer<S> for ServerStack<W, C>
where
    C: Clone,
    W: Layer<LimitedService<S, C>>,
{
    type Service = ServerService<W::Service>;

    fn layer(&self, inner: S) -> Self::Service {
        let inner = self.load_shed.layer(self.bulkhead.layer(inner));
        let inner = self.with.layer(LimitedService(self.timeout.layer(inner)));
        ServerService(self.correlation.layer(self.respond.layer(inner)))
    }
}

impl<W, C> fmt::Display for ServerStack<W, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.description.fmt(f)
    }
}

impl<W, C> fmt::Debug for ServerStack<W, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServerStack")
            .field(&self.description)
            .finish()
    }
}
