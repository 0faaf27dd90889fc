use std::fmt;
use std::sync::Arc;

use tower_layer::{Identity, Stack};

use super::classifier::{CustomClassifier, StackClassifier};
use super::description::Description;
use super::keys::StackKeying;
use super::live::Live;
use super::numbers::Numbers;
use super::part::{Slot, Stack as Adopted};
use super::parts::{Bulkhead, RateLimit};
use super::parts::{LoadShed, StackLoadShed, StackTimeout};
use super::refine::Refine;
use super::server_stack::{ServerParts, ServerStack};
use super::setters::{
    build_method, bulkhead_setters, key_setters, load_shed_remover, observer_setter,
    rate_limit_setter, registry_setters,
};
use super::settings::ServerSettings;
use crate::layers::correlation::{CorrelationLayer, Server};
use crate::observe::event::Observer;
use crate::protocol::http::{EndOfBody, HttpClassifier};
use crate::protocol::respond::RespondLayer;
use crate::registry::JoinedRegistry;
use crate::vocabulary::{config::ConfigError, name};

/// The builder of a [`ServerStack`], created by [`http::server`](crate::http::server) or
/// [`grpc::server`](crate::grpc::server).
///
/// Each setter states its default and the reason for it. The order of the setters does not matter.
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
    trusts_inbound: bool,
    observer: Option<Arc<dyn Observer>>,
    registry: JoinedRegistry,
    keying: Option<StackKeying>,
    max_keys: Option<u32>,
    label_keys: Option<u32>,
}

impl ServerBuilder {
    pub(crate) fn new(kind: &'static str, name: String) -> Self {
        Self {
            kind,
            name,
            classifier: None,
            parts: ServerParts::default(),
            with: Identity::new(),
            trusts_inbound: true,
            observer: None,
            registry: JoinedRegistry::default(),
            keying: None,
            max_keys: None,
            label_keys: None,
        }
    }
}

impl<W> ServerBuilder<W> {
    /// Sets the correlation layer. By default it reads the caller's ID from `x-correlation-id` or
    /// `x-request-id`, and makes a new one if there is no valid ID, so that one ID follows a
    /// request through all services.
    ///
    /// For untrusted callers, pass `CorrelationLayer::server().ignore_inbound()`.
    pub fn correlation(mut self, correlation: CorrelationLayer<Server>) -> Self {
        self.parts.correlation = Slot::Set(correlation);
        self
    }

    /// Removes the correlation layer, for a stack inside of another one. By default the stack has
    /// one.
    pub fn without_correlation(mut self) -> Self {
        self.parts.correlation = Slot::Off;
        self
    }

    /// Sets the responses of rejections. Default 503 or 504 with problem details, in gRPC
    /// `UNAVAILABLE` or `DEADLINE_EXCEEDED`, without the names of layers, which are internal.
    pub fn respond(mut self, respond: RespondLayer) -> Self {
        self.parts.respond = Slot::Set(respond);
        self
    }

    /// Adds your own layer inside of correlation and respond, and outside of the layers that limit.
    /// Default none. It is the place for authentication, say, which should precede a permit.
    ///
    /// Its error must be a rejection or [`Infallible`](std::convert::Infallible), so that
    /// [`RespondLayer`] can answer it. The first of several layers is the outermost. Put a layer
    /// that should see every request outside of the stack, and one that should see only admitted
    /// requests inside.
    ///
    /// Two kinds of layer need a second one:
    ///
    /// - A layer that changes the response body, such as tower-http's `CompressionLayer`. The body
    ///   must be able to hold a rejection (see [`RejectionBody`](crate::respond::RejectionBody)).
    ///   Before it, add
    ///   `MapResponseLayer::new(|response: http::Response<_>| response.map(axum::body::Body::new))`
    ///   (`tower::util`).
    /// - A layer for infallible services only, such as `axum::middleware::from_fn`. After it, add
    ///   [`RespondLayer::new()`](RespondLayer::new), which answers the rejections of the inner
    ///   layers.
    pub fn with_request_layer<L>(self, layer: L) -> ServerBuilder<Stack<L, W>> {
        ServerBuilder {
            kind: self.kind,
            name: self.name,
            classifier: self.classifier,
            parts: self.parts,
            with: Stack::new(layer, self.with),
            trusts_inbound: self.trusts_inbound,
            observer: self.observer,
            registry: self.registry,
            keying: self.keying,
            max_keys: self.max_keys,
            label_keys: self.label_keys,
        }
    }

