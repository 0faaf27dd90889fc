//! Builds the stack of a client.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower_layer::{Identity, Stack};

use super::checks::Checks;
use super::client_stack::ClientStack;
use super::description::Description;
use super::judge::RefineJudging;
use super::numbers::{BodyNumbers, BulkheadNumbers, RetryNumbers, backoff_for};
use super::part::{Named, Part};
use super::protocol::Protocol;
use super::refine::{Refine, StackBreaker, StackBulkhead, StackRetry, StackTimeout};
use super::tell;
use crate::config::OfInstance as _;
use crate::correlation::{Client, CorrelationLayer};
use crate::http::{BodyLimits, DeadlineLayer, EndOfBody};
use crate::policy::backoff::Backoff;
use crate::policy::breaker::Config;
use crate::timeout::{self, CallLimit, Fixed, LimitSource, TimeoutBuilder};
use crate::{ConfigError, Mode, Observer, OnCancel, name};

/// For all attempts of a call together, where nobody sets a limit.
const TOTAL: Duration = Duration::from_secs(30);

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
    classifier: P::Classifier,
    correlation: Part<CorrelationLayer<Client>>,
    timeout: Part<StackTimeout>,
    retry: Part<StackRetry<P>>,
    with: W,
    circuit_breaker: Part<StackBreaker>,
    bulkhead: Part<StackBulkhead>,
    attempt: Option<Duration>,
    deadline: Part<DeadlineLayer>,
    observer: Option<Arc<dyn Observer>>,
}

impl<P: Protocol> ClientBuilder<P> {
    pub(crate) fn new(name: String, classifier: P::Classifier) -> Self {
        Self {
            name,
            classifier,
            correlation: Part::Default,
            timeout: Part::Default,
            retry: Part::Default,
            with: Identity::new(),
            circuit_breaker: Part::Default,
            bulkhead: Part::Default,
            attempt: None,
            deadline: Part::Default,
            observer: None,
        }
    }
}

fn timeout() -> StackTimeout {
    let mut timeout = crate::http::timeout();
    timeout.policy.own = Some(TOTAL);
    timeout.policy.source = LimitSource::Fallback;
    timeout
}

fn breaker() -> StackBreaker {
    StackBreaker::tracked_by(())
}

impl<P: Protocol, W> ClientBuilder<P, W> {
    /// Sets how the correlation ID is written. Default: to `x-correlation-id`, the most common name
    /// for it.
    pub fn correlation(mut self, correlation: CorrelationLayer<Client>) -> Self {
        self.correlation = Part::Set(correlation);
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
        self.timeout.refine(limit, timeout());
        self
    }

    /// Leaves the time limit out: only the deadline of the [`Context`](crate::Context) and
    /// reqwest's own time limit of a request hold, and bodies have no limit. By default it is in
    /// the stack, with 30 seconds.
    pub fn without_timeout(mut self) -> Self {
        self.timeout = Part::Off;
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
        self.retry.refine(retry, P::retry());
        self
    }

    /// Leaves the retry out: one attempt for each call. By default it is in the stack, with 3
    /// attempts.
    pub fn without_retry(mut self) -> Self {
        self.retry = Part::Off;
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
        self.of_type(|classifier, with| (classifier, Stack::new(layer, with)))
    }

