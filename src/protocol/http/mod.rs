//! HTTP: classification, retries, time limits, deadlines and bodies.

mod body;
mod carry;
mod classify;
mod deadline;
mod end;
mod erased_error;
#[cfg(any(feature = "hyper", feature = "reqwest"))]
mod errors;
mod head;
pub(crate) mod header;
mod keys;
mod layers;
mod replay;
mod retry;
pub(crate) mod retry_after;
mod timeout;
mod track;
mod unprocessed;

pub use crate::layers::timeout::settings::TimeoutSettings;
#[cfg(feature = "reqwest")]
pub(crate) use body::watch_reqwest;
pub use body::{GuardedBody, InContextBody, InCorrelationBody, TimedBody};
pub(crate) use classify::is_timeout;
pub use classify::{ClassifyHead, HeadVerdict, HttpClassifier, classify};
pub use deadline::{Deadline, DeadlineFuture, DeadlineHeader, DeadlineLayer, WriteDeadline};
pub use end::{ClassifyEnd, End};
pub use erased_error::ErasedError;
pub(crate) use head::ContentType;
pub use head::{HttpRequest, HttpResponse, ResponseHead};
pub use keys::{ByAuthority, ByHeader, by_authority, by_header};
pub use layers::{bulkhead, circuit_breaker, load_shed, rate_limit, retry};
pub use replay::{KeptRequest, ReplayBody, ReplayRequest};
pub use retry::HttpRetry;
pub use timeout::{AttemptLimit, BodyLimits, HttpLimit, TimeoutHandle, timeout};
pub use track::EndOfBody;
pub(crate) use unprocessed::{Unprocessed, is_harmless_refusal};
#[cfg(feature = "reqwest")]
pub(crate) use {body::Rest, end::is_over_at_head, track::rest_of};
