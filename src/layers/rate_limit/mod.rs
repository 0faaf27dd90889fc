//! A rate limit: admits a number of calls per period of time.
//!
//! A server grants its callers a quota, and a client keeps to the quota that a server grants. A
//! rate limit admits calls at a steady rate, and a burst of calls after a pause. To limit the calls
//! in flight, use a [`bulkhead`](crate::bulkhead).
//!
//! ```
//! use mainstay::{Error, RateLimitLayer, Reason};
//! use std::time::Duration;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), mainstay::ConfigError> {
//! let limit = RateLimitLayer::builder()
//!     .per(100, Duration::from_secs(60))
//!     .burst(1)
//!     .build()?;
//! let mut service = ServiceBuilder::new()
//!     .layer(limit)
//!     .service(service_fn(|()| async { Ok::<_, std::io::Error>("done") }));
//!
//! assert_eq!(service.ready().await.unwrap().call(()).await.unwrap(), "done");
//! let Err(Error::Rejected(rejection)) = service.ready().await.unwrap().call(()).await else {
//!     panic!()
//! };
//! assert_eq!(rejection.reason(), Reason::RateLimited);
//! assert!(rejection.retry_after().unwrap() <= Duration::from_millis(600));
//! # Ok(())
//! # }
//! ```
//!
//! # What it admits
//!
//! With n permits a period and a burst of b, at most b + n × t / period calls are admitted in any
//! interval of length t. A caller that stays below the rate is never rejected. The algorithm is the
//! generic cell rate algorithm (ITU-T I.371). It is exact, and needs one word of state and no
//! timer. It has no fixed windows, so twice the rate is never admitted around the end of a window.
//!
//! # What it rejects
//!
//! [`Reason::RateLimited`](crate::Reason::RateLimited), at once, from the call's future.
//! [`Rejection::retry_after`](crate::Rejection::retry_after) is the exact time after which a call
//! is admitted, unless another call comes first. `RespondLayer` answers the rejection with 429 and
//! `Retry-After`, or with `RESOURCE_EXHAUSTED` and `grpc-retry-pushback-ms`. While calls are
//! rejected, `poll_ready` does not wait for the inner service.
//!
//! With [`max_wait`](RateLimitBuilder::max_wait) a call queues if its permit comes in time.
//! Otherwise it is rejected at once, also with `RateLimited` and the exact time. The queue is first
//! come, first served. If a call has its permit and the inner service is not ready within
//! `max_wait`, the reason is [`Reason::NotReady`](crate::Reason::NotReady). If the request's
//! deadline passes first, the reason is [`Reason::DeadlinePassed`](crate::Reason::DeadlinePassed).
//!
//! # What a clone shares
//!
//! Everything. The limit belongs to the layer value: every service it makes and every clone of the
//! layer or of a service counts against the same rate. An idle service holds no permit.
//!
//! # Cancellation
//!
//! A permit is for the start of a call. A call that is dropped after its start has used its permit.
//! A waiting call that is dropped leaves the queue and uses no permit, so the calls behind it are
//! admitted earlier. It counts as given up: in the [snapshot](Snapshot), as the event
//! [`GivenUp`](crate::EventKind::GivenUp), and in the metric `mainstay_given_up_total`.
//!
//! # Cost
//!
//! One clock reading, one compare-and-swap and one reference count; nothing is allocated. Only
//! waiting calls take a lock, and each waiting call takes one allocation.

mod handle;
mod keyed;
mod layer;
mod limiter;
mod queue;
mod service;
mod settings;
mod snapshot;

#[cfg(mainstay_loom)]
pub(crate) use queue::models;

pub use crate::layers::admission::mode::{CanQueue, Queued, Rejecting};
pub use handle::RateLimitHandle;
#[cfg(test)]
pub(crate) use layer::KIND;
pub use layer::{RateLimitBuilder, RateLimitLayer};
pub use service::{QueuedFuture, RateLimit, ResponseFuture};
pub use settings::Settings;
pub use snapshot::Snapshot;
