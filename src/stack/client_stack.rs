//! The stack of a client.

use std::fmt;
use std::sync::Arc;

use tower_layer::{Identity, Layer};
use tower_service::Service;

use super::classifier::StackClassifier;
use super::description::Description;
use super::list::list;
use super::parts::{self, AttemptTimeout, ClientCorrelation, ClientTimeout};
use super::protocol::{Grpc, Http, Protocol};
use super::service::{AttemptService, ClientService};
use crate::call::track::AtResponse;
use crate::layers::bulkhead::{self, Bulkhead, BulkheadLayer, Queued};
use crate::layers::circuit_breaker::{self, CircuitBreaker, CircuitBreakerHandle};
use crate::layers::correlation::{Client, Correlation};
use crate::layers::rate_limit::{self, RateLimit, RateLimitLayer, Waiting};
use crate::layers::retry::{self, Retry, RetryBudget};
use crate::layers::timeout::{self, Fixed, Timeout};
use crate::protocol::grpc::GrpcRequest;
use crate::protocol::http::{
    BodyLimits, Deadline, EndOfBody, HttpLimit, HttpRequest, HttpResponse, ReplayRequest,
};
use crate::vocabulary::error::WithRejection;

/// How the layers of a client's stack classify, and follow calls.
pub(super) type Tracker<P> = EndOfBody<StackClassifier<<P as Protocol>::Classifier>>;

list! {
    /// The snapshots of the layers of a client's stack, of those that are in it: see [`snapshot`](crate::snapshot).
    snapshot ClientSnapshot;
    settings ClientParts, layers ClientLayers, tracker Tracker<P>;
    parameters [P: Protocol] [P];
    outer Calls[P] of Clone {
        correlation: ClientCorrelation, Correlation<_, Client>;
        timeout: ClientTimeout, Timeout<_, HttpLimit, BodyLimits>, timeout::Snapshot, "The time limit of whole calls.";
        retry: parts::Retry<P>, Retry<_, <P as Protocol>::Policy, <P as Protocol>::Receive>, retry::Snapshot, "The retries.";
    }
    // Layers of the user's own go here.
    inner Attempts[P] {
        rate_limit: parts::RateLimit, RateLimit<_, Waiting, AtResponse<StackClassifier<<P as Protocol>::Classifier>>>, rate_limit::Snapshot, "The rate limit.";
        circuit_breaker: parts::CircuitBreaker, CircuitBreaker<_, Tracker<P>>, circuit_breaker::Snapshot, "The circuit breaker.";
        bulkhead: parts::Bulkhead, Bulkhead<_, Queued, Tracker<P>>, bulkhead::Snapshot, "The bulkhead.";
        attempt_timeout: AttemptTimeout<BodyLimits>, Timeout<_, Fixed, BodyLimits>, timeout::Snapshot, "The time limit of each attempt.";
        deadline: parts::Deadline<P>, Deadline<_>;
    }
}

/// The layers of a client, in their order: correlation, timeout,
/// retry, rate limit (off by default), circuit breaker, bulkhead, attempt timeout, deadline.
///
/// Made by [`http::client`](crate::http::client), [`grpc::client`](crate::grpc::client) or [`reqwest::client`](crate::reqwest::client), it is a
/// [`Layer`], or is put around a client by [`wrap`](Self::wrap). Clones share one circuit, one budget and one bulkhead, and so do all services that they make:
/// one stack for each upstream, however many connections or stubs there are.
pub struct ClientStack<P: Protocol, W = Identity> {
    pub(super) layers: ClientLayers<P>,
    pub(super) with: W,
    pub(super) description: Arc<Description>,
}

impl<W> ClientStack<Http, W> {
    /// Puts the stack around a client: hyper-util's, reqwest's, or any service of HTTP requests that is `Clone`.
    ///
    /// The same as [`layer`](Layer::layer), but it asks at once whether the service is one that the stack can be around, so that the compiler says here what
    /// is missing. For a service that takes requests with any kind of body (axum's `Router`), where it cannot tell which one is meant, use `layer`.
    pub fn wrap<S, Req>(&self, service: S) -> ClientService<W::Service, Http>
    where
        S: Service<Req> + Clone,
        Req: HttpRequest + ReplayRequest,
        S::Response: HttpResponse,
        S::Error: WithRejection,
        W: Layer<AttemptService<S, Http>>,
        W::Service: Clone,
    {
        self.layer(service)
    }
}

impl<W> ClientStack<Grpc, W> {
    /// Puts the stack around a channel: tonic's, or any service of gRPC requests that is `Clone`. A stub takes what comes out of it.
    ///
    /// The same as [`layer`](Layer::layer), but it asks at once whether the service is one that the stack can be around, so that the compiler says here what
    /// is missing.
    pub fn wrap<S, Req>(&self, channel: S) -> ClientService<W::Service, Grpc>
    where
        S: Service<Req> + Clone,
        Req: GrpcRequest + ReplayRequest,
        S::Response: HttpResponse,
        S::Error: WithRejection,
        W: Layer<AttemptService<S, Grpc>>,
        W::Service: Clone,
    {
        self.layer(channel)
    }
}

impl<P: Protocol, W> ClientStack<P, W> {
    /// The circuit, to look at and to steer. Of a stack without a circuit breaker it stays closed.
    #[must_use]
    pub fn circuit_breaker(&self) -> CircuitBreakerHandle {
        self.layers.circuit_breaker.layer.handle()
    }

    /// The rate limit: the permits that are available, and how many calls wait. It admits every call
    /// unless the builder set a rate.
    #[must_use]
    pub fn rate_limit(
        &self,
    ) -> &RateLimitLayer<Waiting, AtResponse<StackClassifier<P::Classifier>>> {
        &self.layers.rate_limit.layer
    }

    /// The bulkhead: how many attempts are in flight and may be, how many wait.
    #[must_use]
    pub fn bulkhead(&self) -> &BulkheadLayer<Queued, EndOfBody<StackClassifier<P::Classifier>>> {
        &self.layers.bulkhead.layer
    }

    /// The budget of retries, if there is one.
    #[must_use]
    pub fn retry_budget(&self) -> Option<&RetryBudget> {
        self.layers.retry.layer.budget()
    }

    /// The snapshots of its layers.
    #[must_use]
    pub fn snapshot(&self) -> ClientSnapshot {
        self.layers.snapshot()
    }

    /// The layers with their settings, outermost first, and what is unwise about them. `Display` of the stack prints the same.
    #[must_use]
    pub fn describe(&self) -> &Description {
        &self.description
    }
}

impl<S, P, W> Layer<S> for ClientStack<P, W>
where
    P: Protocol,
    W: Layer<AttemptService<S, P>>,
    W::Service: Clone,
{
    type Service = ClientService<W::Service, P>;

    fn layer(&self, inner: S) -> Self::Service {
        let attempts = AttemptService(self.layers.inner(inner));
        ClientService(self.layers.outer(self.with.layer(attempts)))
    }
}

impl<P: Protocol, W: Clone> Clone for ClientStack<P, W> {
    fn clone(&self) -> Self {
        Self {
            layers: self.layers.clone(),
            with: self.with.clone(),
            description: Arc::clone(&self.description),
        }
    }
}

impl<P: Protocol, W> fmt::Display for ClientStack<P, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.description.fmt(f)
    }
}

impl<P: Protocol, W> fmt::Debug for ClientStack<P, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientStack")
            .field(&self.description)
            .finish()
    }
}
