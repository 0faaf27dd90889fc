//! One instance of a layer in a registry.

use std::fmt;

use crate::layers::admission::{self, AdmissionHandle, AnyAdmissionHandle};
use crate::layers::bulkhead::{self, BulkheadHandle};
use crate::layers::circuit_breaker::{self, CircuitBreakerHandle};
use crate::layers::handle::Handle;
use crate::layers::load_shed::{self, LoadShedHandle};
use crate::layers::rate_limit::{self, RateLimitHandle};
use crate::layers::retry::{self, RetryHandle};
use crate::layers::timeout::{self, TimeoutHandle};
use crate::observe::emitter::Emitter;
use crate::observe::event::Events;
use crate::vocabulary::mode::Mode;

macro_rules! instances {
    ($($variant:ident($handle:ident, $folder:ident), $doc:literal;)*) => {
        /// The handle of any layer, as a [`Registry`](super::Registry) lists it.
        #[derive(Debug, Clone)]
        #[non_exhaustive]
        pub enum Instance {
            $(#[doc = $doc] $variant($handle),)*
        }

        /// An instance that is not kept alive.
        pub(super) enum WeakInstance {
            $($variant(<$handle as Handle>::Weak),)*
        }

        /// The snapshot of any layer: see [`snapshot`](crate::snapshot).
        #[derive(Debug, Clone, PartialEq)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize), serde(untagged))]
        #[non_exhaustive]
        pub enum InstanceSnapshot {
            $(#[doc = $doc] $variant($folder::Snapshot),)*
        }

        impl Instance {
            /// Counters, occupancy and latencies.
            #[must_use]
            pub fn snapshot(&self) -> InstanceSnapshot {
                match self {
                    $(Self::$variant(handle) => InstanceSnapshot::$variant(handle.snapshot()),)*
                }
            }

            pub(crate) fn emitter(&self) -> &Emitter {
                match self {
                    $(Self::$variant(handle) => Handle::emitter(handle),)*
                }
            }

            pub(super) fn downgrade(&self) -> WeakInstance {
                match self {
                    $(Self::$variant(handle) => WeakInstance::$variant(handle.downgrade()),)*
                }
            }
        }

        impl WeakInstance {
            pub(super) fn upgrade(&self) -> Option<Instance> {
                match self {
                    $(Self::$variant(weak) => {
                        <$handle as Handle>::upgrade(weak).map(Instance::$variant)
                    })*
                }
            }
        }

        impl InstanceSnapshot {
            /// The kind of layer: `circuit_breaker`, `bulkhead`, ...
            #[must_use]
            pub fn layer(&self) -> &'static str {
                match self {
                    $(Self::$variant(snapshot) => snapshot.layer,)*
                }
            }

            /// The name of the instance.
            #[must_use]
            pub fn name(&self) -> &str {
                match self {
                    $(Self::$variant(snapshot) => &snapshot.name,)*
                }
            }
        }

        /// One line.
        impl fmt::Display for InstanceSnapshot {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant(snapshot) => snapshot.fmt(f),)*
                }
            }
        }

        $(
            impl From<$handle> for Instance {
                fn from(handle: $handle) -> Self {
                    Self::$variant(handle)
                }
            }

            impl From<&$handle> for Instance {
                fn from(handle: &$handle) -> Self {
                    Self::$variant(handle.clone())
                }
            }
        )*
    };
}

instances! {
    CircuitBreaker(CircuitBreakerHandle, circuit_breaker), "A circuit breaker.";
    Bulkhead(BulkheadHandle, bulkhead), "A bulkhead.";
    RateLimit(RateLimitHandle, rate_limit), "A rate limit.";
    LoadShed(LoadShedHandle, load_shed), "A load shedder.";
    Retry(RetryHandle, retry), "A retry.";
    Timeout(TimeoutHandle, timeout), "A time limit, of calls or of attempts.";
    Admission(AnyAdmissionHandle, admission), "A layer with a policy of yours.";
}

impl<P: admission::Admission> From<AdmissionHandle<P>> for Instance {
    fn from(handle: AdmissionHandle<P>) -> Self {
        Self::Admission(handle.into())
    }
}

impl<P: admission::Admission> From<&AdmissionHandle<P>> for Instance {
    fn from(handle: &AdmissionHandle<P>) -> Self {
        Self::Admission(handle.into())
    }
}

#[cfg(feature = "http")]
impl From<crate::protocol::http::TimeoutHandle> for Instance {
    fn from(handle: crate::protocol::http::TimeoutHandle) -> Self {
        Self::from(&handle)
    }
}

#[cfg(feature = "http")]
impl From<&crate::protocol::http::TimeoutHandle> for Instance {
    fn from(handle: &crate::protocol::http::TimeoutHandle) -> Self {
        Self::Timeout(handle.into())
    }
}

impl Instance {
    /// The kind of layer: `circuit_breaker`, `bulkhead`, ... The attempt timeout of a standard stack
    /// is an `attempt_timeout`.
    #[must_use]
    pub fn layer(&self) -> &'static str {
        self.emitter().layer()
    }

    /// The name of the instance.
    #[must_use]
    pub fn name(&self) -> &str {
        self.emitter().name()
    }

    /// Subscribes to the events of this instance.
    #[must_use]
    pub fn events(&self) -> Events {
        self.emitter().subscribe()
    }

    /// Its mode. A user's policy has none.
    pub(super) fn mode(&self) -> Option<Mode> {
        match self {
            Self::CircuitBreaker(circuit) => Some(circuit.settings().mode),
            Self::Bulkhead(bulkhead) => Some(bulkhead.settings().mode),
            Self::RateLimit(rate) => Some(rate.settings().mode),
            Self::LoadShed(load) => Some(load.settings().mode),
            Self::Retry(retry) => Some(retry.settings().mode),
            Self::Timeout(timeout) => Some(timeout.settings().mode),
            Self::Admission(_) => None,
        }
    }

    /// Whether it does anything now.
    pub(crate) fn is_on(&self) -> bool {
        self.mode() != Some(Mode::Off)
    }

    /// Whether a time limit that is off has ended calls, because their
    /// [`Overrides`](crate::Overrides) set a limit.
    pub(super) fn has_rejected(&self) -> bool {
        match self {
            Self::Timeout(timeout) => timeout.snapshot().rejections.total() > 0,
            _ => false,
        }
    }
}

/// The kind of layer and the name: `` circuit_breaker `payments` ``.
impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.emitter().instance().fmt(f)
    }
}
