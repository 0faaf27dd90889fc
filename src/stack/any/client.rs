//! Builds the stack of a client for any request type.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower_layer::Identity;

use super::client_stack::{AnyClientStack, Parts};
use super::deadline::{CarriedDeadlineLayer, FIELD, LAYER as DEADLINE};
use super::parts::{AnyTimeout, ClientTimeout, IntoRetry, MaybeRetry, NoRetry};
use super::propagate::{Carried, NoContext, Propagate};
use crate::call::track::AtResponse;
use crate::layers::circuit_breaker::CircuitBreakerBuilder;
use crate::layers::correlation::{Client, CorrelationLayer};
use crate::observe::event::Observer;
use crate::stack::description::Description;
use crate::stack::part::{Slot, Stack};
use crate::stack::parts::{
    Bulkhead, RateLimit, StackBulkhead, StackRateLimit, describe_correlation,
};
use crate::stack::refine::Refine;
use crate::vocabulary::config::OfInstance as _;
use crate::vocabulary::{
    config::ConfigError,
    name,
    outcome::{ClassifyFn, ErrorsFail, Verdict},
};

/// The kind of the stack in its description.
const KIND: &str = "client";

/// The standard stack of a client for any request type: timeout, retry, rate limit (off
/// by default), circuit breaker, bulkhead, attempt timeout.
///
/// For what is neither HTTP nor gRPC: a database, a cache, a queue, a protocol of your own. The layers, their order and their
/// defaults are those of [`http::client`](crate::stack), except for what only you can know of a request:
///
/// - Nothing is [retried](AnyClientBuilder::retry) unless you say so.
/// - An error is a failure, unless you [classify](AnyClientBuilder::classify) results.
/// - The [context](crate::Context) is [propagated](AnyClientBuilder::propagate) in the request only if you say so, and if the
///   request implements [`Carry`](crate::Carry).
///
/// ```
/// use mainstay::{Error, Outcome};
/// use std::time::Duration;
/// use tower::{Service, ServiceExt, service_fn};
///
/// #[derive(Clone)]
/// enum Command { Get(&'static str), Set(&'static str, String) }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), mainstay::BoxError> {
/// let stack = mainstay::client("cache")
///     .timeout(Duration::from_millis(200))
///     .retry(mainstay::RetryLayer::builder().attempts(2).retry_if(
///         |command: &Command, result: Result<&Option<String>, &Error<std::io::Error>>| {
///             matches!(command, Command::Get(_)) && result.is_err()
///         },
///     ))
///     .classify(|result: Result<&Option<String>, &Error<std::io::Error>>| match result {
///         Err(Error::Inner(e)) if e.kind() == std::io::ErrorKind::InvalidInput => Outcome::Ignored,
///         Err(_) => Outcome::Failure,
///         Ok(_) => Outcome::Success,
///     })
///     .bulkhead(64)
///     .build()?;
/// let mut cache = stack.wrap(service_fn(|command: Command| async move {
///     Ok::<_, std::io::Error>(match command {
///         Command::Get(key) => Some(key.to_uppercase()),
///         Command::Set(..) => None,
///     })
/// }));
///
/// let answer = cache.ready().await?.call(Command::Get("a")).await?;
/// assert_eq!(answer.as_deref(), Some("A"));
/// # let _ = Command::Set("a", String::new());
/// # Ok(())
/// # }
/// ```
///
/// What it rejects, what dropping a call does and what it costs are those of its layers. The error grows as in each of them: see
/// [`WithRejection`](crate::WithRejection).
pub fn client(name: impl Into<String>) -> AnyClientBuilder {
    let parts = Parts {
        retry: Slot::Set(MaybeRetry::off()),
        ..Parts::default()
    };
    AnyClientBuilder {
        name: name.into(),
        classifier: ErrorsFail,
        correlation: None,
        parts,
        context: NoContext,
        observer: None,
    }
}

/// Builds an [`AnyClientStack`]: begin with [`mainstay::client`](crate::client).
///
/// Each method says first what the default of its layer is, and why. The order in which the methods are called makes no
/// difference.
#[must_use = "a builder does nothing until `build` is called"]
pub struct AnyClientBuilder<R = NoRetry, C: Clone = ErrorsFail, K = NoContext> {
    name: String,
    classifier: C,
    correlation: Option<CorrelationLayer<Client>>,
    parts: Parts<R, C>,
    context: K,
    observer: Option<Arc<dyn Observer>>,
}

