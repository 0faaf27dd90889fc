//! A layer of your own that admits or rejects calls: a quota, a feature switch, a maintenance
//! window.
//!
//! Implement [`Admission`] for the policy, and wrap it in an [`AdmissionLayer`]. The layer adds the
//! features of every layer of this crate: rejections with reason, name and `Retry-After`, events, a
//! snapshot, log lines and metrics. It releases a call's permit however the call ends: with a
//! response, a cancellation or a panic.
//!
//! ```
//! use std::sync::atomic::{AtomicU32, Ordering};
//!
//! use mainstay::admission::{Admission, AdmissionLayer, Refusal, Ticket};
//! use mainstay::{Error, Reason};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! /// A fixed number of calls.
//! struct Quota(AtomicU32);
//!
//! impl Admission for Quota {
//!     fn admit(&self) -> Result<Ticket, Refusal> {
//!         let less = |left: u32| left.checked_sub(1);
//!         match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
//!             Ok(_) => Ok(Ticket::new()),
//!             Err(_) => Err(Refusal::new(Reason::RateLimited)),
//!         }
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), mainstay::BoxError> {
//! let quota = AdmissionLayer::builder("quota", Quota(AtomicU32::new(1))).name("reports").build()?;
//! let mut service = ServiceBuilder::new()
//!     .layer(quota.clone())
//!     .service(service_fn(|page: u32| async move { Ok::<_, std::io::Error>(page) }));
//!
//! assert_eq!(service.ready().await?.call(7).await?, 7);
//! let Err(Error::Rejected(rejection)) = service.ready().await?.call(8).await else { panic!() };
//! assert_eq!(rejection.to_string(), "quota `reports`: the rate limit is exceeded");
//! assert_eq!(quota.handle().snapshot().rejections.of(Reason::RateLimited), 1);
//! # Ok(())
//! # }
//! ```
//!
//! # When a call is over
//!
//! At its response. Under HTTP and gRPC the work continues in the body. With the
//! [`tracker`](AdmissionBuilder::tracker) `mainstay::http::EndOfBody`, a call is over at the end of
//! its body.
//!
//! # What a clone shares
//!
//! Everything. The layer, its clones and all services that they make share one policy and one
//! instance.
//!
//! # Cancellation and panics
//!
//! A call that is dropped or panics is settled and released like any other. A panic in
//! [`admit`](Admission::admit) propagates to the caller, and the call has no permit. A panic in
//! [`settle`](Admission::settle) or [`release`](Admission::release) is caught and ignored.
//!
//! # Cost
//!
//! One reference count a call, plus the cost of the policy. Nothing is allocated.

mod future;
pub(crate) mod gate;
mod handle;
mod layer;
pub(crate) mod mode;
mod policy;
mod queue;
mod snapshot;
mod wait;

pub use handle::{AdmissionHandle, AnyAdmissionHandle};
pub use layer::{AdmissionBuilder, AdmissionLayer, Admitting, ResponseFuture};
pub use policy::Admission;
pub use snapshot::Snapshot;

pub(crate) use future::{admitted_future, queued_future};
pub(crate) use gate::{Admitted, Gate, call, call_through_gate, inner_of_gate, wait_at_gate};
pub(crate) use mode::{CanQueue, Queued, Rejecting, check_max_wait};
pub(crate) use queue::{Joined, Queue};
pub(crate) use wait::{WaitingFuture, call_or_wait, poll_ready_or_wait};

#[cfg(mainstay_loom)]
pub(crate) use queue::models;

pub use crate::call::{admit::Refusal, ticket::Ticket};
