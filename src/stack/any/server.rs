//! The stack of a server for any request type.

use std::fmt;
use std::sync::Arc;

use tower_layer::{Identity, Layer};

use super::parts::{AnyLimit, AnyTimeout, ServerTimeout, ignore_inbound, with_context};
use super::propagate::{Carried, NoContext, Propagate};
use crate::call::track::AtResponse;
use crate::layers::bulkhead::{self, Bulkhead, BulkheadLayer, Queued};
use crate::layers::correlation::{Consumer, CorrelationLayer};
use crate::layers::load_shed::{self, Limited, LoadShed, LoadShedLayer};
use crate::layers::rate_limit::{self, RateLimit, RateLimitLayer, Waiting};
use crate::layers::timeout::{self, Timeout};
use crate::observe::event::Observer;
use crate::stack::description::Description;
use crate::stack::list::list;
use crate::stack::part::{Slot, Stack};
use crate::stack::parts::{
    Bulkhead as BulkheadPart, LoadShed as LoadShedPart, RateLimit as RateLimitPart, StackBulkhead,
    StackLoadShed, StackRateLimit, describe_correlation,
};
use crate::stack::refine::Refine;
use crate::vocabulary::config::OfInstance as _;
use crate::vocabulary::{
    config::ConfigError,
    name,
    outcome::{ClassifyFn, ErrorsFail, Verdict},
};

/// The kind of the stack in its description.
const KIND: &str = "server";

list! {
    /// The snapshots of the layers of a server's stack for any request type, of those that are in it: see
    /// [`snapshot`](crate::snapshot).
    #[derive(Eq)]
    snapshot AnyServerSnapshot;
    settings Parts, layers Layers, tracker AtResponse<C>;
    parameters [C: Clone, K: Propagate] [C, K];
    outer Requests[K] of Sized {
        timeout: ServerTimeout<K>, Timeout<_, AnyLimit<K>>, timeout::Snapshot, "The time limit.";
    }
    inner Limits[C] {
        rate_limit: RateLimitPart, RateLimit<_, Waiting, AtResponse<C>>, rate_limit::Snapshot, "The rate limit.";
        load_shed: LoadShedPart, LoadShed<_, Limited<AtResponse<C>>>, load_shed::Snapshot, "The load shedder.";
        bulkhead: BulkheadPart, Bulkhead<_, Queued, AtResponse<C>>, bulkhead::Snapshot, "The bulkhead.";
    }
}

/// The standard stack of a server for any request type: timeout, rate limit (off by
/// default), load shed, bulkhead.
///
/// For what is neither HTTP nor gRPC: frames of a protocol of your own, messages of a queue, jobs. The layers, their order and
/// their defaults are those of [`http::server`](crate::stack). The differences:
///
/// - A rejection is not answered by the stack, which does not know your protocol: it is the error of the call. Errors grow as in
///   each of the layers: see [`WithRejection`](crate::WithRejection).
/// - An error is a failure, unless you [classify](AnyServerBuilder::classify) results.
/// - The [context](crate::Context) of a request is read only if you [say so](AnyServerBuilder::propagate), and if the request
///   implements [`Carry`](crate::Carry).
///
/// ```
/// use std::convert::Infallible;
/// use std::time::Duration;
/// use tower::{Service, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), mainstay::BoxError> {
/// let stack = mainstay::server("jobs").timeout(Duration::from_millis(20)).bulkhead(64).build()?;
/// let mut jobs = stack.wrap(service_fn(|job: String| async move {
///     if job == "hang" {
///         std::future::pending::<()>().await;
///     }
///     Ok::<_, Infallible>(format!("{job} is done"))
/// }));
///
/// assert_eq!(jobs.ready().await?.call("mail".to_owned()).await?, "mail is done");
/// let rejection = jobs.ready().await?.call("hang".to_owned()).await.unwrap_err();
/// assert_eq!(rejection.to_string(), "timeout `jobs`: the call took longer than the timeout of 20ms");
/// # Ok(())
/// # }
/// ```
///
/// What it rejects, what dropping a call does and what it costs are those of its layers.
pub fn server(name: impl Into<String>) -> AnyServerBuilder {
    AnyServerBuilder {
        name: name.into(),
        classifier: ErrorsFail,
        correlation: None,
        parts: Parts::default(),
        trusts_deadlines: true,
        observer: None,
    }
}

