//! Builds the stack of a client.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower_layer::{Identity, Stack};

use super::classifier::{CustomClassifier, StackClassifier};
use super::client_stack::{ClientParts, ClientStack};
use super::description::Description;
use super::part::{Slot, Stack as Adopted};
use super::parts::{
    Bulkhead, CircuitBreaker, ClientTimeout, RateLimit, StackBreaker, StackBulkhead,
    StackRateLimit, StackRetry, StackTimeout,
};
use super::protocol::Protocol;
use super::refine::Refine;
use crate::layers::correlation::{Client, CorrelationLayer};
use crate::observe::event::Observer;
use crate::protocol::http::{DeadlineLayer, EndOfBody};
use crate::vocabulary::config::OfInstance as _;
use crate::vocabulary::{config::ConfigError, name};

/// Builds a [`ClientStack`]: begin with [`http::client`](crate::http::client), [`grpc::client`](crate::grpc::client) or
/// [`reqwest::client`](crate::reqwest::client).
///
/// Each method says first what the default of its layer is, and why. The order in which the methods
/// are called makes no difference.
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
}

impl<P: Protocol> ClientBuilder<P> {
    pub(crate) fn new(name: String) -> Self {
        Self {
            name,
            classifier: None,
            parts: ClientParts::default(),
            with: Identity::new(),
            observer: None,
        }
    }
}

impl<P: Protocol, W> ClientBuilder<P, W> {
    /// Sets how the correlation ID is written. Default: to `x-correlation-id`, the most common name
    /// for it.
    pub fn correlation(mut self, correlation: CorrelationLayer<Client>) -> Self {
        self.parts.correlation = Slot::Set(correlation);
        self
    }

    /// Sets how long a call may take with all its attempts. Default 30 seconds to the head of the
    /// response, for calls without a deadline: few healthy answers take longer.
    ///
    /// **A limit that is set** is the deadline of the call: it is propagated to the next service, as far as the
    /// [deadline](Self::deadline) layer does that. In HTTP it ends the wait for the head of the response; with
    /// [`whole_body`](crate::timeout::TimeoutBuilder::whole_body) it covers the body, too. In gRPC it covers the call to its last
    /// trailer, unary or streaming: a stream that it ends, ends in `DEADLINE_EXCEEDED`. Give services and methods whose streams live
    /// longer a limit of their own, or none: [`timeout_for`](crate::timeout::TimeoutBuilder::timeout_for),
    /// [`without_timeout_for`](crate::timeout::TimeoutBuilder::without_timeout_for).
    ///
    /// **The default** ends only the wait for the head, in HTTP and in gRPC. It ends no stream and is propagated to nobody. It holds
    /// only where nothing else says how long the call may take: neither the request (`grpc-timeout`, `x-request-timeout-ms`, a time
    /// limit of reqwest's) nor the [`Context`](crate::Context). While the body of a request is being sent, the 30 seconds begin
    /// anew with each piece of it: see [`http::timeout()`](crate::http::timeout()#uploads).
    ///
    /// Why these numbers: a limit that nobody set must not fail a call that would have succeeded.
    /// 30 seconds are also the total of Microsoft's standard resilience handler. That one ends each
    /// attempt after 10 seconds; here attempts have [no limit of their own](Self::attempt_timeout),
    /// since that would fail every answer that takes longer.
    ///
    /// A response body is ended when its reader has waited for 120 seconds and no byte has come:
    /// see [`body_idle`](crate::timeout::TimeoutBuilder::body_idle). To change that, give this
    /// method what [`http::timeout()`](crate::http::timeout()) begins.
    pub fn timeout(mut self, limit: impl Refine<StackTimeout>) -> Self {
        self.parts.timeout.refine(limit, ClientTimeout::settings());
        self
    }

    /// Leaves the time limit out: only the deadline of the [`Context`](crate::Context) and
    /// reqwest's own time limit of a request hold, and bodies have no limit. By default it is in
    /// the stack, with 30 seconds.
    pub fn without_timeout(mut self) -> Self {
        self.parts.timeout = Slot::Off;
        self
    }

    /// Sets how often a call is attempted. Default 3 attempts in all, as many as resilience4j and
    /// the AWS SDKs make. [`HttpRetry`](crate::http::HttpRetry) and
    /// [`GrpcRetry`](crate::grpc::GrpcRetry) say which calls are repeated.
    ///
    /// The back-off grows from 50 milliseconds to 2 seconds, with full jitter. In a call with a
    /// short limit it is shorter: all waits together are at most a quarter of the limit. The budget
    /// is one retry for five calls, and ten a second in addition. These numbers are those of
    /// [`RetryLayer`](crate::RetryLayer).
    pub fn retry(mut self, retry: impl Refine<StackRetry<P>>) -> Self {
        self.parts.retry.refine(retry, P::retry());
        self
    }

    /// Leaves the retry out: one attempt for each call. By default it is in the stack, with 3
    /// attempts.
    pub fn without_retry(mut self) -> Self {
        self.parts.retry = Slot::Off;
        self
    }

