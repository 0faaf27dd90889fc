//! A rate limit: admits so many calls for each period of time.
//!
//! A server grants its callers a quota; a client keeps to the quota that a server grants. A rate
//! limit admits calls at a steady rate, and a burst of them at once after a pause. It says nothing
//! about calls in flight: for those see [`bulkhead`](crate::bulkhead).
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
//! With n permits a period and a burst of b, no interval of length t ever sees more than
//! b + n × t / period admitted calls, and a caller that keeps below the rate is never rejected. The
//! algorithm is the generic cell rate algorithm (ITU-T I.371): exact, without a timer, with one word
//! of state. There is no window that begins anew, so no moment at which twice the rate comes
//! through.
//!
//! # What it rejects
//!
//! [`Reason::RateLimited`](crate::Reason::RateLimited), at once, from the call's future. The
//! rejection carries the exact time after which a call is admitted, if no other one comes first:
//! [`Rejection::retry_after`](crate::Rejection::retry_after). `RespondLayer` answers it with 429 and
//! `Retry-After`, or `RESOURCE_EXHAUSTED` and `grpc-retry-pushback-ms`. While calls are rejected,
//! `poll_ready` does not wait for the inner service.
//!
//! # What a clone shares
//!
//! Everything. The limit belongs to the layer value: every service it makes and every clone of the
//! layer or of a service counts against the same rate. An idle service holds no permit.
//!
//! # Cancellation
//!
//! A permit is for the start of a call. It is used up also where the call is dropped before its end.
//!
//! # Cost
//!
//! One reading of the clock (shared with the other layers of a stack) and one compare-and-swap;
//! nothing is allocated.

mod layer;
mod limiter;
mod service;
mod snapshot;

pub use layer::{RateLimitBuilder, RateLimitLayer};
pub use service::{RateLimit, ResponseFuture};
pub use snapshot::Snapshot;