/// Builds an [`AnyServerStack`]: begin with [`mainstay::server`](crate::server).
///
/// Each method says first what the default of its layer is, and why. The order in which the methods are called makes no
/// difference.
#[must_use = "a builder does nothing until `build` is called"]
pub struct AnyServerBuilder<C: Clone = ErrorsFail, K: Propagate = NoContext> {
    name: String,
    classifier: C,
    correlation: Option<CorrelationLayer<Consumer>>,
    parts: Parts<C, K>,
    trusts_deadlines: bool,
    observer: Option<Arc<dyn Observer>>,
}

impl<C: Clone, K: Propagate> AnyServerBuilder<C, K> {
    /// Sets how long a request may take. Default 30 seconds: few healthy answers take longer, and a request that hangs is ended.
    ///
    /// A limit that is set is the deadline of the request, which handlers see and client stacks propagate. The default is neither
    /// shown nor propagated. It takes a `Duration` or a [`TimeoutLayer::builder()`](crate::TimeoutLayer::builder).
    pub fn timeout(mut self, limit: impl Refine<AnyTimeout<K>>) -> Self {
        let standard = ServerTimeout::<K>::settings();
        self.parts.timeout.refine(limit, standard);
        self
    }

    /// Leaves the time limit out, and callers' deadlines are not read. By default it is in the stack, with 30 seconds.
    pub fn without_timeout(mut self) -> Self {
        self.parts.timeout = Slot::Off;
        self
    }

    /// Sets how many requests are admitted per second. Default: no rate limit.
    ///
    /// It takes requests per second, or a builder: [`RateLimitLayer::builder()`](crate::RateLimitLayer::builder)
    /// with another period, a burst or a wait. All callers share the rate.
    pub fn rate_limit(mut self, rate: impl Refine<StackRateLimit>) -> Self {
        self.parts
            .rate_limit
            .refine(rate, RateLimitPart::settings());
        self
    }

    /// Sets how many requests may be in flight before others are shed. Default
    /// [`Limit::scheduler_lag`](crate::Limit::scheduler_lag): no limit while the process keeps pace, and one that adapts once ready
    /// tasks wait for a worker thread, because only that tells overload from a slow request.
    ///
    /// It takes a [`Limit`](crate::Limit) or a [`LoadShedLayer::builder()`](crate::LoadShedLayer::builder).
    pub fn load_shed(mut self, limit: impl Refine<StackLoadShed>) -> Self {
        self.parts.load_shed.refine(limit, LoadShedPart::settings());
        self
    }

    /// Leaves the load shedder out: nothing is shed. By default it is in the stack.
    pub fn without_load_shed(mut self) -> Self {
        self.parts.load_shed = Slot::Off;
        self
    }

    /// Sets how many requests may be in flight. Default: no limit, because no number fits all healthy servers. Overload is the task
    /// of the [load shedder](Self::load_shed).
    ///
    /// It takes a number, or a [`BulkheadLayer::builder()`](crate::BulkheadLayer::builder) with a queue or without.
    pub fn bulkhead(mut self, bulkhead: impl Refine<StackBulkhead>) -> Self {
        self.parts
            .bulkhead
            .refine(bulkhead, BulkheadPart::settings());
        self
    }

    /// Leaves the bulkhead out. By default it is in the stack and has no limit: it counts the requests in flight, for snapshots and
    /// metrics.
    pub fn without_bulkhead(mut self) -> Self {
        self.parts.bulkhead = Slot::Off;
        self
    }

