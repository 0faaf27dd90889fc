use std::fmt;
use std::sync::Arc;

use tower_layer::{Identity, Stack};

use super::classifier::{CustomClassifier, StackClassifier};
use super::client_stack::{ClientParts, ClientStack};
use super::description::Description;
use super::keys::StackKeying;
use super::live::Live;
use super::numbers::Numbers;
use super::part::{Slot, Stack as Adopted};
use super::parts::{Bulkhead, RateLimit};
use super::parts::{CircuitBreaker, ClientTimeout, StackBreaker, StackRetry, StackTimeout};
use super::protocol::Protocol;
use super::refine::Refine;
use super::setters::{
    attempt_timeout_setters, build_method, bulkhead_setters, circuit_breaker_remover, key_setters,
    observer_setter, rate_limit_setter, registry_setters,
};
use super::settings::ClientSettings;
use crate::layers::correlation::{Client, CorrelationLayer};
use crate::observe::event::Observer;
use crate::protocol::http::{DeadlineLayer, EndOfBody};
use crate::registry::JoinedRegistry;
use crate::vocabulary::{config::ConfigError, name};

/// The builder of a [`ClientStack`], created by [`http::client`](crate::http::client),
/// [`grpc::client`](crate::grpc::client) or [`reqwest::client`](crate::reqwest::client).
///
/// Each setter states its default and the reason for it. The order of the setters does not matter.
///
/// ```
/// use mainstay::http;
/// use std::time::Duration;
///
/// let stack = http::client("payments")
///     .timeout(Duration::from_secs(2))
///     .retry(4)
///     .circuit_breaker(http::circuit_breaker().consecutive_failures(10))
///     .without_bulkhead()
///     .build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
#[must_use = "a builder does nothing until `build` is called"]
pub struct ClientBuilder<P: Protocol, W = Identity> {
    name: String,
    classifier: Option<CustomClassifier>,
    parts: ClientParts<P>,
    with: W,
    observer: Option<Arc<dyn Observer>>,
    registry: JoinedRegistry,
    /// `None`: not set.
    keying: Option<StackKeying>,
    max_keys: Option<u32>,
    label_keys: Option<u32>,
}

impl<P: Protocol> ClientBuilder<P> {
    pub(crate) fn new(name: String) -> Self {
        Self {
            name,
            classifier: None,
            parts: ClientParts::default(),
            with: Identity::new(),
            observer: None,
            registry: JoinedRegistry::default(),
            keying: None,
            max_keys: None,
            label_keys: None,
        }
    }
}

impl<P: Protocol, W> ClientBuilder<P, W> {
    /// Sets all settings at once, such as those of a configuration. They replace what other setters
    /// have set, except names, observers, classifiers, policies and headers.
    pub fn settings(mut self, settings: ClientSettings) -> Self {
        let parts = &mut self.parts;
        let of_timeout = settings.timeout;
        parts.timeout.put(ClientTimeout::settings, |timeout| {
            timeout.settings(of_timeout)
        });
        let of_retry = settings.retry;
        parts.retry.put(P::retry, |retry| retry.settings(of_retry));
        parts.rate_limit.put_optional(RateLimit::settings, |limit| {
            settings.rate_limit.map(|settings| limit.settings(settings))
        });
        let of_circuit = settings.circuit_breaker;
        parts
            .circuit_breaker
            .put(CircuitBreaker::settings, |circuit| {
                circuit.settings(of_circuit)
            });
        let of_bulkhead = settings.bulkhead;
        parts.bulkhead.put(Bulkhead::settings, |bulkhead| {
            bulkhead.settings(of_bulkhead)
        });
        parts.attempt_timeout = Slot::Set(settings.attempt_timeout);
        self
    }

    /// Sets the correlation layer. By default it writes the ID to `x-correlation-id`, the most
    /// common header.
    pub fn correlation(mut self, correlation: CorrelationLayer<Client>) -> Self {
        self.parts.correlation = Slot::Set(correlation);
        self
    }

