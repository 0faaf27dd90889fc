//! The registry of all instances: list them, look them up by name, take snapshots, subscribe to
//! their events.
//!
//! Every standard stack joins the process-wide registry when it is built, and leaves it when the
//! stack and all its services are dropped. So a program can inspect and control all its stacks in one
//! place, such as an admin endpoint:
//!
//! ```
//! use mainstay::registry::Registry;
//!
//! let stack = mainstay::client("payments").build()?;
//! let client = stack.wrap(tower::service_fn(|order: u32| async move { Ok::<_, std::io::Error>(order) }));
//!
//! let registry = Registry::global();
//! println!("{registry}"); // a line for each instance
//! registry.circuit_breaker("payments")?.force_open(); // maintenance
//! # registry.circuit_breaker("payments")?.reset();
//! # drop(client);
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! With the feature `serde`, snapshots can be serialized. An admin endpoint with axum:
//!
//! ```
//! use axum::{Json, Router, routing::get};
//! use mainstay::registry::{Registry, RegistrySnapshot};
//!
//! async fn instances() -> Json<RegistrySnapshot> {
//!     Json(Registry::global().snapshot())
//! }
//!
//! let admin: Router = Router::new().route("/instances", get(instances));
//! ```
//!
//! Do not expose such a route to callers: names and counts are internal.
//!
//! # Members
//!
//! | | joins |
//! |---|---|
//! | standard stack | the [global](Registry::global) registry, or another one with `.registry(&registry)`, or none with `.without_registry()` |
//! | single layer | none; [`registry.add(layer.handle())`](Registry::add) |
//!
//! A layer that is off ([`Mode::Off`](crate::Mode::Off), or removed from its stack) is not in the
//! lists, because it does nothing. A look-up by its name still finds it, and once an update switches it
//! on, the lists show it.
//!
//! The registry has weak references. It keeps nothing alive, and no memory of an instance stays
//! when the instance is dropped. A handle from the registry keeps the state of its instance alive as
//! long as the handle exists. Clones of a [`Registry`] are the same registry.
//!
//! # Names
//!
//! Names need not be unique: a server's stack and a client's stack may both be called `payments`, and
//! both have a time limit. Such instances are both listed. A warning is logged when the second joins
//! (feature `tracing`, target `mainstay::registry`), because most often it is a mistake: a stack that
//! is built for each request, say. A look-up of one instance by such a name is refused
//! ([`LookupError::Ambiguous`]), because it would be a guess. The plural methods, such as
//! [`circuit_breakers`](Registry::circuit_breakers), return all of them. Their metrics have the same
//! labels: counters, calls in flight and states add up, and a limit comes from the instance that
//! changed it last.
//!
//! # Cost
//!
//! Calls never touch the registry. Building and dropping a stack takes its lock for a moment. A
//! look-up and a list visit all members: they are for people and for health checks, and a program
//! that needs a handle in each call should keep the handle.

#[cfg(feature = "serde")]
mod configure;
pub(crate) mod description;
mod instance;
mod live;
mod lookup;
mod members;
mod membership;
mod stack;

use std::fmt;
use std::sync::{Arc, OnceLock};

use self::members::Members;
use crate::layers::bulkhead::BulkheadHandle;
use crate::layers::circuit_breaker::CircuitBreakerHandle;
use crate::layers::load_shed::LoadShedHandle;
use crate::layers::rate_limit::RateLimitHandle;
use crate::layers::retry::RetryHandle;
use crate::layers::timeout::TimeoutHandle;
use crate::observe::event::Events;
use crate::vocabulary::kind::Id;

pub use instance::{Instance, InstanceSnapshot};
pub use lookup::LookupError;
pub use stack::{StackHandle, StackSnapshot};

pub use live::StackSettings;

pub(crate) use live::{LiveStack, OfInstance};
pub(crate) use members::Member;
pub(crate) use membership::JoinedRegistry;

