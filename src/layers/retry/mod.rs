//! Retry with back-off, within a budget and a deadline.
//!
//! A call that fails for a passing reason is worth a second attempt. But a thousand callers that
//! all make three attempts turn a small outage into a large one. So a retry here waits for a
//! growing, random time, costs a budget, ends before the request's deadline, and never repeats a
//! call that an inner layer rejected.
//!
//! ```
//! use mainstay::{Backoff, RetryLayer};
//! use std::sync::atomic::{AtomicU32, Ordering};
//! use std::time::Duration;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), mainstay::ConfigError> {
//! let calls = &AtomicU32::new(0);
//! let mut service = ServiceBuilder::new()
//!     .layer(RetryLayer::builder()
//!         .attempts(3)
//!         .backoff(Backoff::constant(Duration::from_millis(1)))
//!         .build()?)
//!     .service(service_fn(|()| async move {
//!         match calls.fetch_add(1, Ordering::Relaxed) {
//!             0 => Err(std::io::Error::other("not yet")),
//!             _ => Ok("there"),
//!         }
//!     }));
//!
//! assert_eq!(service.ready().await.unwrap().call(()).await.unwrap(), "there");
//! assert_eq!(calls.load(Ordering::Relaxed), 2);
//! # Ok(())
//! # }
//! ```
//!
//! # What is retried
//!
//! A [`RetryPolicy`] decides, from the request, the result and the number of the attempt. The
//! default repeats every error, which is right for operations that may be repeated, and only for
//! those. A call that an inner layer rejected (an open circuit, a full bulkhead, shed load, a
//! deadline that had passed) is never retried, and no policy is asked. An attempt that timed out
//! may be.
//!
//! Before an attempt's response is given up, everything else has been decided: attempts are left, the delay is known (the server's
//! own hint, or the back-off) and ends before the deadline, the budget pays, the request can be sent again. Only then is the response dropped, with the permit, the body and
//! the connection it holds, and the wait begins. An error is kept while it waits: should the inner
//! service not become ready again, that error is the answer.
//!
//! An attempt that fails because the inner service's `poll_ready` failed was not sent. It is retried whatever the policy says of the request, costs
//! nothing of the budget, and is one of the [`attempts`](crate::RetryBuilder::attempts). The event's cause is
//! [`RetryCause::NotSent`](crate::RetryCause::NotSent).
//!
//! A request that a server refused unseen was no attempt at all: see [`Decision::RetryTransparently`]. The
//! policies of `mainstay::http` and `mainstay::grpc` know such refusals. The waits between them grow from 10 ms to one second, and the deadline ends
//! them.
//!
//! # A client that retries by itself
//!
//! The retries of an inner client multiply those of this layer, and no circuit breaker, bulkhead or budget sees them. Switch them off:
//!
//! | client | what it repeats by itself | |
//! |---|---|---|
//! | reqwest 0.13 | requests that HTTP/2 refused unseen, up to twice each | `ClientBuilder::retry(reqwest::retry::never())` |
//! | hyper-util's legacy client | requests that a pooled connection closed before they were sent | harmless: no server has seen them. `Builder::retry_canceled_requests(false)` |
//! | tonic's `Channel` | nothing: it only connects again | |
//!
//! # A request that cannot be repeated
//!
//! A request that cannot be sent again is sent once. The policies of `mainstay::http` and `mainstay::grpc` also send again what streams:
//! see [`RetryBuilder::replay_limit`](crate::RetryBuilder::replay_limit).
//!
//! Whatever the inner service does in `call` or when its future is polled or dropped sees the number of the attempt
//! ([`Context::attempt`](crate::Context::attempt)). A connection that reads the request's body in a task of its own, as hyper's do, does not.
//! With the feature `tracing` it also runs in a span of that attempt, up to the head of the response: `attempt`, with the target `mainstay::retry`, at the level INFO, with the fields `layer`, `name`
//! and `attempt`. A layer with [one attempt](crate::RetryBuilder::attempts) makes none.
//!
//! # What it rejects
//!
//! Nothing by itself, with one exception: a response that was given up for a retry cannot be given back, so if the inner service is then not ready
//! in time, the answer is [`Reason::NotReady`](crate::Reason::NotReady).
//!
//! # What a clone shares
//!
//! The budget and the settings, for all services of a layer and all clones. A [`RetryBudget`] can also be shared by several layers.
//!
//! # Cancellation
//!
//! A call that is dropped while it waits gives back what it had paid for the retry. A retry that
//! was waiting counts as given up: in the [snapshot](Snapshot), as the event [`GivenUp`](crate::EventKind::GivenUp), and in the metric `mainstay_given_up_total`.
//!
//! # Cost
//!
//! A clone of the request, one reading of the clock with a [`RetryBudget`] (none with throttling), and a counter that belongs to the thread. The inner
//! service is cloned only when there is something to retry. An attempt that a subscriber of `tracing` wants a span of is in a box.

mod attempt;
mod budget;
mod future;
mod layer;
mod policy;
mod receive;
mod service;
mod snapshot;
mod wait;

pub use crate::policy::backoff::{Backoff, Jitter};
pub use budget::{RetryBudget, RetryBudgetBuilder};
pub use future::ResponseFuture;
#[cfg(test)]
pub(crate) use layer::KIND;
#[cfg(feature = "http")]
pub(crate) use layer::LAYER;
pub(crate) use layer::{MOST_ATTEMPTS, Settings};
pub use layer::{RetryBuilder, RetryLayer};
pub use policy::{CloneWith, Decision, RetryErrors, RetryFn, RetryIf, RetryPolicy};
pub use receive::{AsItComes, Ended, Receive};
pub use service::Retry;
pub use snapshot::Snapshot;