    /// Sets the time limit of a call with all its attempts. Default 30 seconds to the head of the
    /// response, for calls without a deadline: few healthy answers take longer.
    ///
    /// **A limit that is set** becomes the deadline of the call, which the
    /// [deadline](Self::deadline) layer propagates. In HTTP it covers the call to the head of the
    /// response, and with [`whole_body`](crate::timeout::TimeoutBuilder::whole_body) to the end of
    /// the body. In gRPC it covers the call to its last trailer: it ends a longer stream with
    /// `DEADLINE_EXCEEDED`. For services and methods with longer streams, set
    /// [`timeout_for`](crate::timeout::TimeoutBuilder::timeout_for) or
    /// [`without_timeout_for`](crate::timeout::TimeoutBuilder::without_timeout_for).
    ///
    /// **The default** covers the call to its head, in HTTP and in gRPC, and is not propagated. It
    /// applies only if neither the request (`grpc-timeout`, `x-request-timeout-ms`, reqwest's own
    /// time limit) nor the [`Context`](crate::Context) has a limit. Each piece of the request's
    /// body restarts the 30 seconds: see [`http::timeout()`](crate::http::timeout()#uploads).
    ///
    /// The reason: a default must not fail a call that would succeed. 30 seconds are also the total
    /// of Microsoft's standard resilience handler. That handler ends each attempt after 10 seconds.
    /// Here attempts have [no separate limit](Self::attempt_timeout), which would fail every slower
    /// answer.
    ///
    /// A response body ends when its reader has waited for 120 seconds without a byte: see
    /// [`body_idle`](crate::timeout::TimeoutBuilder::body_idle) of
    /// [`http::timeout()`](crate::http::timeout()), a builder that this setter accepts.
    pub fn timeout(mut self, limit: impl Refine<StackTimeout>) -> Self {
        self.parts.timeout.refine(limit, ClientTimeout::settings());
        self
    }

    /// Removes the time limit and the limit on idle bodies. Default 30 and 120 seconds. The
    /// deadline of the [`Context`](crate::Context) and reqwest's own time limit of a request still
    /// apply.
    pub fn without_timeout(mut self) -> Self {
        self.parts.timeout = Slot::Off;
        self
    }

    /// Sets the number of attempts. Default 3 in all, as in resilience4j and the AWS SDKs.
    /// [`HttpRetry`](crate::http::HttpRetry) and [`GrpcRetry`](crate::grpc::GrpcRetry) list the
    /// calls that are retried.
    ///
    /// The other defaults are those of [`RetryLayer`](crate::RetryLayer). The back-off grows from
    /// 50 milliseconds to 2 seconds, with full jitter. A short time limit shortens it: all waits
    /// together take at most a quarter of the limit. The budget is one retry for five calls, plus
    /// ten a second: in HTTP for each host, and again for
    /// [all hosts together](crate::retry#a-budget-for-each-key).
    pub fn retry(mut self, retry: impl Refine<StackRetry<P>>) -> Self {
        self.parts.retry.refine(retry, P::retry());
        self
    }

    /// Removes the retry: each call is one attempt. Default 3 attempts.
    pub fn without_retry(mut self) -> Self {
        self.parts.retry = Slot::Off;
        self
    }

    /// Adds your own layer inside of the retry and outside of the circuit breaker. Default none. It
    /// sees each attempt: to sign each attempt, say.
    ///
    /// The first of several layers is the outermost. Put a layer that should see each call once
    /// outside of the stack, and one that should see only admitted attempts inside.
    pub fn with_attempt_layer<L>(self, layer: L) -> ClientBuilder<P, Stack<L, W>> {
        ClientBuilder {
            name: self.name,
            classifier: self.classifier,
            parts: self.parts,
            with: Stack::new(layer, self.with),
            observer: self.observer,
            registry: self.registry,
            keying: self.keying,
            max_keys: self.max_keys,
            label_keys: self.label_keys,
        }
    }

