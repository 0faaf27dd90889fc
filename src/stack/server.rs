//! Builds the stack of a server.

use std::fmt;
use std::sync::Arc;

use tower_layer::{Identity, Stack};

use super::checks::Checks;
use super::description::Description;
use super::judge::RefineJudging;
use super::numbers::{BodyNumbers, BulkheadNumbers};
use super::part::{Named, Part};
use super::refine::{Refine, StackBulkhead, StackLoadShed, StackTimeout};
use super::server_stack::ServerStack;
use super::tell;
use crate::config::OfInstance as _;
use crate::correlation::{CorrelationLayer, Server};
use crate::http::{EndOfBody, HttpClassifier};
use crate::load_shed::LoadShedLayer;
use crate::respond::RespondLayer;
use crate::{ConfigError, Limit, Observer, name};

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
pub struct ServerBuilder<W = Identity, C = HttpClassifier> {
    kind: &'static str,
    name: String,
    classifier: C,
    correlation: Part<CorrelationLayer<Server>>,
    respond: RespondLayer,
    with: W,
    timeout: Part<StackTimeout>,
    trusts_deadlines: bool,
    load_shed: Part<StackLoadShed>,
    bulkhead: Part<StackBulkhead>,
    observer: Option<Arc<dyn Observer>>,
}

impl ServerBuilder {
    pub(crate) fn new(kind: &'static str, name: String) -> Self {
        Self {
            kind,
            name,
            classifier: HttpClassifier,
            correlation: Part::Default,
            respond: RespondLayer::new(),
            with: Identity::new(),
            timeout: Part::Default,
            trusts_deadlines: true,
            load_shed: Part::Default,
            bulkhead: Part::Default,
            observer: None,
        }
    }
}

fn load_shed(limit: Limit) -> StackLoadShed {
    StackLoadShed::tracked_by(()).limit(limit)
}

impl<W, C: Clone> ServerBuilder<W, C> {
    /// Sets how the correlation ID is read and made. Default: the caller's, from `x-correlation-id`
    /// or `x-request-id`, and a new one where the caller sends none that is valid, so that one ID
    /// follows a request through all services.
    ///
    /// At the edge of a system, where callers are strangers, give it
    /// `CorrelationLayer::server().ignore_inbound()`.
    pub fn correlation(mut self, correlation: CorrelationLayer<Server>) -> Self {
        self.correlation = Part::Set(correlation);
        self
    }

    /// Leaves the layer for correlation IDs out. By default it is in the stack. For a stack inside
    /// of another one, which reads the ID already.
    pub fn without_correlation(mut self) -> Self {
        self.correlation = Part::Off;
        self
    }