/// A list of named instances and stacks: see the [module](self).
///
/// Clones are the same registry.
#[derive(Clone, Default)]
pub struct Registry {
    members: Arc<Members>,
}

macro_rules! lookups {
    ($($variant:ident of $id:ident: $one:ident, $several:ident -> $handle:ident, $what:literal;)*) => {$(
        #[doc = concat!("The ", $what, " with this name.")]
        ///
        /// # Errors
        ///
        /// When none or several have the name.
        pub fn $one(&self, name: &str) -> Result<$handle, LookupError> {
            match self.instance(Id::$id.layer(), name)? {
                Instance::$variant(handle) => Ok(handle),
                // The kind of layer decides on the variant.
                _ => Err(LookupError::not_found(Id::$id.layer(), name, std::iter::empty())),
            }
        }

        #[doc = concat!("Every ", $what, " with this name.")]
        #[must_use]
        pub fn $several(&self, name: &str) -> Vec<$handle> {
            let named = self.instances(Id::$id.layer(), name).into_iter();
            let handle = |instance| match instance {
                Instance::$variant(handle) => Some(handle),
                _ => None,
            };
            named.filter_map(handle).collect()
        }
    )*};
}

impl Registry {
    /// A registry of its own, for a part of a program or for a test.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The process-wide registry, which standard stacks join by default.
    #[must_use]
    pub fn global() -> &'static Self {
        static GLOBAL: OnceLock<Registry> = OnceLock::new();
        GLOBAL.get_or_init(Self::new)
    }

    /// Adds the instance of a single layer. It leaves the registry when the layer, all its services
    /// and handles are dropped. If it is in the registry already, nothing changes.
    ///
    /// ```
    /// use mainstay::BulkheadLayer;
    /// use mainstay::registry::Registry;
    ///
    /// let registry = Registry::new();
    /// let layer = BulkheadLayer::builder().name("reports").limit(8).build()?;
    /// registry.add(layer.handle());
    /// assert_eq!(registry.bulkhead("reports").unwrap().limit(), Some(8));
    ///
    /// drop(layer);
    /// assert!(registry.list().is_empty());
    /// # Ok::<_, mainstay::ConfigError>(())
    /// ```
    pub fn add(&self, instance: impl Into<Instance>) {
        let member = Member {
            instance: instance.into(),
            is_on: true,
        };
        self.members.add(None, &[member]);
    }

    /// All instances that are on, in the order in which they joined.
    #[must_use]
    pub fn list(&self) -> Vec<Instance> {
        let listed = self.all_members().into_iter().filter(Member::is_listed);
        listed.map(|member| member.instance).collect()
    }

    /// The snapshots of all instances that are on. `Display` prints one line for each.
    #[must_use]
    pub fn snapshot(&self) -> RegistrySnapshot {
        RegistrySnapshot {
            instances: self.list().iter().map(Instance::snapshot).collect(),
        }
    }

    /// All stacks, in the order in which they were built.
    #[must_use]
    pub fn stacks(&self) -> Vec<StackHandle> {
        let entries = self.members.entries();
        let stacks = entries.iter().filter_map(|entry| StackHandle::of(entry));
        stacks.collect()
    }

    /// The stack with this name.
    ///
    /// # Errors
    ///
    /// When none or several have the name.
    pub fn stack(&self, name: &str) -> Result<StackHandle, LookupError> {
        let (mut named, others): (Vec<_>, Vec<_>) = self
            .stacks()
            .into_iter()
            .partition(|stack| stack.name() == name);
        match (named.len(), named.pop()) {
            (1, Some(stack)) => Ok(stack),
            (0, _) => {
                let names = others.iter().map(|stack| stack.name().to_owned());
                Err(LookupError::not_found("stack", name, names))
            }
            (count, _) => Err(LookupError::ambiguous("stack", name, count)),
        }
    }

    lookups! {
        CircuitBreaker of CircuitBreaker: circuit_breaker, circuit_breakers -> CircuitBreakerHandle, "circuit breaker";
        Bulkhead of Bulkhead: bulkhead, bulkheads -> BulkheadHandle, "bulkhead";
        RateLimit of RateLimit: rate_limit, rate_limits -> RateLimitHandle, "rate limit";
        LoadShed of LoadShed: load_shed, load_sheds -> LoadShedHandle, "load shedder";
        Retry of Retry: retry, retries -> RetryHandle, "retry";
        Timeout of Timeout: timeout, timeouts -> TimeoutHandle, "time limit of calls";
        Timeout of AttemptTimeout: attempt_timeout, attempt_timeouts -> TimeoutHandle, "time limit of attempts";
    }

    /// The instance with this kind of layer and name, for an admin endpoint: both may come from a
    /// URL.
    ///
    /// If instances that are on and others that are off have the name, those that are off do not
    /// count.
    ///
    /// # Errors
    ///
    /// When none or several have the name.
    pub fn instance(&self, layer: &str, name: &str) -> Result<Instance, LookupError> {
        let mut named = self.instances(layer, name);
        match (named.len(), named.pop()) {
            (1, Some(instance)) => Ok(instance),
            (0, _) => {
                let others = self.all_members().into_iter();
                let names = others
                    .filter(|other| other.instance.layer() == layer)
                    .map(|other| other.instance.name().to_owned());
                Err(LookupError::not_found(layer, name, names))
            }
            (count, _) => Err(LookupError::ambiguous(layer, name, count)),
        }
    }

    /// All instances with this kind of layer and name: those that are on, or if there are none, those
    /// that are off.
    #[must_use]
    pub fn instances(&self, layer: &str, name: &str) -> Vec<Instance> {
        let is_named =
            |member: &Member| member.instance.layer() == layer && member.instance.name() == name;
        let members = self.all_members().into_iter().filter(is_named);
        let (on, off): (Vec<_>, Vec<_>) = members.partition(Member::is_listed);
        let named = if on.is_empty() { off } else { on };
        named.into_iter().map(|member| member.instance).collect()
    }

    /// Subscribes to the events of all instances, and of those that join later.
    ///
    /// It stores the newest 1024 events for a slow reader. While there is a subscription, each call
    /// through an instance makes its events. Without one, calls pay nothing for it.
    ///
    /// ```
    /// use mainstay::{CircuitBreakerLayer, EventKind};
    /// use mainstay::registry::Registry;
    ///
    /// let registry = Registry::new();
    /// let mut events = registry.events().filter(|event| event.name() == "payments");
    /// let payments = CircuitBreakerLayer::builder().name("payments").build()?;
    /// registry.add(payments.handle());
    ///
    /// payments.handle().force_open();
    /// let event = events.try_recv().unwrap();
    /// assert!(matches!(event.kind(), EventKind::Transition(_)));
    /// # Ok::<_, mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn events(&self) -> Events {
        Events::new(self.members.subscribe())
    }

    /// All instances, on or off.
    fn all_members(&self) -> Vec<Member> {
        let entries = self.members.entries();
        entries.iter().flat_map(|entry| entry.members()).collect()
    }
}

/// One line for each instance.
impl fmt::Display for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.snapshot().fmt(f)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.list();
        let names = names.iter().map(|instance| instance.emitter().instance());
        f.debug_list()
            .entries(names.map(ToString::to_string))
            .finish()
    }
}

/// The snapshots of all instances of a [`Registry`].
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RegistrySnapshot {
    /// The instances that are on, in the order in which they joined.
    pub instances: Vec<InstanceSnapshot>,
}

/// One line for each instance.
impl fmt::Display for RegistrySnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, instance) in self.instances.iter().enumerate() {
            let end = if at == 0 { "" } else { "\n" };
            write!(f, "{end}{instance}")?;
        }
        Ok(())
    }
}
