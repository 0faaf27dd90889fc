//! The stack of a server.

use std::fmt;
use std::sync::Arc;

use tower_layer::{Identity, Layer};

use super::description::Description;
use super::judge::Tracker;
use super::service::{LimitedService, ServerService};
use crate::bulkhead::{BulkheadLayer, Queued};
use crate::correlation::{CorrelationLayer, Server};
use crate::http::{BodyLimits, HttpLimit};
use crate::load_shed::{Limited, LoadShedLayer};
use crate::respond::RespondLayer;
use crate::timeout::TimeoutLayer;

/// The layers of a server, in their order: correlation, respond, timeout, load shed, bulkhead.
///
/// Made by [`http::server`](crate::http::server) or [`grpc::server`](crate::grpc::server), it is a [`Layer`] for axum's `Router::layer`, tonic's `Server::layer` and
/// any other server, and nothing but [`Infallible`](std::convert::Infallible) leaves it. It serves HTTP and gRPC on one port: each
/// caller is answered in its own protocol. Clones share one limit and one bulkhead, and so do all services that they make: for
/// every route and connection, and also for several routers if you want it so.
#[derive(Clone)]
pub struct ServerStack<W = Identity> {
    pub(super) correlation: CorrelationLayer<Server>,
    pub(super) respond: RespondLayer,
    pub(super) with: W,
    pub(super) timeout: TimeoutLayer<HttpLimit, BodyLimits>,
    pub(super) load_shed: LoadShedLayer<Limited<Tracker>>,
    pub(super) bulkhead: BulkheadLayer<Queued, Tracker>,
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

    /// The load shedder: how many requests are in flight and may be.
    #[must_use]
    pub fn load_shed(&self) -> &LoadShedLayer<Limited<Tracker>> {
        &self.load_shed
    }

    /// The bulkhead: how many requests are in flight and may be, how many wait.
    #[must_use]
    pub fn bulkhead(&self) -> &BulkheadLayer<Queued, Tracker> {
        &self.bulkhead
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
        let inner = self.load_shed.layer(self.bulkhead.layer(inner));
        let inner = self.with.layer(LimitedService(self.timeout.layer(inner)));
        ServerService(self.correlation.layer(self.respond.layer(inner)))
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
