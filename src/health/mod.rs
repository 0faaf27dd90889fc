//! Health checks from the [registry](crate::registry): is the program alive, and is it ready for
//! calls?
//!
//! ```
//! use axum::{Router, routing::get};
//! use mainstay::health::Health;
//!
//! # fn app() -> Result<Router, mainstay::ConfigError> {
//! let health = Health::global().service();
//! let app: Router = Router::new()
//!     .route("/orders", get(async || "none"))
//!     .layer(mainstay::http::server("orders").build()?)
//!     .route_service("/livez", health.clone()) // after the layer: outside of the stack
//!     .route_service("/readyz", health);
//! # Ok(app)
//! # }
//! ```
//!
//! Put these routes outside of the server's stack. Inside, a busy server would reject the checks, and
//! a load balancer would consider it dead.
//!
//! # Liveness
//!
//! `/livez` answers 200 whenever the program can answer. It never depends on circuits or upstreams,
//! because the reaction to a failed liveness check is a restart, and a restart repairs no upstream.
//!
//! # Readiness
//!
//! By default readiness is informational: it reports open circuits, load that is shed and bulkheads
//! that are full, and stays ready. It fails only
//!
//! - when the [shutdown](Health::shutdown) has begun,
//! - or for an [essential](Health::essential) name.
//!
//! The reason: all instances of a service call the same upstream. If it fails and they are all not
//! ready, the load balancer has nowhere to send calls to, and an outage of one upstream is an outage of
//! everything, including the routes that do not need that upstream. Amazon's Builders' Library
//! ("Implementing health checks") warns of health checks that fail for a dependency that all servers
//! share, for this reason, and its load balancers send calls to all servers when none is healthy. An
//! open circuit already does what the load balancer would do, for the calls that need the upstream
//! alone.
//!
//! Mark an upstream as essential if no call can succeed without it *and* other instances of the service
//! may still reach it: a connection pool of this process, a database replica in its zone.
//!
//! | essential name | not ready while |
//! |---|---|
//! | a client's stack, or a circuit breaker | the circuit is open and its open time lasts, or forced open |
//! | a server's stack, or another instance without a circuit breaker of that name | it sheds load, or its bulkhead is full |
//! | a name that nothing has | always: it is not built yet, was dropped, or is misspelt |
//!
//! When the open time of an essential circuit is over, readiness returns, although the circuit is not
//! closed yet. The circuit needs calls as probes to close, and a program that is not ready would get
//! none. If the probes fail, the circuit opens again, and readiness fails again for the next, longer
//! open time. So readiness changes at most twice in each open time, which is 5 seconds at first and
//! doubles up to 60. Do not shorten the interval of a check below the open time to see more of it.
//!
//! With a circuit or a limit for each [key](crate::keyed), an essential instance fails only when all
//! keys fail: with one dead host of many the program stays ready.
//!
//! A circuit or a bulkhead in shadow mode rejects nothing, so it is never impaired.
//!
//! # gRPC
//!
//! With the feature `tonic-health`, `Health::grpc` makes the standard health service for tonic.
//!
//! # Cost
//!
//! Each check visits all instances of the registry and takes the lock of each circuit for a moment. No
//! call pays anything for it.

#[cfg(feature = "tonic-health")]
mod grpc;
mod impairment;
mod readiness;
#[cfg(feature = "http")]
mod service;

use std::fmt;
use std::sync::Arc;

use crate::registry::{Instance, Registry};
use crate::shutdown::Shutdown;

#[cfg(feature = "tonic-health")]
pub use grpc::GrpcHealth;
pub use impairment::Impairment;
pub use readiness::{Impaired, Readiness};
#[cfg(feature = "http")]
pub use service::{HealthBody, HealthService};

/// Health checks of the instances in a [registry](crate::registry): see the [module](self).
///
/// A clone has the same settings. Settings of one do not change the other.
#[derive(Clone)]
pub struct Health {
    registry: Registry,
    essential: Arc<[String]>,
    shutdown: Option<Shutdown>,
}