    /// Classifies results by a closure, which returns an [`Outcome`](crate::Outcome) or a [`Verdict`]. Default: a response is a
    /// success, an error is a failure. All layers of the stack classify alike.
    ///
    /// The error is the grown one: see [`WithRejection`](crate::WithRejection).
    pub fn classify<Res, Err, V, F>(self, classify: F) -> AnyServerBuilder<Arc<ClassifyFn<F>>, K>
    where
        F: Fn(Result<&Res, &Err>) -> V,
        V: Into<Verdict>,
    {
        self.classifier(ClassifyFn(classify))
    }

    /// Classifies results by a [`Classify`](crate::Classify) of your own: see [`classify`](Self::classify).
    pub fn classifier<D>(self, classifier: D) -> AnyServerBuilder<Arc<D>, K> {
        AnyServerBuilder {
            name: self.name,
            classifier: Arc::new(classifier),
            correlation: self.correlation,
            parts: Parts {
                timeout: self.parts.timeout,
                load_shed: self.parts.load_shed,
                rate_limit: self.parts.rate_limit,
                bulkhead: self.parts.bulkhead,
            },
            trusts_deadlines: self.trusts_deadlines,
            observer: self.observer,
        }
    }

    /// Reads the [`Context`](crate::Context) from requests, which implement [`Carry`](crate::Carry). Default: nothing is read, so
    /// that requests of any type are fine.
    ///
    /// The correlation ID is read as this layer says, and made where there is none. The deadline is read from
    /// `x-request-timeout-ms`, the milliseconds that the caller has left. It holds where it is shorter than the
    /// [`timeout`](Self::timeout). Less than 10 milliseconds count as 10, zero is late already. For callers that are strangers, give
    /// it `CorrelationLayer::consumer().ignore_inbound()` and call [`ignore_inbound_deadline`](Self::ignore_inbound_deadline).
    pub fn propagate(
        self,
        correlation: CorrelationLayer<Consumer>,
    ) -> AnyServerBuilder<C, Carried> {
        AnyServerBuilder {
            name: self.name,
            classifier: self.classifier,
            correlation: Some(correlation),
            parts: Parts {
                timeout: self.parts.timeout.map(with_context),
                load_shed: self.parts.load_shed,
                rate_limit: self.parts.rate_limit,
                bulkhead: self.parts.bulkhead,
            },
            trusts_deadlines: self.trusts_deadlines,
            observer: self.observer,
        }
    }

    /// Ignores the deadlines of callers. By default they are believed where the context is [read](Self::propagate) at all, because
    /// an answer after the deadline is wasted work.
    pub fn ignore_inbound_deadline(mut self) -> Self {
        self.trusts_deadlines = false;
        self
    }

    /// Sets the observer of all layers that have none of their own: a type that is an [`Observer`], or
    /// `|event: &mainstay::Event| ...`. Default: none.
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    fn built(
        mut self,
        correlation: impl FnOnce(
            Option<CorrelationLayer<Consumer>>,
            &str,
        ) -> Result<K::Server, ConfigError>,
    ) -> Result<AnyServerStack<C, K>, ConfigError> {
        name::check(KIND, &self.name)?;
        if !self.trusts_deadlines {
            let standard = ServerTimeout::<K>::settings;
            self.parts.timeout.change(standard, ignore_inbound);
        }
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
        Ok(AnyServerStack {
            correlation: correlation(self.correlation, &self.name)?,
            layers,
            description: Arc::new(description),
        })
    }
}

impl<C: Clone> AnyServerBuilder<C> {
    /// Builds the stack, or says which setting is refused and why.
    ///
    /// # Errors
    ///
    /// When a layer refuses a value, or two settings contradict each other: the error names both, and a value that would fit. A
    /// setting that is only unwise becomes a [warning](Description::warnings).
    pub fn build(self) -> Result<AnyServerStack<C>, ConfigError> {
        let name = self.name.clone();
        let built = self.built(|_, _| Ok(Identity::new()));
        built.of_instance(Some(&name))
    }
}

