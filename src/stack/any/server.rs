//! The stack of a server for any request type.

use std::fmt;
use std::sync::Arc;

use tower_layer::Identity;

use super::parts::{AnyTimeout, ServerTimeout, ignore_inbound, with_context};
use super::propagate::{Carried, NoContext, Propagate};
use super::server_stack::{AnyServerStack, Parts};
use crate::call::track::AtResponse;
use crate::layers::correlation::{Consumer, CorrelationLayer};
use crate::layers::keyed::{Keying, OneForAll};
use crate::observe::event::Observer;
use crate::registry::JoinedRegistry;
use crate::stack::description::Description;
use crate::stack::live::Live;
use crate::stack::numbers::Numbers;
use crate::stack::part::{Slot, Stack};
use crate::stack::parts::{Bulkhead, LoadShed, RateLimit};
use crate::stack::parts::{LoadShed as LoadShedPart, StackLoadShed, describe_correlation};
use crate::stack::refine::Refine;
use crate::stack::setters::{
    any_key_setters, build_method, bulkhead_setters, classifier_setters, load_shed_remover,
    observer_setter, rate_limit_setter, registry_setters,
};
use crate::stack::settings::AnyServerSettings;
use crate::vocabulary::{config::ConfigError, name, outcome::ErrorsFail};

/// The kind of the stack in its description.
const KIND: &str = "server";

/// Builds the standard stack of a server for any request type: timeout, rate limit (off by
/// default), load shed, bulkhead.
///
/// It is for frames of your own protocol, messages of a queue, and jobs. The layers, their order
/// and their defaults are those of [`http::server`](crate::stack). The differences:
///
/// - The stack cannot turn a rejection into a response of your protocol, so a rejection is the
///   error of the call: see [`WithRejection`](crate::WithRejection).
/// - An error is a failure, unless you [`classify`](AnyServerBuilder::classify) results.
/// - It [reads](AnyServerBuilder::propagate) the [context](crate::Context) of a request only if you
///   say so, from requests that implement [`Carry`](crate::Carry).
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
/// Rejections, cancellation and cost are those of its layers.
pub fn server(name: impl Into<String>) -> AnyServerBuilder {
    AnyServerBuilder {
        name: name.into(),
        classifier: ErrorsFail,
        correlation: None,
        parts: Parts::default(),
        trusts_inbound: true,
        observer: None,
        registry: JoinedRegistry::default(),
        keying: OneForAll,
    }
}

/// The builder of an [`AnyServerStack`], created by [`mainstay::server`](crate::server).
///
/// Each setter states its default and the reason for it. The order of the setters does not matter.
#[must_use = "a builder does nothing until `build` is called"]
pub struct AnyServerBuilder<C: Clone = ErrorsFail, K: Propagate = NoContext, Q: Keying = OneForAll>
{
    name: String,
    classifier: C,
    correlation: Option<CorrelationLayer<Consumer>>,
    parts: Parts<C, K, Q>,
    trusts_inbound: bool,
    observer: Option<Arc<dyn Observer>>,
    registry: JoinedRegistry,
    keying: Q,
}

impl<C: Clone, K: Propagate, Q: Keying> AnyServerBuilder<C, K, Q> {
    /// Sets the time limit of a request. Default 30 seconds: few healthy answers take longer, and a
    /// request that hangs must end.
    ///
    /// A limit that is set becomes the deadline of the request, which handlers see and client
    /// stacks propagate. The default does not. It takes a `Duration` or a
    /// [`TimeoutLayer::builder()`](crate::TimeoutLayer::builder).
    pub fn timeout(mut self, limit: impl Refine<AnyTimeout<K>>) -> Self {
        let standard = ServerTimeout::<K>::settings();
        self.parts.timeout.refine(limit, standard);
        self
    }