impl<R, C: Clone, K> AnyClientBuilder<R, C, K> {
    /// Sets how long a call may take with all its attempts. Default 30 seconds, for calls without a deadline of their own: a
    /// limit that nobody set must not fail a call that would have succeeded.
    ///
    /// A limit that is set is the deadline of the call, which the layers obey and which is
    /// [propagated](Self::propagate). The default is not propagated.
    ///
    /// It takes a `Duration` or a [`TimeoutLayer::builder()`](crate::TimeoutLayer::builder).
    pub fn timeout(mut self, limit: impl Refine<AnyTimeout<NoContext>>) -> Self {
        self.parts.timeout.refine(limit, ClientTimeout::settings());
        self
    }

    /// Leaves the time limit out: only the deadline of the [`Context`](crate::Context) holds. By default it is in the stack, with
    /// 30 seconds.
    pub fn without_timeout(mut self) -> Self {
        self.parts.timeout = Slot::Off;
        self
    }

    /// Sets what is retried. Default: nothing, because only you know which requests may be repeated.
    ///
    /// It takes a [`RetryLayer::builder()`](crate::RetryLayer::builder) with a
    /// [`RetryPolicy`](crate::RetryPolicy) or closures of your own; or a number of attempts, for requests that are `Clone` and may
    /// all be repeated. Back-off and budget are those of [`RetryLayer`](crate::RetryLayer). In a call with a short limit the
    /// back-off is shorter: all waits together are at most a quarter of the limit.
    pub fn retry<P: IntoRetry>(self, retry: P) -> AnyClientBuilder<P::Policy, C, K> {
        self.of_type(
            |_| MaybeRetry::on(retry.into_retry()),
            |classifier, context| (classifier, context),
        )
    }

    /// Leaves the retry out, the default: one attempt for each call. Requests need not be `Clone` then.
    pub fn without_retry(self) -> AnyClientBuilder<NoRetry, C, K> {
        self.of_type(
            |_| MaybeRetry::off(),
            |classifier, context| (classifier, context),
        )
    }

    /// Classifies results by a closure, which returns an [`Outcome`](crate::Outcome) or a [`Verdict`]. Default: a response is a
    /// success, an error is a failure. All layers of the stack classify alike.
    ///
    /// The error is the grown one: see [`WithRejection`](crate::WithRejection).
    pub fn classify<Res, Err, V, F>(self, classify: F) -> AnyClientBuilder<R, Arc<ClassifyFn<F>>, K>
    where
        F: Fn(Result<&Res, &Err>) -> V,
        V: Into<Verdict>,
    {
        self.of_type(
            |retry| retry,
            |_, context| (Arc::new(ClassifyFn(classify)), context),
        )
    }

    /// Classifies results by a [`Classify`](crate::Classify) of your own: see [`classify`](Self::classify).
    pub fn classifier<D>(self, classifier: D) -> AnyClientBuilder<R, Arc<D>, K> {
        self.of_type(|retry| retry, |_, context| (Arc::new(classifier), context))
    }

    /// Sets when the circuit opens. Default: when half of at least 20 attempts within 10 seconds failed, for 5 seconds at first,
    /// so that a few failures of a quiet hour do not open it.
    ///
    /// The numbers are those of [`CircuitBreakerLayer`](crate::CircuitBreakerLayer), except that a probe may take as long as any
    /// attempt.
    pub fn circuit_breaker(mut self, circuit_breaker: CircuitBreakerBuilder) -> Self {
        self.parts.circuit_breaker = Slot::Set(circuit_breaker.retracked(drop));
        self
    }

    /// Leaves the circuit breaker out: calls to a failing upstream go on. By default it is in the stack.
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

    /// Sets how many attempts may be in flight. Default: no limit, because no number fits all healthy programs.
    ///
    /// It takes a number, or a [`BulkheadLayer::builder()`](crate::BulkheadLayer::builder) with a queue or without. A limit of
    /// your own keeps a hanging upstream from taking all of this process's memory and connections.
    pub fn bulkhead(mut self, bulkhead: impl Refine<StackBulkhead>) -> Self {
        self.parts.bulkhead.refine(bulkhead, Bulkhead::settings());
        self
    }

    /// Leaves the bulkhead out. By default it is in the stack and has no limit: it counts the attempts in flight, for snapshots
    /// and metrics.
    pub fn without_bulkhead(mut self) -> Self {
        self.parts.bulkhead = Slot::Off;
        self
    }

    /// Sets how long one attempt may take. Default: no limit but the time for the whole call, because any number would fail the
    /// healthy answers that take longer.
    ///
    /// Set it where an attempt that hangs should be retried: the limit ends the attempt, the circuit breaker counts a failure, and
    /// the retry sends the next one. Choose a number above the slowest healthy answer.
    pub fn attempt_timeout(mut self, limit: Duration) -> Self {
        self.parts.attempt_timeout = Slot::Set(limit);
        self
    }