    /// Sets the time limit of a request. Default 30 seconds to the head of the response: few
    /// healthy answers take longer, and a request that hangs must end.
    ///
    /// A caller's limit (`grpc-timeout`, `x-request-timeout-ms`) applies if it is shorter. A value
    /// under 10 milliseconds counts as 10.
    ///
    /// **A limit that is set** becomes the deadline of the request, which handlers see and client
    /// stacks propagate. In HTTP it covers the request to the head of the response, in gRPC to its
    /// last trailer. For gRPC services and methods with longer streams, set
    /// [`timeout_for`](crate::timeout::TimeoutBuilder::timeout_for) or
    /// [`without_timeout_for`](crate::timeout::TimeoutBuilder::without_timeout_for).
    ///
    /// **The default** covers the request to the head of the response, in HTTP and in gRPC, and is
    /// no deadline. Each piece of the request's body restarts it: see
    /// [uploads](crate::http::timeout()#uploads).
    ///
    /// A response body without progress ends after 120 seconds: see
    /// [`body_idle`](crate::timeout::TimeoutBuilder::body_idle) of
    /// [`http::timeout()`](crate::http::timeout()), a builder that this setter accepts.
    pub fn timeout(mut self, limit: impl Refine<StackTimeout>) -> Self {
        self.parts
            .timeout
            .refine(limit, crate::protocol::http::timeout());
        self
    }

    /// Sets all settings at once, such as those of a configuration. They replace what other setters
    /// have set, except names, observers, classifiers, policies and headers.
    pub fn settings(mut self, settings: ServerSettings) -> Self {
        let parts = &mut self.parts;
        let of_timeout = settings.timeout;
        parts
            .timeout
            .put(crate::protocol::http::timeout, |timeout| {
                timeout.settings(of_timeout)
            });
        parts.rate_limit.put_optional(RateLimit::settings, |limit| {
            settings.rate_limit.map(|settings| limit.settings(settings))
        });
        let of_load = settings.load_shed;
        parts
            .load_shed
            .put(LoadShed::settings, |load_shed| load_shed.settings(of_load));
        let of_bulkhead = settings.bulkhead;
        parts.bulkhead.put(Bulkhead::settings, |bulkhead| {
            bulkhead.settings(of_bulkhead)
        });
        self
    }

    /// Removes the time limit and the limit on idle bodies, and ignores the deadlines of callers.
    /// Default 30 and 120 seconds.
    pub fn without_timeout(mut self) -> Self {
        self.parts.timeout = Slot::Off;
        self
    }

    /// Ignores the deadlines of callers (`grpc-timeout`, `x-request-timeout-ms`). By default they
    /// apply, from 10 milliseconds to the [`timeout`](Self::timeout), because an answer after the
    /// deadline is wasted work.
    ///
    /// Call it at the edge of a system, where callers are untrusted. It sets
    /// [`ignore_inbound`](crate::timeout::TimeoutBuilder::ignore_inbound) of the stack's time
    /// limit.
    pub fn ignore_inbound_deadline(mut self) -> Self {
        self.trusts_inbound = false;
        self
    }

    rate_limit_setter!(
        "requests",
        /// All callers share the rate. A rejection is answered with 429 and `Retry-After`, in gRPC
        /// with `RESOURCE_EXHAUSTED`.
    );

    /// Sets the limit on requests in flight above which the stack sheds load. Default
    /// [`Limit::scheduler_lag`](crate::Limit::scheduler_lag): no limit until ready tasks wait for a
    /// worker thread, and then an adaptive limit, because only that lag distinguishes overload from
    /// a slow route.
    ///
    /// A builder also sets [how the stack classifies](super#how-a-stack-classifies).
    pub fn load_shed(
        mut self,
        limit: impl Refine<(StackLoadShed, Option<CustomClassifier>)>,
    ) -> Self {
        let (load_shed, classifier) = limit.refine((LoadShed::settings(), None));
        self.parts.load_shed = Slot::Set(load_shed);
        self.classifier = classifier;
        self
    }

    load_shed_remover!();

    bulkhead_setters!(
        "requests",
        ///
        /// A request counts to the end of its response body, an event stream (`text/event-stream`)
        /// to its head. The [load shedder](Self::load_shed) handles overload.
    );

    observer_setter!();

    registry_setters!();

    key_setters!(
        "rate limit and its own bulkhead",
        /// Default one for all. Set their numbers, too: by default there is no rate limit, and the
        /// bulkhead only counts. The load shedder is one for all: it protects the whole process.
        example "let stack = mainstay::http::server(\"search\").rate_limit(100).keyed_by(mainstay::http::by_header(\"x-tenant\")).build()?;"
    );

    build_method!(ServerStack<W>, |builder| builder.try_build());

    fn try_build(mut self) -> Result<ServerStack<W>, ConfigError> {
        name::check(self.kind, &self.name)?;
        if !self.trusts_inbound {
            self.parts
                .timeout
                .change(crate::protocol::http::timeout, |timeout| {
                    timeout.policy.trusts_inbound = false;
                });
        }
        let classifier = StackClassifier::new(HttpClassifier, self.classifier);
        let keying = self.keying.unwrap_or_default();
        let stack = Adopted {
            name: &self.name,
            observer: self.observer,
            tracker: EndOfBody(classifier),
            keying: keying.limits(self.max_keys, self.label_keys),
        };
        let mut description = Description::new(self.kind, &self.name);
        let mut numbers = Numbers::default();
        let layers = self.parts.build(&stack, &mut description, &mut numbers)?;
        let members = layers.members();
        let live = Arc::new(Live::new(&members, &numbers, description));
        self.registry.join(live.clone(), &members);
        Ok(ServerStack {
            layers,
            with: self.with,
            live,
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
