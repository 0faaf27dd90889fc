//! Builds the stack of a client for any request type.

use std::fmt;
use std::sync::Arc;

use tower_layer::Identity;

use super::client_stack::{AnyClientStack, Parts};
use super::deadline::CarriedDeadlineLayer;
use super::parts::{AnyTimeout, ClientTimeout, IntoRetry, MaybeRetry, NoRetry};
use super::propagate::{Carried, NoContext, Propagate};
use crate::call::track::AtResponse;
use crate::layers::circuit_breaker::CircuitBreakerBuilder;
use crate::layers::correlation::{Client, CorrelationLayer};
use crate::layers::deadline;
use crate::layers::keyed::{Keying, OneForAll};
use crate::observe::event::Observer;
use crate::registry::JoinedRegistry;
use crate::stack::description::Description;
use crate::stack::live::Live;
use crate::stack::numbers::Numbers;
use crate::stack::part::{Slot, Stack};
use crate::stack::parts::describe_correlation;
use crate::stack::parts::{Bulkhead, CircuitBreaker, RateLimit};
use crate::stack::refine::Refine;
use crate::stack::setters::{
    any_key_setters, attempt_timeout_setters, build_method, bulkhead_setters,
    circuit_breaker_remover, classifier_setters, observer_setter, rate_limit_setter,
    registry_setters,
};
use crate::stack::settings::AnyClientSettings;
use crate::vocabulary::{config::ConfigError, name, outcome::ErrorsFail};

/// The kind of the stack in its description.
const KIND: &str = "client";

/// Builds the standard stack of a client for any request type: timeout, retry, rate limit (off by
/// default), circuit breaker, bulkhead, attempt timeout.
///
/// It is for clients of a database, a cache, a queue or your own protocol. The layers, their order
/// and their defaults are those of [`http::client`](crate::stack), except that the stack knows
/// nothing of your requests:
///
/// - It retries nothing until you set a [`retry`](AnyClientBuilder::retry).
/// - An error is a failure, unless you [`classify`](AnyClientBuilder::classify) results.
/// - It [propagates](AnyClientBuilder::propagate) the [context](crate::Context) only if you say so,
///   in requests that implement [`Carry`](crate::Carry).
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
/// Rejections, cancellation and cost are those of its layers. Its error is the service's error,
/// grown to carry a rejection: see [`WithRejection`](crate::WithRejection).
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
        registry: JoinedRegistry::default(),
        keying: OneForAll,
    }
}

/// The builder of an [`AnyClientStack`], created by [`mainstay::client`](crate::client).
///
/// Each setter states its default and the reason for it. The order of the setters does not matter.
#[must_use = "a builder does nothing until `build` is called"]
pub struct AnyClientBuilder<
    R = NoRetry,
    C: Clone = ErrorsFail,
    K = NoContext,
    Q: Keying = OneForAll,
> {
    name: String,
    classifier: C,
    correlation: Option<CorrelationLayer<Client>>,
    parts: Parts<R, C, Q>,
    context: K,
    observer: Option<Arc<dyn Observer>>,
    registry: JoinedRegistry,
    keying: Q,
}

impl<R, C: Clone, K, Q: Keying> AnyClientBuilder<R, C, K, Q> {
    /// Sets the time limit of a call with all its attempts. Default 30 seconds, for calls without a
    /// deadline: the default must not fail a call that would succeed.
    ///
    /// A limit that is set becomes the deadline of the call, which is
    /// [propagated](Self::propagate). The default is not.
    ///
    /// It takes a `Duration` or a [`TimeoutLayer::builder()`](crate::TimeoutLayer::builder).
    pub fn timeout(mut self, limit: impl Refine<AnyTimeout<NoContext>>) -> Self {
        self.parts.timeout.refine(limit, ClientTimeout::settings());
        self
    }

    /// Removes the time limit. Default 30 seconds. The deadline of the [`Context`](crate::Context)
    /// still applies.
    pub fn without_timeout(mut self) -> Self {
        self.parts.timeout = Slot::Off;
        self
    }