impl Health {
    /// Checks the instances in a registry.
    ///
    /// ```
    /// use mainstay::health::Health;
    /// use mainstay::registry::Registry;
    ///
    /// let registry = Registry::new();
    /// let stack = mainstay::client("payments").registry(&registry).build()?;
    /// let health = Health::new(&registry).essential("payments");
    /// assert!(health.readiness().ready);
    ///
    /// stack.circuit_breaker().force_open();
    /// let readiness = health.readiness();
    /// assert!(!readiness.ready);
    /// assert_eq!(readiness.reasons, ["circuit_breaker `payments` is forced_open"]);
    /// # Ok::<_, mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        Self {
            registry: registry.clone(),
            essential: Arc::new([]),
            shutdown: None,
        }
    }

    /// Checks the instances in the process-wide registry, where all standard stacks are by default.
    #[must_use]
    pub fn global() -> Self {
        Self::new(Registry::global())
    }

    /// Adds a stack or an instance without which the program is not ready, by its name. Default none,
    /// so that an outage of one upstream does not stop the whole fleet: see
    /// [readiness](self#readiness).
    ///
    /// All stacks and instances with that name are essential. Such a stack may be built later.
    /// Until then the program is not ready.
    #[must_use]
    pub fn essential(mut self, name: impl Into<String>) -> Self {
        let mut essential = self.essential.to_vec();
        essential.push(name.into());
        self.essential = essential.into();
        self
    }

    /// Sets the shutdown whose beginning ends the readiness. Default none.
    #[must_use]
    pub fn shutdown(mut self, shutdown: &Shutdown) -> Self {
        self.shutdown = Some(shutdown.clone());
        self
    }

    /// Whether the program is ready, why not, and which instances are impaired.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let list = self.registry.list();
        let shutting_down = self.shutdown.as_ref().is_some_and(Shutdown::has_begun);
        let mut reasons = Vec::new();
        if shutting_down {
            reasons.push("the program is shutting down".to_owned());
        }
        let stacks = self.registry.stacks();
        let essential: Vec<_> = self.essential.iter().collect();
        let mut instances = Vec::new();
        for name in &essential {
            let exists = list.iter().any(|instance| instance.name() == *name)
                || stacks.iter().any(|stack| stack.name() == *name);
            if !exists {
                reasons.push(format!("nothing has the name `{}`", name.escape_debug()));
            }
        }
        // The names by which each instance may be essential: its own, and its stack's.
        let stack_of = |instance: &Instance| {
            let is_same = |other: &Instance| std::ptr::eq(other.emitter(), instance.emitter());
            stacks.iter().find(|stack| stack.instances().any(is_same))
        };
        for instance in &list {
            let Some(found) = impairment::find(instance) else {
                continue;
            };
            let stack = stack_of(instance);
            let is_named = |name: &str| {
                let by_stack = stack.is_some_and(|stack| stack.name() == name);
                if !by_stack && instance.name() != name {
                    return false;
                }
                let is_breaker = |other: &Instance| matches!(other, Instance::CircuitBreaker(_));
                // A circuit breaker of that name decides alone.
                is_breaker(instance)
                    || !match stack {
                        Some(stack) => stack.instances().any(is_breaker),
                        None => list
                            .iter()
                            .any(|other| other.name() == name && is_breaker(other)),
                    }
            };
            let essential = found.fails && essential.iter().any(|name| is_named(name));
            if essential {
                reasons.push(format!("{instance} is {}", found.impairment));
            }
            instances.push(Impaired {
                layer: instance.layer(),
                name: instance.name().to_owned(),
                impairment: found.impairment,
                essential,
                retry_after: found.retry_after,
                keys: found.keys,
            });
        }
        Readiness {
            ready: reasons.is_empty(),
            shutting_down,
            reasons,
            instances,
        }
    }

    /// The service of `/livez` and `/readyz`, for axum's `route_service`, hyper, and the router of
    /// tonic.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn service(&self) -> HealthService {
        HealthService::new(self.clone())
    }

    /// The gRPC health service (`grpc.health.v1.Health`), for tonic's `add_service`.
    #[cfg(feature = "tonic-health")]
    #[must_use]
    pub fn grpc(&self) -> GrpcHealth {
        GrpcHealth::new(self.clone())
    }

    #[cfg(feature = "tonic-health")]
    pub(crate) fn its_shutdown(&self) -> Option<&Shutdown> {
        self.shutdown.as_ref()
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health")
            .field("essential", &self.essential)
            .field("shutdown", &self.shutdown)
            .finish_non_exhaustive()
    }
}
