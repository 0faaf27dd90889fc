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
//! With [`max_wait`](RateLimitBuilder::max_wait) a call waits in line instead, if its permit comes
//! soon enough; else it is rejected at once, also with `RateLimited` and the exact time. The line is
//! first come, first served. A call that has its permit, and whose inner service is not ready within
//! `max_wait`, is rejected as [`Reason::NotReady`](crate::Reason::NotReady). Where the request's
//! deadline passes meanwhile, the reason is
//! [`Reason::DeadlinePassed`](crate::Reason::DeadlinePassed).
//!
//! # What a clone shares
//!
//! Everything. The limit belongs to the layer value: every service it makes and every clone of the
//! layer or of a service counts against the same rate. An idle service holds no permit.
//!
//! # Cancellation
//!
//! A permit is for the start of a call. It is used up also where the call is dropped before its end.
//! A waiting call that is dropped leaves the line and uses up nothing; those behind it are admitted
//! earlier. It counts as given up: in the [snapshot](Snapshot), as the event
//! [`GivenUp`](crate::EventKind::GivenUp), and in the metric `mainstay_given_up_total`.
//!
//! # Cost
//!
//! One reading of the clock, one compare-and-swap and one reference count; nothing is allocated. Only calls that wait touch a lock, and each of them is in a box.

mod layer;
mod limiter;
mod line;
mod service;
mod snapshot;

#[cfg(mainstay_loom)]
pub(crate) use line::models;

#[cfg(test)]
pub(crate) use layer::KIND;
pub use layer::{RateLimitBuilder, RateLimitLayer, Rejecting, Waiting};
pub use service::{RateLimit, ResponseFuture, WaitingFuture};
pub use snapshot::Snapshot;