    /// Sets how rejections are answered. Default: 503 or 504 with problem details, in gRPC
    /// `UNAVAILABLE` or `DEADLINE_EXCEEDED`, without the names of layers, which are not the
    /// business of strangers.
    pub fn respond(mut self, respond: RespondLayer) -> Self {
        self.respond = respond;
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
    pub fn with_request_layer<L>(self, layer: L) -> ServerBuilder<Stack<L, W>, C> {
        self.of_type(|classifier, with| (classifier, Stack::new(layer, with)))
    }

    /// The same settings in a builder of another type.
    fn of_type<X, D>(self, by: impl FnOnce(C, W) -> (D, X)) -> ServerBuilder<X, D> {
        let (classifier, with) = by(self.classifier, self.with);
        ServerBuilder {
            kind: self.kind,
            name: self.name,
            classifier,
            correlation: self.correlation,
            respond: self.respond,
            with,
            timeout: self.timeout,
            trusts_deadlines: self.trusts_deadlines,
            load_shed: self.load_shed,
            bulkhead: self.bulkhead,
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
        self.timeout.refine(limit, crate::http::timeout());
        self
    }

    /// Leaves the time limit out: none for requests, none for bodies, and callers' deadlines are
    /// not read. By default it is in the stack, with 30 seconds.
    pub fn without_timeout(mut self) -> Self {
        self.timeout = Part::Off;
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

    /// Sets how many requests may be in flight before others are shed. Default
    /// [`Limit::scheduler_lag`]: no limit while the process keeps pace, and one that adapts once
    /// ready tasks wait for a worker thread, because only that tells overload from a slow route.
    ///
    /// A builder that does not judge as [`http::load_shed()`](crate::http::load_shed) does changes the type of the stack: see
    /// [how a stack judges](super#how-a-stack-judges).
    pub fn load_shed<R>(mut self, limit: R) -> ServerBuilder<W, R::Classifier>
    where
        R: RefineJudging<StackLoadShed, HttpClassifier>,
    {
        let (load_shed, classifier) =
            limit.refine(load_shed(Limit::scheduler_lag()), HttpClassifier);
        self.load_shed = Part::Set(load_shed);
        self.of_type(|_, with| (classifier, with))
    }

    /// Leaves the load shedder out: nothing is shed. By default it is in the stack, with
    /// [`Limit::scheduler_lag`].
    pub fn without_load_shed(mut self) -> Self {
        self.load_shed = Part::Off;
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
        self.bulkhead.refine(bulkhead, super::bulkhead());
        self
    }

    /// Leaves the bulkhead out. By default it is in the stack and has no limit: it counts the calls
    /// in flight, for snapshots and metrics.
    pub fn without_bulkhead(mut self) -> Self {
        self.bulkhead = Part::Off;
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
    pub fn build(self) -> Result<ServerStack<W, C>, ConfigError> {
        let name = self.name.clone();
        self.built().of_instance(Some(&name))
    }

    fn built(self) -> Result<ServerStack<W, C>, ConfigError> {
        name::check(self.kind, &self.name)?;
        let named = Named::new(&self.name, self.observer);
        let mut told = Description::new(self.kind, &self.name);
        let tracker = EndOfBody(self.classifier);

        let correlation = self.correlation.or_default(CorrelationLayer::server);
        told.push("correlation", correlation.as_ref().map(tell::correlation));
        told.push("respond", Some(tell::respond(&self.respond)));

        let mut timeout = self.timeout.or_default(crate::http::timeout);
        if let Some(timeout) = &mut timeout {
            timeout.policy.trusts &= self.trusts_deadlines;
        }
        told.push("timeout", timeout.as_ref().map(tell::timeout));
        let total = timeout.as_ref().and_then(|timeout| timeout.policy.own);
        let body = BodyNumbers::of(timeout.as_ref());
        let mut timeout = timeout.unwrap_or_else(|| super::no_timeout().off());
        named.give(&mut timeout.name, &mut timeout.observer);
        let timeout = timeout.build()?;

        let bulkhead = self.bulkhead.or_default(super::bulkhead);
        let told_bulkhead = bulkhead.as_ref().map(tell::bulkhead);
        let places = bulkhead.as_ref().and_then(BulkheadNumbers::of);
        let mut bulkhead = bulkhead.unwrap_or_else(super::no_bulkhead);
        named.give(&mut bulkhead.name, &mut bulkhead.observer);
        let bulkhead = bulkhead.retracked(|()| tracker.clone()).build()?;

        let load_shed = self
            .load_shed
            .or_default(|| load_shed(Limit::scheduler_lag()));
        told.push("load_shed", load_shed.as_ref().map(tell::load_shed));
        told.push("bulkhead", told_bulkhead);
        let limit = load_shed.as_ref().map(|load_shed| load_shed.limit);
        let load_shed = match load_shed {
            Some(mut load_shed) => {
                named.give(&mut load_shed.name, &mut load_shed.observer);
                load_shed.retracked(|()| tracker).build()?
            }
            None => LoadShedLayer::off(tracker),
        };

        let mut checks = Checks::new(self.kind);
        checks.timeout(total, body)?;
        if let Some(places) = places {
            checks.queue(total, 1, places)?;
        }
        if let (Some(limit), Some(places)) = (&limit, places) {
            checks.load_shed(limit, places);
        }
        told.warnings = checks.warnings();
        told.log();

        Ok(ServerStack {
            correlation: correlation
                .unwrap_or_else(|| CorrelationLayer::server().off())
                .named(&self.name)?,
            respond: self.respond,
            with: self.with,
            timeout,
            load_shed,
            bulkhead,
            description: Arc::new(told),
        })
    }
}

impl<W, C> fmt::Debug for ServerBuilder<W, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder")
            .field("kind", &self.kind)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
