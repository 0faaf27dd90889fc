//! The stack of a client.

use std::fmt;
use std::sync::Arc;

use tower_layer::{Identity, Layer};
use tower_service::Service;

use super::description::Description;
use super::protocol::{Grpc, Http, Protocol};
use super::service::{AttemptService, ClientService};
use super::snapshot::ClientSnapshot;
use crate::WithRejection;
use crate::bulkhead::{BulkheadLayer, Queued};
use crate::circuit_breaker::{CircuitBreakerHandle, CircuitBreakerLayer};
use crate::correlation::{Client, CorrelationLayer};
use crate::grpc::GrpcRequest;
use crate::http::{
    BodyLimits, DeadlineLayer, EndOfBody, HttpLimit, HttpRequest, HttpResponse, ReplayRequest,
};
use crate::retry::{RetryBudget, RetryLayer};
use crate::timeout::{Fixed, TimeoutLayer};

/// The layers of a client, in their order: correlation, timeout, retry, circuit breaker, bulkhead, attempt timeout, deadline.
///
/// Made by [`http::client`](crate::http::client), [`grpc::client`](crate::grpc::client) or [`reqwest::client`](crate::reqwest::client), it is a
/// [`Layer`], or is put around a client by [`wrap`](Self::wrap). Clones share one circuit, one budget and one bulkhead, and so do all services that they make:
/// one stack for each upstream, however many connections or stubs there are.
pub struct ClientStack<P: Protocol, W = Identity> {
    pub(super) correlation: CorrelationLayer<Client>,
    pub(super) timeout: TimeoutLayer<HttpLimit, BodyLimits>,
    pub(super) retry: RetryLayer<P::Policy, P::Receive>,
    pub(super) with: W,
    pub(super) circuit_breaker: CircuitBreakerLayer<EndOfBody<P::Classifier>>,
    pub(super) bulkhead: BulkheadLayer<Queued, EndOfBody<P::Classifier>>,
    pub(super) attempt: TimeoutLayer<Fixed, BodyLimits>,
    pub(super) deadline: DeadlineLayer,
    pub(super) description: Arc<Description>,
}

impl<C: Clone, W> ClientStack<Http<C>, W> {
    /// Puts the stack around a client: hyper-util's, reqwest's, or any service of HTTP requests that is `Clone`.
    ///
    /// The same as [`layer`](Layer::layer), but it asks at once whether the service is one that the stack can be around, so that the compiler says here what
    /// is missing. For a service that takes requests with any kind of body (axum's `Router`), where it cannot tell which one is meant, use `layer`.
    pub fn wrap<S, Req>(&self, service: S) -> ClientService<W::Service, Http<C>>
    where
        S: Service<Req> + Clone,
        Req: HttpRequest + ReplayRequest,
        S::Response: HttpResponse,
        S::Error: WithRejection,
        W: Layer<AttemptService<S, C>>,
        W::Service: Clone,
    {
        self.layer(service)
    }
}

impl<C: Clone, W> ClientStack<Grpc<C>, W> {
    /// Puts the stack around a channel: tonic's, or any service of gRPC requests that is `Clone`. A stub takes what comes out of it.
    ///
    /// The same as [`layer`](Layer::layer), but it asks at once whether the service is one that the stack can be around, so that the compiler says here what
    /// is missing.
    pub fn wrap<S, Req>(&self, channel: S) -> ClientService<W::Service, Grpc<C>>
    where
        S: Service<Req> + Clone,
        Req: GrpcRequest + ReplayRequest,
        S::Response: HttpResponse,
        S::Error: WithRejection,
        W: Layer<AttemptService<S, C>>,
        W::Service: Clone,
    {
        self.layer(channel)
    }
}

impl<P: Protocol, W> ClientStack<P, W> {
    /// The circuit, to look at and to steer. Of a stack without a circuit breaker it stays closed.
    #[must_use]
    pub fn circuit_breaker(&self) -> CircuitBreakerHandle {
        self.circuit_breaker.handle()
    }

    /// The bulkhead: how many attempts are in flight and may be, how many wait.
    #[must_use]
    pub fn bulkhead(&self) -> &BulkheadLayer<Queued, EndOfBody<P::Classifier>> {
        &self.bulkhead
    }

    /// The budget of retries, if there is one.
    #[must_use]
    pub fn retry_budget(&self) -> Option<&RetryBudget> {
        self.retry.budget()
    }

    /// What its layers look like now.
    #[must_use]
    pub fn snapshot(&self) -> ClientSnapshot {
        let on = |layer| self.description.has(layer);
        ClientSnapshot {
            timeout: on("timeout").then(|| self.timeout.snapshot()),
            retry: on("retry").then(|| self.retry.snapshot()),
            circuit_breaker: on("circuit_breaker").then(|| self.circuit_breaker().snapshot()),
            bulkhead: on("bulkhead").then(|| self.bulkhead.snapshot()),
            attempt_timeout: on("attempt_timeout").then(|| self.attempt.snapshot()),
        }
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
    W: Layer<AttemptService<S, P::Classifier>>,
    W::Service: Clone,
{
    type Service = ClientService<W::Service, P>;

    fn layer(&self, inner: S) -> Self::Service {
        let inner = self.attempt.layer(self.deadline.layer(inner));
        let inner = self.circuit_breaker.layer(self.bulkhead.layer(inner));
        let inner = self.retry.layer(self.with.layer(AttemptService(inner)));
        ClientService(self.correlation.layer(self.timeout.layer(inner)))
    }
}

impl<P: Protocol, W: Clone> Clone for ClientStack<P, W> {
    fn clone(&self) -> Self {
        Self {
            correlation: self.correlation.clone(),
            timeout: self.timeout.clone(),
            retry: self.retry.clone(),
            with: self.with.clone(),
            circuit_breaker: self.circuit_breaker.clone(),
            bulkhead: self.bulkhead.clone(),
            attempt: self.attempt.clone(),
            deadline: self.deadline.clone(),
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
