//! The layers of standard stacks, one file each: settings, checks, descriptions, construction.

/// The handle of a layer among the instances of a stack.
macro_rules! of_instance {
    ($Handle:ident, $Variant:ident) => {
        impl $crate::registry::OfInstance for $Handle {
            fn of_instance(instance: &$crate::registry::Instance) -> Option<Self> {
                match instance {
                    $crate::registry::Instance::$Variant(handle) => Some(handle.clone()),
                    _ => None,
                }
            }
        }
    };
}

/// The part of [`LayerSettings`](super::live::LayerSettings) that only calls the handle.
macro_rules! through_handle {
    ($Handle:ident) => {
        type Handle = $Handle;

        fn check(
            &self,
            _: $crate::vocabulary::kind::Id,
        ) -> Result<(), $crate::vocabulary::config::ConfigError> {
            $crate::vocabulary::settings::Fields::check(self)
        }

        fn of(_: $crate::vocabulary::kind::Id, handle: &$Handle) -> Self {
            handle.as_set()
        }

        fn put(
            &self,
            _: $crate::vocabulary::kind::Id,
            handle: &$Handle,
        ) -> Result<$crate::vocabulary::settings::Changes, $crate::vocabulary::config::ConfigError>
        {
            handle.update(self)
        }

        fn announce(handle: &$Handle, changes: &$crate::vocabulary::settings::Changes) {
            handle.announce(changes);
        }
    };
}

mod bulkhead;
mod circuit_breaker;
mod correlation;
#[cfg(feature = "http")]
mod deadline;
mod load_shed;
mod rate_limit;
#[cfg(feature = "http")]
mod respond;
mod retry;
mod timeout;

pub(super) use bulkhead::{Bulkhead, StackBulkhead};
pub(super) use circuit_breaker::CircuitBreaker;
pub(super) use correlation::describe as describe_correlation;
pub(super) use load_shed::{LoadShed, StackLoadShed};
pub(super) use rate_limit::{RateLimit, StackRateLimit};
pub(super) use retry::{derive_backoff, describe as describe_retry, describe_retry_keys};
pub(super) use timeout::{AttemptTimeout, attempt_timeout, describe_mode};
#[cfg(feature = "http")]
pub(super) use {
    circuit_breaker::StackBreaker,
    correlation::{ClientCorrelation, ServerCorrelation},
    deadline::Deadline,
    respond::Respond,
    retry::{Retry, StackRetry},
    timeout::{ClientTimeout, ServerTimeout, StackTimeout},
};

/// The text of a setting's value.
pub(super) fn shown(value: impl std::fmt::Debug) -> String {
    format!("{value:?}")
}
