//! The stack of a client.

use std::fmt;
use std::sync::Arc;

use tower_layer::{Identity, Layer};
use tower_service::Service;

use super::classifier::StackClassifier;
use super::description::Description;
use super::keys::StackKeying;
use super::list::list;
use super::live::{Live, live_methods};
use super::part::ByStack;
use super::parts::{self, AttemptTimeout, ClientCorrelation, ClientTimeout};
use super::protocol::{Grpc, Http, Protocol};
use super::service::{AttemptService, ClientService};
use super::settings::ClientSettings;
use crate::call::track::AtResponse;

use crate::layers::bulkhead::{self, Bulkhead, BulkheadHandle, Queued};
use crate::layers::circuit_breaker::{self, CircuitBreaker, CircuitBreakerHandle};
use crate::layers::correlation::{Client, Correlation};
use crate::layers::deadline::Deadline;

use crate::layers::rate_limit::{self, RateLimit, RateLimitHandle};
use crate::layers::retry::{self, Retry, RetryHandle};
use crate::layers::timeout::{self, Timeout};
use crate::protocol::grpc::GrpcRequest;
use crate::protocol::http::{
    AttemptLimit, BodyLimits, DeadlineHeader, EndOfBody, HttpLimit, HttpRequest, HttpResponse,
    ReplayRequest,
};
use crate::vocabulary::error::WithRejection;

/// The tracker of a client stack.
pub(super) type Tracker<P> = EndOfBody<StackClassifier<<P as Protocol>::Classifier>>;

list! {
    /// The snapshots of the layers of a client stack; `None` for a layer that was removed. See
    /// [`snapshot`](crate::snapshot).
    snapshot ClientSnapshot;
    settings ClientParts, layers ClientLayers, tracker Tracker<P>, keying StackKeying;
    parameters [P: Protocol] [P];
    outer Calls[P] of Clone {
        correlation: ClientCorrelation, Correlation<_, Client>;
        timeout: ClientTimeout, Timeout<_, HttpLimit, BodyLimits>, timeout::Snapshot, "The time limit of whole calls.";
        retry: parts::Retry<P>, Retry<_, <P as Protocol>::Policy, <P as Protocol>::Receive, StackKeying>, retry::Snapshot, "The retries.";
    }
    // The user's attempt layers go here.
    inner Attempts[P] {
        rate_limit: parts::RateLimit, RateLimit<_, Queued, AtResponse<StackClassifier<<P as Protocol>::Classifier>>>, rate_limit::Snapshot, "The rate limit.";
        circuit_breaker: parts::CircuitBreaker<ByStack>, CircuitBreaker<_, Tracker<P>, StackKeying>, circuit_breaker::Snapshot, "The circuit breaker.";
        bulkhead: parts::Bulkhead<ByStack>, Bulkhead<_, Queued, Tracker<P>, StackKeying>, bulkhead::Snapshot, "The bulkhead.";
        attempt_timeout: AttemptTimeout<BodyLimits>, Timeout<_, AttemptLimit, BodyLimits>, timeout::Snapshot, "The time limit of each attempt.";
        deadline: parts::Deadline<P>, Deadline<_, DeadlineHeader>;
    }
}

/// The layers of a client, outermost first: correlation, timeout, retry, rate limit (off by
/// default), circuit breaker, bulkhead, attempt timeout, deadline.
///
/// Build it with [`http::client`](crate::http::client), [`grpc::client`](crate::grpc::client) or
/// [`reqwest::client`](crate::reqwest::client), and put it around a client with
/// [`wrap`](Self::wrap) or as a [`Layer`]. Its clones, and the services that they make, share their
/// state: in HTTP one budget, one circuit and one bulkhead for each host, in gRPC one for all.
/// Build one stack for each upstream, for all its connections and stubs.
pub struct ClientStack<P: Protocol, W = Identity> {
    pub(super) layers: ClientLayers<P>,
    pub(super) with: W,
    pub(super) live: Arc<Live<ClientSettings>>,
}

impl<W> ClientStack<Http, W> {
    /// Wraps a client: hyper-util's, reqwest's, or any service of HTTP requests that is `Clone`.
    ///
    /// Like [`layer`](Layer::layer), but with bounds, so that the compiler reports here what is
    /// missing. Use `layer` for a service of requests with any body (axum's `Router`), for which
    /// the compiler cannot infer the request type.
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
    /// Wraps a channel for a stub: tonic's, or any service of gRPC requests that is `Clone`.
    ///
    /// Like [`layer`](Layer::layer), but with bounds, so that the compiler reports here what is
    /// missing.
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
    /// The handle of the circuit breaker. Without a circuit breaker the circuit stays closed. In HTTP
    /// it controls the circuits of all hosts, and [`key`](CircuitBreakerHandle::key) returns the
    /// handle of one.
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

    /// The bulkhead, with its limit and the attempts in flight and in the queue. In HTTP it covers
    /// all hosts, and [`key`](BulkheadHandle::key) returns the bulkhead of one.
    #[must_use]
    pub fn bulkhead(&self) -> BulkheadHandle {
        self.layers.bulkhead.layer.handle()
    }

    /// The retries and their budget. In HTTP it covers all hosts, each of which has a budget of its
    /// own, and [`key`](RetryHandle::key) returns the handle of one.
    ///
    /// [`budget`](RetryHandle::budget) then returns `None`, unless the stack was given a
    /// [`RetryBudget`](crate::RetryBudget). [`snapshot`](RetryHandle::snapshot) has the lowest
    /// balance of all hosts, and [`settings`](RetryHandle::settings) has the settings of their
    /// budgets.
    #[must_use]
    pub fn retry(&self) -> RetryHandle {
        self.layers.retry.layer.handle()
    }

    /// The snapshots of its layers.
    #[must_use]
    pub fn snapshot(&self) -> ClientSnapshot {
        self.layers.snapshot()
    }

    live_methods!(ClientSettings);
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
            live: Arc::clone(&self.live),
        }
    }
}

impl<P: Protocol, W> fmt::Display for ClientStack<P, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.describe().fmt(f)
    }
}

impl<P: Protocol, W> fmt::Debug for ClientStack<P, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientStack")
            .field(&self.describe())
            .finish()
    }
}