    /// Sets all settings at once, such as those of a configuration. They replace what other setters
    /// have set, except names, observers, classifiers, policies and headers.
    /// Without a [`retry`](Self::retry) policy there is no retry.
    pub fn settings(mut self, settings: AnyClientSettings) -> Self {
        let parts = &mut self.parts;
        let of_timeout = settings.timeout;
        parts.timeout.put(ClientTimeout::settings, |timeout| {
            timeout.settings(of_timeout)
        });
        if let Slot::Set(retry) = &mut parts.retry {
            retry.put(settings.retry);
        }
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

    /// Sets the retry. Default none, because only you know which requests may be repeated.
    ///
    /// It takes a [`RetryLayer::builder()`](crate::RetryLayer::builder) with a
    /// [`RetryPolicy`](crate::RetryPolicy) or closures, or a number of attempts for requests that
    /// are `Clone` and may all be repeated. Back-off and budget are those of
    /// [`RetryLayer`](crate::RetryLayer). A short time limit shortens the default back-off: all
    /// waits together take at most a quarter of it.
    pub fn retry<P: IntoRetry>(self, retry: P) -> AnyClientBuilder<P::Policy, C, K, Q> {
        self.with_types(
            |_| MaybeRetry::on(retry.into_retry()),
            |classifier, context, keying| (classifier, context, keying),
        )
    }

    /// Removes the retry, as by default: each call is one attempt, and requests need not be
    /// `Clone`.
    pub fn without_retry(self) -> AnyClientBuilder<NoRetry, C, K, Q> {
        self.with_types(
            |_| MaybeRetry::off(),
            |classifier, context, keying| (classifier, context, keying),
        )
    }

    classifier_setters!(AnyClientBuilder<R, _, K, Q>);

    /// Sets when the circuit opens. Default: when half of at least 20 attempts within 10 seconds
    /// failed, for 5 seconds at first, so that a few failures of a quiet hour do not open it.
    ///
    /// The numbers are those of [`CircuitBreakerLayer`](crate::CircuitBreakerLayer), except that a
    /// probe may take as long as any attempt.
    pub fn circuit_breaker(mut self, circuit_breaker: CircuitBreakerBuilder) -> Self {
        self.parts.circuit_breaker = Slot::Set(circuit_breaker.retracked(drop));
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
        /// A limit keeps a hanging upstream from taking all memory and connections.
    );

    attempt_timeout_setters!();

    /// Propagates the [`Context`](crate::Context) in requests, which must implement
    /// [`Carry`](crate::Carry). By default nothing is propagated, so that any request type works.
    ///
    /// This layer writes the correlation ID, by default to `x-correlation-id`. Each attempt gets
    /// its remaining time in milliseconds in `x-request-timeout-ms`, unless only the default time
    /// limit applies. An attempt whose deadline has passed is rejected by the layer `deadline`.
    pub fn propagate(
        mut self,
        correlation: CorrelationLayer<Client>,
    ) -> AnyClientBuilder<R, C, Carried, Q> {
        self.correlation = Some(correlation);
        self.with_types(
            |retry| retry,
            |classifier, _, keying| (classifier, Carried, keying),
        )
    }

    observer_setter!();

    registry_setters!();

    fn with_classifier<D: Clone>(self, classifier: D) -> AnyClientBuilder<R, D, K, Q> {
        self.with_types(
            |retry| retry,
            |_, context, keying| (classifier, context, keying),
        )
    }

    fn with_keying<G: Keying>(self, keying: G) -> AnyClientBuilder<R, C, K, G> {
        self.with_types(
            |retry| retry,
            |classifier, context, _| (classifier, context, keying),
        )
    }

    /// Changes the type parameters.
    fn with_types<P, D: Clone, L, G: Keying>(
        self,
        retry: impl FnOnce(MaybeRetry<R>) -> MaybeRetry<P>,
        by: impl FnOnce(C, K, Q) -> (D, L, G),
    ) -> AnyClientBuilder<P, D, L, G> {
        let (classifier, context, keying) = by(self.classifier, self.context, self.keying);
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
            registry: self.registry,
            keying,
        }
    }

    fn try_build<L: Propagate>(
        self,
        correlation: impl FnOnce(
            Option<CorrelationLayer<Client>>,
            &Stack<'_, AtResponse<C>, Q>,
        ) -> Result<(L::Client, L::Deadline), ConfigError>,
    ) -> Result<AnyClientStack<R, C, L, Q>, ConfigError> {
        name::check(KIND, &self.name)?;
        let stack = Stack {
            name: &self.name,
            observer: self.observer,
            tracker: AtResponse(self.classifier),
            keying: self.keying,
        };
        let mut description = Description::new(KIND, &self.name);
        description.push(
            "correlation",
            self.correlation.as_ref().map(describe_correlation),
        );
        let mut numbers = Numbers::default();
        let layers = self.parts.build(&stack, &mut description, &mut numbers)?;
        let field = || vec![("field", deadline::FIELD.to_owned())];
        description.push(deadline::LAYER, L::CARRIES.then(field));
        let (correlation, deadline) = correlation(self.correlation, &stack)?;
        let members = layers.members();
        let live = Arc::new(Live::new(&members, &numbers, description));
        self.registry.join(live.clone(), &members);
        Ok(AnyClientStack {
            correlation,
            layers,
            deadline,
            live,
        })
    }
}

impl<R, C: Clone, Q: Keying> AnyClientBuilder<R, C, NoContext, Q> {
    build_method!(AnyClientStack<R, C, NoContext, Q>, |builder| builder
        .try_build(|_, _| Ok((Identity::new(), Identity::new()))));
}

impl<R, C: Clone, Q: Keying> AnyClientBuilder<R, C, Carried, Q> {
    build_method!(AnyClientStack<R, C, Carried, Q>, |builder| builder.try_build(|correlation, stack| {
        let correlation = correlation.unwrap_or_else(CorrelationLayer::client);
        let deadline = CarriedDeadlineLayer::new(stack.name, stack.observer.clone())?;
        Ok((correlation.named(stack.name)?, deadline))
    }));
}

any_key_setters!(
    AnyClientBuilder<R, C: Clone, K>,
    "circuit breaker, bulkhead and retry budget",
    /// For a client of several upstreams, so that a dead one does not open the circuit of the others
    /// or use their retries. The retry's [settings](crate::RetryBuilder::settings) set the budgets.
    /// A [`RetryBudget`](crate::RetryBudget) is one for all keys.
    ///
    /// ```
    /// struct Query { shard: &'static str }
    ///
    /// let stack = mainstay::client("search").keyed(|query: &Query| query.shard.into()).build()?;
    /// # Ok::<_, mainstay::ConfigError>(())
    /// ```
);

impl<R, C: Clone, K, Q: Keying> fmt::Debug for AnyClientBuilder<R, C, K, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyClientBuilder")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