    /// Sets the circuit breaker. By default it opens when half of at least 20 attempts within 10
    /// seconds failed, for 5 seconds at first, so that a few failures of a quiet hour do not open
    /// it.
    ///
    /// The defaults are those of [`CircuitBreakerLayer`](crate::CircuitBreakerLayer), except that a
    /// probe may take as long as any attempt. [`ClientStack::circuit_breaker`] returns its handle.
    ///
    /// The builder also sets [how the stack classifies](super#how-a-stack-classifies).
    pub fn circuit_breaker(
        mut self,
        circuit_breaker: impl Refine<(StackBreaker, Option<CustomClassifier>)>,
    ) -> Self {
        let standard = (CircuitBreaker::settings(), None);
        let (circuit_breaker, classifier) = circuit_breaker.refine(standard);
        self.parts.circuit_breaker = Slot::Set(circuit_breaker);
        self.classifier = classifier;
        self
    }

    circuit_breaker_remover!();

    rate_limit_setter!(
        "attempts",
        /// Retries count, too. The circuit breaker does not count a rejection by the rate limit,
        /// which says nothing about the upstream.
    );

    bulkhead_setters!(
        "attempts",
        ///
        /// An attempt counts to the end of its response body, an event stream (`text/event-stream`)
        /// to its head. A limit keeps a hanging upstream from taking all memory and connections. A
        /// good limit is the usual number in flight, plus half of it for bursts.
    );

    attempt_timeout_setters!(
        ///
        /// In HTTP it covers an attempt to the head of its response, in gRPC to its last trailer.
        /// In gRPC another attempt follows only if the retry's codes include `DEADLINE_EXCEEDED`.
    );

    /// Sets the deadline layer. By default it writes the remaining time to `x-request-timeout-ms`
    /// in milliseconds, or in gRPC to `grpc-timeout`, so that the next service does not work for a
    /// caller that has given up.
    ///
    /// The default time limit is not propagated.
    pub fn deadline(mut self, deadline: DeadlineLayer) -> Self {
        self.parts.deadline = Slot::Set(deadline);
        self
    }

    /// Removes the deadline layer: no deadline is propagated. By default the stack has one.
    pub fn without_deadline(mut self) -> Self {
        self.parts.deadline = Slot::Off;
        self
    }

    /// Removes the correlation layer, for requests that already have an ID. By default the stack
    /// has one.
    pub fn without_correlation(mut self) -> Self {
        self.parts.correlation = Slot::Off;
        self
    }

    observer_setter!();

    registry_setters!();

    key_setters!(
        "circuit breaker, bulkhead and retry budget",
        /// Default in HTTP: the [authority](crate::http::by_authority) of the request, so that a dead
        /// host does not open the circuit of the others or use their retries. Default in gRPC: none,
        /// because a channel has one upstream.
        example "let stack = mainstay::http::client(\"search\").keyed(|request| request.path().into()).build()?;"
    );

    /// One circuit breaker, one bulkhead and one retry budget for all calls, as by default in gRPC. In
    /// HTTP each host has its own by default.
    pub fn one_for_all(mut self) -> Self {
        self.keying = Some(StackKeying::default());
        self
    }

    build_method!(ClientStack<P, W>, |builder| builder.try_build());

    fn try_build(self) -> Result<ClientStack<P, W>, ConfigError> {
        name::check(P::NAME, &self.name)?;
        let classifier = StackClassifier::new(P::CLASSIFIER, self.classifier);
        let keying = self.keying.unwrap_or_else(P::keying);
        let stack = Adopted {
            name: &self.name,
            observer: self.observer,
            tracker: EndOfBody(classifier),
            keying: keying.limits(self.max_keys, self.label_keys),
        };
        let mut description = Description::new(P::NAME, &self.name);
        let mut numbers = Numbers::default();
        let layers = self.parts.build(&stack, &mut description, &mut numbers)?;
        let members = layers.members();
        let live = Arc::new(Live::new(&members, &numbers, description));
        self.registry.join(live.clone(), &members);
        Ok(ClientStack {
            layers,
            with: self.with,
            live,
        })
    }
}

impl<P: Protocol, W> fmt::Debug for ClientBuilder<P, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("kind", &P::NAME)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
