//! The layers of standard stacks, one file each: settings, checks, descriptions, construction.

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
pub(super) use retry::{derive_backoff, describe as describe_retry};
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