    /// Adds a layer of your own that sees each attempt: inside of the retry, outside of the circuit
    /// breaker. Default: none. It is the place for a signature or a token that is made anew for
    /// each attempt, say.
    ///
    /// Of several layers, the first is the outermost. A layer that should see each call once goes
    /// around the stack. One that should see only the attempts that are sent goes around the
    /// service.
    pub fn with_attempt_layer<L>(self, layer: L) -> ClientBuilder<P, Stack<L, W>> {
        ClientBuilder {
            name: self.name,
            classifier: self.classifier,
            parts: self.parts,
            with: Stack::new(layer, self.with),
            observer: self.observer,
        }
    }

    /// Sets when the circuit opens. Default: when half of at least 20 attempts within 10 seconds
    /// failed, for 5 seconds at first, so that a few failures of a quiet hour do not open it.
    ///
    /// The numbers are those of [`CircuitBreakerLayer`](crate::CircuitBreakerLayer), except that a
    /// probe may take as long as any attempt. To look at the state, take
    /// [`ClientStack::circuit_breaker`] before the stack is put around a client.
    ///
    /// The builder also says [how the stack classifies](super#how-a-stack-classifies).
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

    /// Leaves the circuit breaker out: calls to a failing upstream go on. By default it is in the
    /// stack.
    pub fn without_circuit_breaker(mut self) -> Self {
        self.parts.circuit_breaker = Slot::Off;
        self
    }

    /// Sets how many attempts start per second. Default: no rate limit.
    ///
    /// It takes attempts per second, or a builder: [`RateLimitLayer::builder()`](crate::RateLimitLayer::builder)
    /// with another period, a burst or a wait. Each attempt counts, retries included. A rejection by the
    /// rate limit says nothing about the upstream, so the circuit breaker does not count it.
    pub fn rate_limit(mut self, rate: impl Refine<StackRateLimit>) -> Self {
        self.parts.rate_limit.refine(rate, RateLimit::settings());
        self
    }

    /// Sets how many attempts may be in flight. Default: no limit, because no number fits all
    /// healthy programs: some have thousands of attempts that only wait (long polls, watches).
    ///
    /// Attempts are counted to the end of their body, except event streams (`text/event-stream`),
    /// which are counted to their head. A limit of your own keeps a hanging upstream from taking
    /// all of this process's memory and connections. A good number is the usual calls in flight,
    /// and half as many again for bursts.
    pub fn bulkhead(mut self, bulkhead: impl Refine<StackBulkhead>) -> Self {
        self.parts.bulkhead.refine(bulkhead, Bulkhead::settings());
        self
    }

    /// Leaves the bulkhead out. By default it is in the stack and has no limit: it counts the
    /// attempts in flight, for snapshots and metrics.
    pub fn without_bulkhead(mut self) -> Self {
        self.parts.bulkhead = Slot::Off;
        self
    }

    /// Sets how long one attempt may take. Default: no limit but the time for the whole call,
    /// because any number would fail the healthy answers that take longer.
    ///
    /// Set it where an attempt that hangs should be repeated: the limit ends the attempt, the circuit breaker counts a failure, and the
    /// retry sends the next one. Without it, an attempt that hangs costs the time for the whole call.
    ///
    /// Choose a number above the slowest healthy answer. An upstream whose healthy answers take 11
    /// seconds, say, would never get one through the 10 seconds of Microsoft's standard handler.
    ///
    /// It covers what the limit for the whole call covers: an attempt of HTTP up to the head of its response, one of gRPC to its last
    /// trailer. In gRPC another attempt follows only if the retry's codes include `DEADLINE_EXCEEDED`.
    pub fn attempt_timeout(mut self, limit: Duration) -> Self {
        self.parts.attempt_timeout = Slot::Set(limit);
        self
    }

    /// Lets an attempt take as long as the whole call: the default, and the way back from
    /// [`attempt_timeout`](Self::attempt_timeout).
    pub fn without_attempt_timeout(mut self) -> Self {
        self.parts.attempt_timeout = Slot::Off;
        self
    }

    /// Sets how the deadline is propagated to the next service. Default: in `x-request-timeout-ms`,
    /// in milliseconds, or in gRPC in `grpc-timeout`, so that the next service does not work for a
    /// caller that has given up.
    ///
    /// A default limit that nobody set is not propagated.
    pub fn deadline(mut self, deadline: DeadlineLayer) -> Self {
        self.parts.deadline = Slot::Set(deadline);
        self
    }

    /// Leaves the deadline layer out: nothing is propagated to the next service. By default it is
    /// in the stack.
    pub fn without_deadline(mut self) -> Self {
        self.parts.deadline = Slot::Off;
        self
    }

    /// Leaves the layer for correlation IDs out. By default it is in the stack. For a client whose
    /// requests carry an ID already.
    pub fn without_correlation(mut self) -> Self {
        self.parts.correlation = Slot::Off;
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
    pub fn build(self) -> Result<ClientStack<P, W>, ConfigError> {
        let name = self.name.clone();
        self.built().of_instance(Some(&name))
    }

    fn built(self) -> Result<ClientStack<P, W>, ConfigError> {
        name::check(P::NAME, &self.name)?;
        let classifier = StackClassifier::new(P::CLASSIFIER, self.classifier);
        let stack = Adopted {
            name: &self.name,
            observer: self.observer,
            tracker: EndOfBody(classifier),
        };
        let mut description = Description::new(P::NAME, &self.name);
        let layers = self.parts.build(&stack, &mut description)?;
        Ok(ClientStack {
            layers,
            with: self.with,
            description: Arc::new(description),
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
