//! What HTTP requests, statuses, headers and bodies mean to the layers.

mod body;
mod body_timed;
mod body_watch;
mod carry;
mod classify;
mod deadline;
mod early;
mod end;
mod erased;
#[cfg(any(feature = "hyper", feature = "reqwest"))]
mod errors;
mod head;
pub(crate) mod header;
mod layers;
mod replay;
mod retry;
pub(crate) mod retry_after;
mod scoped_body;
mod timeout;
mod track;
mod unprocessed;
#[cfg_attr(
    not(feature = "hyper"),
    allow(dead_code, reason = "not every feature has bodies of each kind")
)]
mod upload;

pub use body::GuardedBody;
pub use body_timed::TimedBody;
pub(crate) use classify::ran_out;
pub use classify::{ClassifyHead, HeadVerdict, HttpClassifier, classify};
pub use deadline::{Deadline, DeadlineFuture, DeadlineLayer};
pub use end::{ClassifyEnd, End};
pub use erased::ErasedError;
pub(crate) use head::ContentType;
pub use head::{HttpRequest, HttpResponse, ResponseHead};
pub use layers::{bulkhead, circuit_breaker, load_shed, rate_limit, retry};
pub use replay::{KeptRequest, ReplayBody, ReplayRequest};
pub use retry::HttpRetry;
pub use scoped_body::InContextBody;
pub use timeout::{BodyLimits, HttpLimit, timeout};
pub use track::EndOfBody;
#[cfg(feature = "reqwest")]
pub(crate) use upload::watch_reqwest;

pub(crate) use unprocessed::{Unprocessed, is_harmless_refusal};
#[cfg(feature = "reqwest")]
pub(crate) use {body::Rest, end::is_over_at_head, track::rest_of};
