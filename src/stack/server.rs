//! Builds the stack of a server.

use std::fmt;
use std::sync::Arc;

use tower_layer::{Identity, Stack};

use super::classifier::{CustomClassifier, StackClassifier};
use super::description::Description;
use super::part::{Slot, Stack as Adopted};
use super::parts::{
    Bulkhead, LoadShed, RateLimit, StackBulkhead, StackLoadShed, StackRateLimit, StackTimeout,
};
use super::refine::Refine;
use super::server_stack::{ServerParts, ServerStack};
use crate::layers::correlation::{CorrelationLayer, Server};
use crate::observe::event::Observer;
use crate::protocol::http::{EndOfBody, HttpClassifier};
use crate::protocol::respond::RespondLayer;
use crate::vocabulary::config::OfInstance as _;
use crate::vocabulary::{config::ConfigError, name};

/// Builds a [`ServerStack`]: begin with [`http::server`](crate::http::server) or [`grpc::server`](crate::grpc::server).
///
/// Each method says first what the default of its layer is, and why. The order in which the methods
/// are called makes no difference.
///
/// ```
/// use mainstay::{CorrelationLayer, Limit, http};
/// use std::time::Duration;
///
/// let stack = http::server("orders")
///     .timeout(Duration::from_secs(2))
///     .load_shed(Limit::fixed(200))
///     .bulkhead(256)
///     .correlation(CorrelationLayer::server().ignore_inbound())
///     .build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
#[must_use = "a builder does nothing until `build` is called"]
pub struct ServerBuilder<W = Identity> {
    kind: &'static str,
    name: String,
    classifier: Option<CustomClassifier>,
    parts: ServerParts,
    with: W,
    trusts_deadlines: bool,
    observer: Option<Arc<dyn Observer>>,
}

impl ServerBuilder {
    pub(crate) fn new(kind: &'static str, name: String) -> Self {
        Self {
            kind,
            name,
            classifier: None,
            parts: ServerParts::default(),
            with: Identity::new(),
            trusts_deadlines: true,
            observer: None,
        }
    }
}

impl<W> ServerBuilder<W> {
    /// Sets how the correlation ID is read and made. Default: the caller's, from `x-correlation-id`
    /// or `x-request-id`, and a new one where the caller sends none that is valid, so that one ID
    /// follows a request through all services.
    ///
    /// At the edge of a system, where callers are strangers, give it
    /// `CorrelationLayer::server().ignore_inbound()`.
    pub fn correlation(mut self, correlation: CorrelationLayer<Server>) -> Self {
        self.parts.correlation = Slot::Set(correlation);
        self
    }

    /// Leaves the layer for correlation IDs out. By default it is in the stack. For a stack inside
    /// of another one, which reads the ID already.
    pub fn without_correlation(mut self) -> Self {
        self.parts.correlation = Slot::Off;
        self
    }

    /// Sets how rejections are answered. Default: 503 or 504 with problem details, in gRPC
    /// `UNAVAILABLE` or `DEADLINE_EXCEEDED`, without the names of layers, which are not the
    /// business of strangers.
    pub fn respond(mut self, respond: RespondLayer) -> Self {
        self.parts.respond = Slot::Set(respond);
        self
    }

    /// Adds a layer of your own between the layers that are for every request (correlation,
    /// respond) and those that limit. Default: none. It is the place for authentication, say, which
    /// should come before a permit is acquired.
    ///
    /// Its error must be one that [`RespondLayer`] can answer: a rejection or
    /// [`Infallible`](std::convert::Infallible). Of several layers, the first is the outermost. A
    /// layer that should see every request goes around the stack. One that should see only admitted
    /// requests goes around the service.
    ///
    /// Two kinds of layer need a second one:
    ///
    /// - A layer that changes the body of the response, such as tower-http's `CompressionLayer`: the body must be one that a rejection can be answered in
    ///   (see [`RejectionBody`](crate::respond::RejectionBody)). Add `MapResponseLayer::new(|response: http::Response<_>| response.map(axum::body::Body::new))`
    ///   (`tower::util`) before it.
    /// - A layer that takes only services that cannot fail, such as `axum::middleware::from_fn`. Add [`RespondLayer::new()`](RespondLayer::new) after it, which answers what is
    ///   rejected further inside.
    pub fn with_request_layer<L>(self, layer: L) -> ServerBuilder<Stack<L, W>> {
        ServerBuilder {
            kind: self.kind,
            name: self.name,
            classifier: self.classifier,
            parts: self.parts,
            with: Stack::new(layer, self.with),
            trusts_deadlines: self.trusts_deadlines,
            observer: self.observer,
        }
    }

