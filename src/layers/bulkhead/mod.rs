//! A bulkhead: limits the calls in flight.
//!
//! One slow upstream can take every connection and megabyte of a process, and then calls to healthy
//! upstreams fail, too. A bulkhead keeps them apart: a call beyond the limit is rejected at once,
//! or, if you set a queue, waits in a bounded queue for a bounded time.
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
//! future. `poll_ready` is ready when the bulkhead is full, so that the rejection does not wait for
//! the inner service.
//!
//! With [`queue`](BulkheadBuilder::queue): `Full` when the queue is full. A call that has waited for
//! `max_wait` is rejected with [`Reason::QueueTimeout`](crate::Reason::QueueTimeout) if it waited
//! for a permit, and with [`Reason::NotReady`](crate::Reason::NotReady) if it waited for the inner
//! service. If the request's own deadline passes first, the reason is
//! [`Reason::DeadlinePassed`](crate::Reason::DeadlinePassed). The queue is first come, first served:
//! a released permit goes to the call that has waited longest, and no newcomer can overtake it.
//!
//! # When a permit is released
//!
//! When the response is there. Under HTTP and gRPC the work goes on in the body:
//! `mainstay::http::bulkhead` and `mainstay::grpc::bulkhead` release the permit at the end of the
//! body, and that of an event stream at its head.
//!
//! # What a clone shares
//!
//! Everything. The limit belongs to the layer value: every service it makes and every clone of the
//! layer or of a service counts against the same limit. An idle service holds no permit.
//!
//! # Cancellation
//!
//! An admitted call that is dropped releases its permit and counts as cancelled. A waiting call
//! that is dropped leaves the queue, also when it had just been handed a permit. It counts as given
//! up: in the [snapshot](Snapshot), as the event [`GivenUp`](crate::EventKind::GivenUp), and in the
//! metric `mainstay_given_up_total`.
//!
//! # Cost
//!
//! One compare-and-swap to acquire a permit, one subtraction to release it, and a reference count;
//! nothing is allocated. Only calls that wait touch a lock, and each of them takes one allocation.

mod layer;
mod places;
mod service;
mod snapshot;
mod word;

#[cfg(mainstay_loom)]
pub(crate) use places::models;

#[cfg(test)]
pub(crate) use layer::KIND;
pub use layer::{BulkheadBuilder, BulkheadLayer, Queued, Rejecting};
pub use service::{Bulkhead, QueuedFuture, ResponseFuture};
pub use snapshot::Snapshot;
