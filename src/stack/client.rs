//! Builds the stack of a client.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower_layer::{Identity, Stack};

use super::attempt::AttemptLimit;
use super::checks::Checks;
use super::client_stack::ClientStack;
use super::description::Description;
use super::judge::RefineJudging;
use super::numbers::{BodyNumbers, BulkheadNumbers, RetryNumbers, backoff_for, fitting};
use super::part::{Named, Part};
use super::protocol::Protocol;
use super::refine::{Refine, StackBreaker, StackBulkhead, StackRetry, StackTimeout};
use super::tell;
use crate::config::OfInstance as _;
use crate::correlation::{Client, CorrelationLayer};
use crate::http::{DeadlineLayer, EndOfBody};
use crate::policy::backoff::Backoff;
use crate::policy::breaker::Config;
use crate::timeout::{self, TimeoutBuilder, TimeoutLayer};
use crate::{ConfigError, Mode, Observer, OnCancel, name};

/// For all attempts of a call together, where nothing else is said.
const TOTAL: Duration = Duration::from_secs(10);

/// Builds a [`ClientStack`]: begin with [`http::client`](crate::http::client), [`grpc::client`](crate::grpc::client) or
/// [`reqwest::client`](crate::reqwest::client).
///
/// What each layer is by itself, and why, is said at its method. The order in which the methods are called makes no difference.
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
    attempt: Part<Duration>,
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
            attempt: Part::Default,
            deadline: Part::Default,
            observer: None,
        }
    }
}

fn timeout() -> StackTimeout {
    let mut timeout = crate::http::timeout();
    timeout.policy.own = Some(TOTAL);
    timeout
}

fn breaker() -> StackBreaker {
    StackBreaker::tracked_by(())
}

impl<P: Protocol, W> ClientBuilder<P, W> {
    /// How the correlation ID is written: by default to `x-correlation-id`, for that is what most who have one call it.
    pub fn correlation(mut self, correlation: CorrelationLayer<Client>) -> Self {
        self.correlation = Part::Set(correlation);
        self
    }

    /// How long a call may take with all its attempts: 10 seconds by default. A person waits no longer than that (Nielsen, "Usability
    /// Engineering", 1993), and a service should give up before its own caller does.
    ///
    /// It ends at the head of the response; a body that makes no progress is ended after a minute, which frees what it holds. To refine that, give it
    /// what [`http::timeout()`](crate::http::timeout()) begins.
    pub fn timeout(mut self, limit: impl Refine<StackTimeout>) -> Self {
        self.timeout.refine(limit, timeout());
        self
    }

    /// No time limit but the deadline of the [`Context`](crate::Context), and none on bodies.
    pub fn without_timeout(mut self) -> Self {
        self.timeout = Part::Off;
        self
    }

    /// How often a call is attempted: 3 times in all by default, where it may be repeated, with a back-off that grows from 50 milliseconds (less in
    /// a short call, and all together at most to a quarter of its time) and full jitter, within a budget of one retry for five calls. The numbers are those of [`RetryLayer`](crate::RetryLayer);
    /// gRPC and the standard pipelines of others attempt as often.
    ///
    /// What is repeated, [`HttpRetry`](crate::http::HttpRetry) and [`GrpcRetry`](crate::grpc::GrpcRetry) say.
    pub fn retry(mut self, retry: impl Refine<StackRetry<P>>) -> Self {
        self.retry.refine(retry, P::retry());
        self
    }

    /// One attempt for each call.
    pub fn without_retry(mut self) -> Self {
        self.retry = Part::Off;
        self
    }

    /// A layer of another kind, which sees each attempt: inside of the retry, outside of the circuit breaker. For a signature or a token
    /// that is made anew for each attempt, say. Of several, the first is the outermost. What is to see each call once goes around the stack, what is to
    /// see only what is sent goes around the service.
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

    /// When it stops to call what is broken: by default when half of at least 20 attempts within 10 seconds failed, for 5 seconds at first. The numbers are
    /// those of [`CircuitBreakerLayer`](crate::CircuitBreakerLayer), and a probe may take as long as any attempt. To look at its state, take
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