impl<C: Clone> AnyServerBuilder<C, Carried> {
    /// Builds the stack, or says which setting is refused and why.
    ///
    /// # Errors
    ///
    /// When a layer refuses a value, or two settings contradict each other: the error names both, and a value that would fit. A
    /// setting that is only unwise becomes a [warning](Description::warnings).
    pub fn build(self) -> Result<AnyServerStack<C, Carried>, ConfigError> {
        let name = self.name.clone();
        let built = self.built(|correlation, name| {
            let correlation = correlation.unwrap_or_else(CorrelationLayer::consumer);
            correlation.named(name)
        });
        built.of_instance(Some(&name))
    }
}

impl<C: Clone, K: Propagate> fmt::Debug for AnyServerBuilder<C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyServerBuilder")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The layers of a server for any request type, in their order: correlation (if it [propagates](AnyServerBuilder::propagate) the
/// context), timeout, rate limit, load shed, bulkhead.
///
/// Made by [`mainstay::server`](crate::server). Clones share one limit and one bulkhead, and so do all services that they make: for
/// every connection. `C` is the classifier, `K` whether the context is read.
pub struct AnyServerStack<C: Clone = ErrorsFail, K: Propagate = NoContext> {
    correlation: K::Server,
    layers: Layers<C, K>,
    description: Arc<Description>,
}

/// A service in the stack that [`mainstay::server`](crate::server) builds.
pub type AnyServer<S, C = ErrorsFail, K = NoContext> = <AnyServerStack<C, K> as Layer<S>>::Service;

impl<C: Clone, K: Propagate> AnyServerStack<C, K> {
    /// Puts the stack around a service. The same as [`layer`](Layer::layer), without having to import the trait.
    pub fn wrap<S>(&self, service: S) -> AnyServer<S, C, K>
    where
        Self: Layer<S>,
    {
        self.layer(service)
    }

    /// The load shedder: how many requests are in flight and may be.
    #[must_use]
    pub fn load_shed(&self) -> &LoadShedLayer<Limited<AtResponse<C>>> {
        &self.layers.load_shed.layer
    }

    /// The rate limit: the permits that are available, and how many calls wait. It admits every call
    /// unless the builder set a rate.
    #[must_use]
    pub fn rate_limit(&self) -> &RateLimitLayer<Waiting, AtResponse<C>> {
        &self.layers.rate_limit.layer
    }

    /// The bulkhead: how many requests are in flight and may be, how many wait.
    #[must_use]
    pub fn bulkhead(&self) -> &BulkheadLayer<Queued, AtResponse<C>> {
        &self.layers.bulkhead.layer
    }

    /// The snapshots of its layers.
    #[must_use]
    pub fn snapshot(&self) -> AnyServerSnapshot {
        self.layers.snapshot()
    }

    /// The layers with their settings, outermost first, and what is unwise about them. `Display` of the stack prints the same.
    #[must_use]
    pub fn describe(&self) -> &Description {
        &self.description
    }
}

impl<S, C, K> Layer<S> for AnyServerStack<C, K>
where
    C: Clone,
    K: Propagate,
    K::Server: Layer<Requests<Limits<S, C>, K>>,
{
    type Service = <K::Server as Layer<Requests<Limits<S, C>, K>>>::Service;

    fn layer(&self, inner: S) -> Self::Service {
        let limited = self.layers.inner(inner);
        self.correlation.layer(self.layers.outer(limited))
    }
}

impl<C: Clone, K: Propagate> Clone for AnyServerStack<C, K> {
    fn clone(&self) -> Self {
        Self {
            correlation: self.correlation.clone(),
            layers: self.layers.clone(),
            description: Arc::clone(&self.description),
        }
    }
}

impl<C: Clone, K: Propagate> fmt::Display for AnyServerStack<C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.description.fmt(f)
    }
}

impl<C: Clone, K: Propagate> fmt::Debug for AnyServerStack<C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AnyServerStack")
            .field(&self.description)
            .finish()
    }
}
