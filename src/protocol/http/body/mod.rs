//! Bodies that wrap a request's or a response's body.

mod guarded;
mod in_context;
mod prefetched;
mod timed;
#[cfg_attr(
    not(feature = "hyper"),
    allow(dead_code, reason = "not every feature has bodies of each kind")
)]
mod upload;
mod watched;

pub use guarded::GuardedBody;
pub(crate) use guarded::Rest;
pub use in_context::{InContextBody, InCorrelationBody};
pub use timed::TimedBody;
pub(super) use upload::watch;
#[cfg(feature = "reqwest")]
pub(crate) use upload::watch_reqwest;
pub(super) use watched::Limits;