    /// Goes on calling what is broken.
    pub fn without_circuit_breaker(mut self) -> Self {
        self.circuit_breaker = Part::Off;
        self
    }

    /// How many attempts may be in flight: no limit by default. Attempts are counted to the end of
    /// their body. A healthy program may have thousands of them that only wait (long polls, watches),
    /// so no fixed number fits all. A limit of your own keeps a hanging upstream from taking all of
    /// this process's memory and connections: its usual calls in flight, and a half more for bursts.
    pub fn bulkhead(mut self, bulkhead: impl Refine<StackBulkhead>) -> Self {
        self.bulkhead.refine(bulkhead, super::bulkhead());
        self
    }

    /// As many attempts in flight as there are.
    pub fn without_bulkhead(mut self) -> Self {
        self.bulkhead = Part::Off;
        self
    }

    /// How long one attempt may take, up to the head of its response. By default as long as lets all of them fit into the time for the whole call, with the
    /// longest waits between them: of 10 seconds and 3 attempts, 3.28 seconds. That is only for attempts that another one can follow. The last one has what is
    /// left, and so has one that nobody repeats when it times out: a POST without an `Idempotency-Key`, and in gRPC all of them, as long as the retry's codes do
    /// not include `DEADLINE_EXCEEDED`. What you set yourself holds for every attempt.
    pub fn attempt_timeout(mut self, limit: Duration) -> Self {
        self.attempt = Part::Set(limit);
        self
    }

    /// An attempt may take as long as the whole call. One that hangs is then the only one, and to the circuit breaker a cancelled call.
    pub fn without_attempt_timeout(mut self) -> Self {
        self.attempt = Part::Off;
        self
    }

    /// How the next service is told how long it has: by default in `x-request-timeout-ms`, or in gRPC in `grpc-timeout`.
    pub fn deadline(mut self, deadline: DeadlineLayer) -> Self {
        self.deadline = Part::Set(deadline);
        self
    }

    /// Tells the next service nothing of the deadline.
    pub fn without_deadline(mut self) -> Self {
        self.deadline = Part::Off;
        self
    }

    /// Leaves the correlation ID to somebody else.
    pub fn without_correlation(mut self) -> Self {
        self.correlation = Part::Off;
        self
    }

    /// Tells this observer what all the layers decide that have none of their own: a type that is an [`Observer`], or `|event: &mainstay::Event| ...`.
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// The stack, or which setting is refused and why.
    ///
    /// # Errors
    ///
    /// When a layer refuses a value, or two settings contradict each other: the error names both, and what would fit. What is only unwise becomes a
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

        // Without a limit for the whole call, or without another attempt, each attempt has its own.
        let follows =
            matches!(self.attempt, Part::Default) && total.is_some() && retries.attempts > 1;
        let is_set = matches!(self.attempt, Part::Set(_));
        let derived = || fitting(total.unwrap_or(TOTAL), &retries, places);
        let limit = self.attempt.or_default(derived);
        let limits = limit.map(|limit| AttemptLimit { limit, follows });
        let mut attempt = attempt_timeout(limits);
        named.give(&mut attempt.name, &mut attempt.observer);
        if let Some(limit) = limit {
            timeout::check(ATTEMPT_TIMEOUT, "timeout", limit)?;
        }
        let attempt = attempt.finish(|limit| limit)?;

        let mut breaker = self.circuit_breaker.or_default(breaker);
        if let Some(breaker) = &mut breaker {
            if let (None, true, Some(limit)) = (breaker.config.on_cancel, is_set, limit) {
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
        told.push(ATTEMPT_TIMEOUT, limits.map(tell::attempt_timeout));
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
        checks.attempts(total, limits, retries, places)?;
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
fn attempt_timeout(limit: Option<AttemptLimit>) -> TimeoutBuilder<AttemptLimit> {
    let builder = TimeoutLayer::builder().called(ATTEMPT_TIMEOUT);
    match limit {
        Some(limit) => builder.by(limit),
        None => builder.off().by(AttemptLimit::NONE),
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