    /// The same settings in a builder of another type.
    fn of_type<Q, X>(
        self,
        by: impl FnOnce(P::Classifier, W) -> (Q::Classifier, X),
    ) -> ClientBuilder<Q, X>
    where
        Q: Protocol<Policy = P::Policy, Receive = P::Receive>,
    {
        let (classifier, with) = by(self.classifier, self.with);
        ClientBuilder {
            name: self.name,
            classifier,
            correlation: self.correlation,
            timeout: self.timeout,
            retry: self.retry,
            with,
            circuit_breaker: self.circuit_breaker,
            bulkhead: self.bulkhead,
            attempt: self.attempt,
            deadline: self.deadline,
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
    /// A builder that does not judge as the stack does, by a closure or for another protocol, changes its type: see
    /// [how a stack judges](super#how-a-stack-judges).
    pub fn circuit_breaker<R>(
        mut self,
        circuit_breaker: R,
    ) -> ClientBuilder<P::With<R::Classifier>, W>
    where
        R: RefineJudging<StackBreaker, P::Usual>,
    {
        let (circuit_breaker, classifier) = circuit_breaker.refine(breaker(), P::USUAL);
        self.circuit_breaker = Part::Set(circuit_breaker);
        self.of_type(|_, with| (classifier, with))
    }

    /// Leaves the circuit breaker out: calls to a failing upstream go on. By default it is in the
    /// stack.
    pub fn without_circuit_breaker(mut self) -> Self {
        self.circuit_breaker = Part::Off;
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
        self.bulkhead.refine(bulkhead, super::bulkhead());
        self
    }

    /// Leaves the bulkhead out. By default it is in the stack and has no limit: it counts the
    /// attempts in flight, for snapshots and metrics.
    pub fn without_bulkhead(mut self) -> Self {
        self.bulkhead = Part::Off;
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
        self.attempt = Some(limit);
        self
    }

    /// Lets an attempt take as long as the whole call: the default, and the way back from
    /// [`attempt_timeout`](Self::attempt_timeout).
    pub fn without_attempt_timeout(mut self) -> Self {
        self.attempt = None;
        self
    }

    /// Sets how the deadline is propagated to the next service. Default: in `x-request-timeout-ms`,
    /// in milliseconds, or in gRPC in `grpc-timeout`, so that the next service does not work for a
    /// caller that has given up.
    ///
    /// A default limit that nobody set is not propagated.
    pub fn deadline(mut self, deadline: DeadlineLayer) -> Self {
        self.deadline = Part::Set(deadline);
        self
    }

    /// Leaves the deadline layer out: nothing is propagated to the next service. By default it is
    /// in the stack.
    pub fn without_deadline(mut self) -> Self {
        self.deadline = Part::Off;
        self
    }

    /// Leaves the layer for correlation IDs out. By default it is in the stack. For a client whose
    /// requests carry an ID already.
    pub fn without_correlation(mut self) -> Self {
        self.correlation = Part::Off;
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
        let named = Named::new(&self.name, self.observer);
        let mut told = Description::new(P::NAME, &self.name);
        let tracker = EndOfBody(self.classifier);

        let correlation = self.correlation.or_default(CorrelationLayer::client);
        told.push("correlation", correlation.as_ref().map(tell::correlation));

        let timeout = self.timeout.or_default(timeout);
        told.push("timeout", timeout.as_ref().map(tell::timeout));
        let total = timeout.as_ref().and_then(|timeout| timeout.policy.own);
        let body = BodyNumbers::of(timeout.as_ref());
        let mut timeout = timeout.unwrap_or_else(super::no_timeout);
        named.give(&mut timeout.name, &mut timeout.observer);
        // What the headers of an own request ask for is nobody else's to say.
        timeout.policy.floor = Duration::ZERO;
        timeout.cover.client = true;
        let timeout = timeout.build()?;

        let mut retry = self.retry.or_default(P::retry);
        let mut follows = false;
        if let (Some(retry), Some(total)) = (&mut retry, total)
            && retry.settings.backoff == Backoff::default()
        {
            retry.settings.backoff = backoff_for(total, retry.settings.attempts);
            follows = true;
        }
        let settings = retry.as_ref().map(|retry| &retry.settings);
        told.push("retry", settings.map(tell::retry));
        let retries = RetryNumbers::of(settings, follows);
        let mut retry = retry.unwrap_or_else(|| P::retry().attempts(1).without_budget());
        named.give(&mut retry.name, &mut retry.observer);
        let retry = retry.build()?;

        // Told in their order, which is not the one in which their numbers follow from each other.
        let bulkhead = self.bulkhead.or_default(super::bulkhead);
        let told_bulkhead = bulkhead.as_ref().map(tell::bulkhead);
        let places = bulkhead.as_ref().and_then(BulkheadNumbers::of);
        let mut bulkhead = bulkhead.unwrap_or_else(super::no_bulkhead);
        named.give(&mut bulkhead.name, &mut bulkhead.observer);
        let bulkhead = bulkhead.retracked(|()| tracker.clone()).build()?;

        let limit = self.attempt;
        let mut attempt = attempt_timeout(limit);
        named.give(&mut attempt.name, &mut attempt.observer);
        if let Some(limit) = limit {
            timeout::check(ATTEMPT_TIMEOUT, "timeout", limit)?;
        }
        let attempt = attempt.finish(|limit| limit)?;

        let mut breaker = self.circuit_breaker.or_default(breaker);
        if let Some(breaker) = &mut breaker {
            if let (None, Some(limit)) = (breaker.config.on_cancel, limit) {
                // Whoever cuts an attempt short: it fails after the time that somebody gave it.
                breaker.config.on_cancel = Some(OnCancel::FailureAfter(limit));
            }
            let usual = Config::default().probe_life;
            if breaker.config.probe_life == usual {
                let longest = limit.or(total).unwrap_or_default();
                let slow = breaker.config.slow_calls.map(|(threshold, _)| threshold);
                breaker.config.probe_life = usual.max(longest).max(slow.unwrap_or_default());
            }
        }
        let judged = breaker.as_ref().map(|breaker| breaker.config);
        told.push(
            "circuit_breaker",
            judged.as_ref().map(tell::circuit_breaker),
        );
        let mut breaker = breaker.unwrap_or_else(|| self::breaker().mode(Mode::Off));
        named.give(&mut breaker.name, &mut breaker.observer);
        let circuit_breaker = breaker.retracked(|()| tracker).build()?;

        told.push("bulkhead", told_bulkhead);
        told.push(ATTEMPT_TIMEOUT, limit.map(tell::attempt_timeout));
        let deadline = self.deadline.or_default(DeadlineLayer::new);
        let told_deadline = |deadline: &DeadlineLayer| {
            vec![(
                "header",
                P::DEADLINE.unwrap_or(deadline.header_name()).to_owned(),
            )]
        };
        told.push("deadline", deadline.as_ref().map(told_deadline));

        let mut checks = Checks::new(P::NAME);
        checks.timeout(total, body)?;
        if let Some(places) = places {
            checks.queue(total, retries.attempts, places)?;
        }
        checks.attempts(total, limit, retries, places)?;
        if let Some(judged) = &judged {
            checks.breaker(limit, judged, places)?;
        }
        told.warnings = checks.warnings();
        told.log();

        Ok(ClientStack {
            correlation: correlation
                .unwrap_or_else(|| CorrelationLayer::client().off())
                .named(&self.name)?,
            timeout,
            retry,
            with: self.with,
            circuit_breaker,
            bulkhead,
            attempt,
            deadline: deadline.unwrap_or_else(DeadlineLayer::off),
            description: Arc::new(told),
        })
    }
}

/// The time limit of an attempt, or one that ends nothing.
fn attempt_timeout(limit: Option<Duration>) -> TimeoutBuilder<Fixed, BodyLimits> {
    // In gRPC the limit covers an attempt to its last trailer, as its server is told. Idle bodies are the business of the time limit for
    // the whole call.
    let mut cover = BodyLimits::DEFAULT;
    cover.idle = None;
    cover.client = true;
    cover.off = limit.is_none();
    let policy = Fixed(CallLimit::set(limit.unwrap_or(Duration::MAX)));
    let builder = TimeoutBuilder::of(policy, cover).called(ATTEMPT_TIMEOUT);
    match limit {
        Some(_) => builder,
        None => builder.off(),
    }
}

/// What the time limit of an attempt calls itself.
const ATTEMPT_TIMEOUT: &str = "attempt_timeout";

impl<P: Protocol, W> fmt::Debug for ClientBuilder<P, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("kind", &P::NAME)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