    /// Sets how long a request may take. Default 30 seconds to the head of the response: few
    /// healthy answers take longer, and a request that hangs is ended.
    ///
    /// A caller's own limit (`grpc-timeout`, `x-request-timeout-ms`) holds where it is shorter. One
    /// of less than 10 milliseconds counts as 10 milliseconds.
    ///
    /// **A limit that is set** is the deadline of the request, which handlers see and client stacks propagate. In HTTP it ends the
    /// wait for the head of the response. In gRPC it covers the call to its last trailer: give services and methods whose streams live
    /// longer a limit of their own, or none, by [`timeout_for`](crate::timeout::TimeoutBuilder::timeout_for) and
    /// [`without_timeout_for`](crate::timeout::TimeoutBuilder::without_timeout_for). **The default** ends only the wait for the head, in both. It
    /// is not shown to handlers and not propagated, and while the request's body is read it begins anew with each piece:
    /// see [uploads](crate::http::timeout()#uploads).
    ///
    /// A response body that makes no progress is ended after 120 seconds. To change that, give this
    /// method what [`http::timeout()`](crate::http::timeout()) begins, with
    /// [`body_idle`](crate::timeout::TimeoutBuilder::body_idle).
    pub fn timeout(mut self, limit: impl Refine<StackTimeout>) -> Self {
        self.parts
            .timeout
            .refine(limit, crate::protocol::http::timeout());
        self
    }

    /// Leaves the time limit out: none for requests, none for bodies, and callers' deadlines are
    /// not read. By default it is in the stack, with 30 seconds.
    pub fn without_timeout(mut self) -> Self {
        self.parts.timeout = Slot::Off;
        self
    }

    /// Ignores the deadlines of callers (`grpc-timeout`, `x-request-timeout-ms`). By default they
    /// are believed, down to 10 milliseconds and up to the [`timeout`](Self::timeout), because an
    /// answer after the deadline is wasted work.
    ///
    /// Call it at the edge of a system, where callers are strangers. It is
    /// [`ignore_inbound`](crate::timeout::TimeoutBuilder::ignore_inbound) for whatever time limit
    /// the stack has.
    pub fn ignore_inbound_deadline(mut self) -> Self {
        self.trusts_deadlines = false;
        self
    }

    /// Sets how many requests are admitted per second. Default: no rate limit.
    ///
    /// It takes requests per second, or a builder: [`RateLimitLayer::builder()`](crate::RateLimitLayer::builder)
    /// with another period, a burst or a wait. A rejected request is answered with 429 and
    /// `Retry-After`, in gRPC with `RESOURCE_EXHAUSTED`. All callers share the rate.
    pub fn rate_limit(mut self, rate: impl Refine<StackRateLimit>) -> Self {
        self.parts.rate_limit.refine(rate, RateLimit::settings());
        self
    }

    /// Sets how many requests may be in flight before others are shed. Default
    /// [`Limit::scheduler_lag`](crate::Limit::scheduler_lag): no limit while the process keeps pace, and one that adapts once
    /// ready tasks wait for a worker thread, because only that tells overload from a slow route.
    ///
    /// A builder also says [how the stack classifies](super#how-a-stack-classifies).
    pub fn load_shed(
        mut self,
        limit: impl Refine<(StackLoadShed, Option<CustomClassifier>)>,
    ) -> Self {
        let (load_shed, classifier) = limit.refine((LoadShed::settings(), None));
        self.parts.load_shed = Slot::Set(load_shed);
        self.classifier = classifier;
        self
    }

    /// Leaves the load shedder out: nothing is shed. By default it is in the stack, with
    /// [`Limit::scheduler_lag`](crate::Limit::scheduler_lag).
    pub fn without_load_shed(mut self) -> Self {
        self.parts.load_shed = Slot::Off;
        self
    }

    /// Sets how many requests may be in flight. Default: no limit, because no number fits all
    /// healthy servers: some have thousands of requests that only wait (long polls, watches, slow
    /// downloads).
    ///
    /// Requests are counted to the end of their body, except event streams (`text/event-stream`),
    /// which are counted to their head. Overload is the task of the [load
    /// shedder](Self::load_shed).
    pub fn bulkhead(mut self, bulkhead: impl Refine<StackBulkhead>) -> Self {
        self.parts.bulkhead.refine(bulkhead, Bulkhead::settings());
        self
    }

    /// Leaves the bulkhead out. By default it is in the stack and has no limit: it counts the calls
    /// in flight, for snapshots and metrics.
    pub fn without_bulkhead(mut self) -> Self {
        self.parts.bulkhead = Slot::Off;
        self
    }

    /// Sets the observer of all layers that have none of their own: a type that is an [`Observer`],
    /// or `|event: &mainstay::Event| ...`. Default: none.
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Builds the stack, or says which setting is refused and why.
    ///
    /// # Errors
    ///
    /// When a layer refuses a value, or two settings contradict each other: the error names both,
    /// and a value that would fit. A setting that is only unwise becomes a
    /// [warning](Description::warnings).
    pub fn build(self) -> Result<ServerStack<W>, ConfigError> {
        let name = self.name.clone();
        self.built().of_instance(Some(&name))
    }

    fn built(mut self) -> Result<ServerStack<W>, ConfigError> {
        name::check(self.kind, &self.name)?;
        if !self.trusts_deadlines {
            self.parts
                .timeout
                .change(crate::protocol::http::timeout, |timeout| {
                    timeout.policy.trusts = false;
                });
        }
        let classifier = StackClassifier::new(HttpClassifier, self.classifier);
        let stack = Adopted {
            name: &self.name,
            observer: self.observer,
            tracker: EndOfBody(classifier),
        };
        let mut description = Description::new(self.kind, &self.name);
        let layers = self.parts.build(&stack, &mut description)?;
        Ok(ServerStack {
            layers,
            with: self.with,
            description: Arc::new(description),
        })
    }
}

impl<W> fmt::Debug for ServerBuilder<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder")
            .field("kind", &self.kind)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
