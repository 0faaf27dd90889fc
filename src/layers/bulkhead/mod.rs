//! A bulkhead: limits the calls in flight.
//!
//! One slow upstream can exhaust the connections and the memory of a process, and then calls to
//! healthy upstreams fail, too. A bulkhead isolates upstreams. It rejects a call beyond the limit
//! at once. With a queue, the call waits for a bounded time.
//!
//! ```
//! use mainstay::{BulkheadLayer, Error, Reason};
//! use std::time::Duration;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let mut service = ServiceBuilder::new()
//!     .layer(BulkheadLayer::new(1))
//!     .service(service_fn(|()| async {
//!         tokio::time::sleep(Duration::from_millis(1)).await;
//!         Ok::<_, std::io::Error>("done")
//!     }));
//!
//! let first = service.ready().await.unwrap().call(());
//! let second = service.ready().await.unwrap().call(());
//! let (first, second) = tokio::join!(first, second);
//!
//! assert_eq!(first.unwrap(), "done");
//! let Err(Error::Rejected(rejection)) = second else { panic!() };
//! assert_eq!(rejection.reason(), Reason::Full);
//! # }
//! ```
//!
//! # What it rejects
//!
//! Without a queue (the default): [`Reason::Full`](crate::Reason::Full), at once, from the call's
//! future. `poll_ready` is ready while the bulkhead is full, so the rejection does not wait for the
//! inner service.
//!
//! With [`queue`](BulkheadBuilder::queue): `Full` when the queue is full. A call that has waited
//! for `max_wait` is rejected with [`Reason::QueueTimeout`](crate::Reason::QueueTimeout) if it
//! waited for a permit, and with [`Reason::NotReady`](crate::Reason::NotReady) if it waited for the
//! inner service. If the request's own deadline passes first, the reason is
//! [`Reason::DeadlinePassed`](crate::Reason::DeadlinePassed). A released permit goes to the
//! call that has waited longest among those of the highest [`Priority`](crate::Priority). No new
//! call can overtake it, unless it is of a higher class.
//!
//! # When a permit is released
//!
//! At the response. Under HTTP and gRPC the work continues in the body, so
//! `mainstay::http::bulkhead` and `mainstay::grpc::bulkhead` release the permit at the end of the
//! body. An event stream releases it at the response head.
//!
//! # What a clone shares
//!
//! Everything. The limit belongs to the layer value: every service it makes and every clone of the
//! layer or of a service counts against the same limit. An idle service holds no permit.
//!
//! # Cancellation
//!
//! An admitted call that is dropped releases its permit and counts as cancelled. A waiting call
//! that is dropped leaves the queue, and releases a permit that it has just acquired. It counts as
//! given up: in the [snapshot](Snapshot), as the event [`GivenUp`](crate::EventKind::GivenUp), and
//! in the metric `mainstay_given_up_total`.
//!
//! # Cost
//!
//! One compare-and-swap to acquire a permit, one to release it, and one reference count; nothing is
//! allocated. Only waiting calls take a lock, and each waiting call takes one allocation.

mod handle;
mod keyed;
mod layer;
mod permits;
mod service;
mod settings;
mod snapshot;
mod word;

#[cfg(mainstay_loom)]
pub(crate) use permits::models;

pub use crate::layers::admission::mode::{CanQueue, Queued, Rejecting};
pub use handle::BulkheadHandle;
#[cfg(test)]
pub(crate) use layer::KIND;
pub use layer::{BulkheadBuilder, BulkheadLayer};
pub use service::{Bulkhead, QueuedFuture, ResponseFuture};
pub use settings::{QueueSettings, Settings};
pub use snapshot::Snapshot;