    /// Sets all settings at once, such as those of a configuration. They replace what other setters
    /// have set, except names, observers, classifiers, policies and headers.
    pub fn settings(mut self, settings: AnyServerSettings) -> Self {
        let parts = &mut self.parts;
        let of_timeout = settings.timeout;
        parts.timeout.put(ServerTimeout::settings, |timeout| {
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

    /// Removes the time limit, and ignores the deadlines of callers. Default 30 seconds.
    pub fn without_timeout(mut self) -> Self {
        self.parts.timeout = Slot::Off;
        self
    }

    rate_limit_setter!(
        "requests",
        /// All callers share the rate.
    );

    /// Sets the limit on requests in flight above which the stack sheds load. Default
    /// [`Limit::scheduler_lag`](crate::Limit::scheduler_lag): no limit until ready tasks wait for a
    /// worker thread, and then an adaptive limit, because only that lag distinguishes overload from
    /// slow requests.
    ///
    /// It takes a [`Limit`](crate::Limit) or a
    /// [`LoadShedLayer::builder()`](crate::LoadShedLayer::builder).
    pub fn load_shed(mut self, limit: impl Refine<StackLoadShed>) -> Self {
        self.parts.load_shed.refine(limit, LoadShedPart::settings());
        self
    }

    load_shed_remover!();

    bulkhead_setters!(
        "requests",
        ///
        /// The [load shedder](Self::load_shed) handles overload.
    );

    classifier_setters!(AnyServerBuilder<_, K, Q>);

    /// Reads the [`Context`](crate::Context) from requests, which must implement
    /// [`Carry`](crate::Carry). By default nothing is read, so that any request type works.
    ///
    /// This layer reads the correlation ID, or makes a new one. The deadline comes from
    /// `x-request-timeout-ms`, the caller's remaining time in milliseconds, and applies if it is
    /// shorter than the [`timeout`](Self::timeout). A value under 10 milliseconds counts as 10;
    /// with zero the request is rejected. For untrusted callers, pass
    /// `CorrelationLayer::consumer().ignore_inbound()` and call
    /// [`ignore_inbound_deadline`](Self::ignore_inbound_deadline).
    pub fn propagate(
        self,
        correlation: CorrelationLayer<Consumer>,
    ) -> AnyServerBuilder<C, Carried, Q> {
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
            trusts_inbound: self.trusts_inbound,
            observer: self.observer,
            registry: self.registry,
            keying: self.keying,
        }
    }

    /// Ignores the deadlines of callers. By default they apply if the stack
    /// [reads](Self::propagate) the context, because an answer after the deadline is wasted work.
    pub fn ignore_inbound_deadline(mut self) -> Self {
        self.trusts_inbound = false;
        self
    }

    observer_setter!();

    registry_setters!();

    fn with_classifier<D: Clone>(self, classifier: D) -> AnyServerBuilder<D, K, Q> {
        AnyServerBuilder {
            name: self.name,
            classifier,
            correlation: self.correlation,
            parts: Parts {
                timeout: self.parts.timeout,
                load_shed: self.parts.load_shed,
                rate_limit: self.parts.rate_limit,
                bulkhead: self.parts.bulkhead,
            },
            trusts_inbound: self.trusts_inbound,
            observer: self.observer,
            registry: self.registry,
            keying: self.keying,
        }
    }

    fn with_keying<G: Keying>(self, keying: G) -> AnyServerBuilder<C, K, G> {
        AnyServerBuilder {
            name: self.name,
            classifier: self.classifier,
            correlation: self.correlation,
            parts: Parts {
                timeout: self.parts.timeout,
                load_shed: self.parts.load_shed,
                rate_limit: self.parts.rate_limit,
                bulkhead: self.parts.bulkhead,
            },
            trusts_inbound: self.trusts_inbound,
            observer: self.observer,
            registry: self.registry,
            keying,
        }
    }

    fn try_build(
        mut self,
        correlation: impl FnOnce(
            Option<CorrelationLayer<Consumer>>,
            &str,
        ) -> Result<K::Server, ConfigError>,
    ) -> Result<AnyServerStack<C, K, Q>, ConfigError> {
        name::check(KIND, &self.name)?;
        if !self.trusts_inbound {
            let standard = ServerTimeout::<K>::settings;
            self.parts.timeout.change(standard, ignore_inbound);
        }
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
        let correlation = correlation(self.correlation, &self.name)?;
        let members = layers.members();
        let live = Arc::new(Live::new(&members, &numbers, description));
        self.registry.join(live.clone(), &members);
        Ok(AnyServerStack {
            correlation,
            layers,
            live,
        })
    }
}

impl<C: Clone, Q: Keying> AnyServerBuilder<C, NoContext, Q> {
    build_method!(AnyServerStack<C, NoContext, Q>, |builder| builder
        .try_build(|_, _| Ok(Identity::new())));
}

impl<C: Clone, Q: Keying> AnyServerBuilder<C, Carried, Q> {
    build_method!(AnyServerStack<C, Carried, Q>, |builder| builder.try_build(|correlation, name| {
        let correlation = correlation.unwrap_or_else(CorrelationLayer::consumer);
        correlation.named(name)
    }));
}

any_key_setters!(
    AnyServerBuilder<C: Clone, K: Propagate>,
    "rate limit and bulkhead",
    /// So that one tenant cannot use up the limits of all.
    ///
    /// ```
    /// struct Job { tenant: String }
    ///
    /// let stack = mainstay::server("jobs")
    ///     .rate_limit(100)
    ///     .keyed(|job: &Job| job.tenant.as_str().into())
    ///     .build()?;
    /// # Ok::<_, mainstay::ConfigError>(())
    /// ```
);

impl<C: Clone, K: Propagate, Q: Keying> fmt::Debug for AnyServerBuilder<C, K, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyServerBuilder")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