    /// Lets an attempt take as long as the whole call: the default.
    pub fn without_attempt_timeout(mut self) -> Self {
        self.parts.attempt_timeout = Slot::Off;
        self
    }

    /// Propagates the [`Context`](crate::Context) in requests, which implement [`Carry`](crate::Carry). Default: nothing is
    /// propagated, so that requests of any type are fine.
    ///
    /// The correlation ID is written as this layer says, by default to `x-correlation-id`. What is left until the deadline is
    /// written to `x-request-timeout-ms`, in milliseconds, for each attempt anew. A default limit that nobody set is not written.
    /// An attempt whose deadline has passed is rejected by `deadline`.
    pub fn propagate(
        mut self,
        correlation: CorrelationLayer<Client>,
    ) -> AnyClientBuilder<R, C, Carried> {
        self.correlation = Some(correlation);
        self.of_type(|retry| retry, |classifier, _| (classifier, Carried))
    }

    /// Sets the observer of all layers that have none of their own: a type that is an [`Observer`], or
    /// `|event: &mainstay::Event| ...`. Default: none.
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// The same settings in a builder of another type.
    fn of_type<Q, D: Clone, L>(
        self,
        retry: impl FnOnce(MaybeRetry<R>) -> MaybeRetry<Q>,
        by: impl FnOnce(C, K) -> (D, L),
    ) -> AnyClientBuilder<Q, D, L> {
        let (classifier, context) = by(self.classifier, self.context);
        AnyClientBuilder {
            name: self.name,
            classifier,
            correlation: self.correlation,
            parts: Parts {
                timeout: self.parts.timeout,
                retry: self.parts.retry.map(retry),
                circuit_breaker: self.parts.circuit_breaker,
                rate_limit: self.parts.rate_limit,
                bulkhead: self.parts.bulkhead,
                attempt_timeout: self.parts.attempt_timeout,
            },
            context,
            observer: self.observer,
        }
    }

    fn built<L: Propagate>(
        self,
        correlation: impl FnOnce(
            Option<CorrelationLayer<Client>>,
            &Stack<'_, AtResponse<C>>,
        ) -> Result<(L::Client, L::Deadline), ConfigError>,
    ) -> Result<AnyClientStack<R, C, L>, ConfigError> {
        name::check(KIND, &self.name)?;
        let stack = Stack {
            name: &self.name,
            observer: self.observer,
            tracker: AtResponse(self.classifier),
        };
        let mut description = Description::new(KIND, &self.name);
        description.push(
            "correlation",
            self.correlation.as_ref().map(describe_correlation),
        );
        let layers = self.parts.build(&stack, &mut description)?;
        let field = || vec![("field", FIELD.to_owned())];
        description.push(DEADLINE, L::CARRIES.then(field));
        let (correlation, deadline) = correlation(self.correlation, &stack)?;
        Ok(AnyClientStack {
            correlation,
            layers,
            deadline,
            description: Arc::new(description),
        })
    }
}

impl<R, C: Clone> AnyClientBuilder<R, C> {
    /// Builds the stack, or says which setting is refused and why.
    ///
    /// # Errors
    ///
    /// When a layer refuses a value, or two settings contradict each other: the error names both, and a value that would fit. A
    /// setting that is only unwise becomes a [warning](Description::warnings).
    pub fn build(self) -> Result<AnyClientStack<R, C>, ConfigError> {
        let name = self.name.clone();
        self.built(|_, _| Ok((Identity::new(), Identity::new())))
            .of_instance(Some(&name))
    }
}

impl<R, C: Clone> AnyClientBuilder<R, C, Carried> {
    /// Builds the stack, or says which setting is refused and why.
    ///
    /// # Errors
    ///
    /// When a layer refuses a value, or two settings contradict each other: the error names both, and a value that would fit. A
    /// setting that is only unwise becomes a [warning](Description::warnings).
    pub fn build(self) -> Result<AnyClientStack<R, C, Carried>, ConfigError> {
        let name = self.name.clone();
        self.built(|correlation, stack| {
            let correlation = correlation.unwrap_or_else(CorrelationLayer::client);
            let deadline = CarriedDeadlineLayer::new(stack.name, stack.observer.clone())?;
            Ok((correlation.named(stack.name)?, deadline))
        })
        .of_instance(Some(&name))
    }
}

impl<R, C: Clone, K> fmt::Debug for AnyClientBuilder<R, C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyClientBuilder")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
