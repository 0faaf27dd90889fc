//! Resilience for any tower stack.
#![forbid(unsafe_code)]

mod chain;
mod config;
mod context;
mod error;
mod guarded;
mod name;
mod observe;
mod outcome;
mod policy;
mod rejection;
mod runtime;
mod scoped;
mod shared;
mod striped;
mod track;

pub mod bulkhead;
pub mod circuit_breaker;
pub mod correlation;
#[cfg(feature = "http")]
pub mod grpc;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "hyper")]
mod hyper;
pub mod load_shed;
#[cfg(feature = "reqwest")]
pub mod reqwest;
#[cfg(feature = "http")]
pub mod respond;
pub mod retry;
pub mod timeout;

pub use bulkhead::BulkheadLayer;
pub use circuit_breaker::{
    Cause, CircuitBreakerHandle, CircuitBreakerLayer, Mode, OnCancel, Recovery, Snapshot, State,
    Transition, Window,
};
pub use config::ConfigError;
pub use context::{Context, InContext, spawn};
pub use correlation::{Carry, CorrelationId, CorrelationLayer, InvalidCorrelationId};
pub use error::{BoxError, Error, Grown, Plain, WithRejection};
pub use load_shed::LoadShedLayer;
pub use observe::{Event, EventKind, Events, Observer, RetryRefused};
pub use outcome::{Classify, ClassifyFn, ErrorsFail, Outcome, Verdict};
pub use policy::limit::{AimdBuilder, Gradient2Builder, Limit};
pub use rejection::{Reason, Rejection};
#[cfg(feature = "http")]
pub use respond::RespondLayer;
pub use retry::{Backoff, Decision, Jitter, RetryBudget, RetryBuilder, RetryLayer, RetryPolicy};
pub use timeout::TimeoutLayer;
pub use track::{AtResponse, Head, Settle, Track};
