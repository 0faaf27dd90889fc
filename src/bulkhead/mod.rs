//! A bulkhead: at most so many calls in flight, whatever happens behind it.
//!
//! One slow dependency can take every thread, connection and megabyte a process has, and everything else
//! drowns with it. A bulkhead is the wall between: a call that would be one too many is rejected at once, or, if you
//! ask for it, waits in a bounded queue for a bounded time.
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
//! Without a queue (the default): [`Reason::Full`](crate::Reason::Full), at once, from the call's future. `poll_ready`
//! is ready when the bulkhead is full, so that the rejection is not delayed by anything behind it.
//! With [`queue`](BulkheadBuilder::queue): `Full` when the queue is full, and
//! [`Reason::QueueTimeout`](crate::Reason::QueueTimeout) when the wait is over. The queue is first come, first served: a
//! place that becomes free goes to the call that has waited longest, and no newcomer can overtake it.
//!
//! # How long a place is held
//!
//! Until the response is there. Under HTTP and gRPC the work goes on in the body, and `mainstay::http::bulkhead` holds the place until
//! that has ended.
//!
//! # What a clone shares
//!
//! Everything. The limit belongs to the layer value: every service it makes and every clone of the layer or of a
//! service counts against the same limit. An idle service holds no place.
//!
//! # Cancellation
//!
//! A call that is dropped gives back its place, and a waiting one its place in the queue, also when a
//! place had just been handed to it. An admitted call then counts as cancelled. A waiting one counts as given up: in the [snapshot](Snapshot), as the event
//! [`GivenUp`](crate::EventKind::GivenUp), and in the metric `mainstay_given_up_total`.
//!
//! # Cost
//!
//! One compare-and-swap to take a place and one subtraction to give it back; nothing is allocated. Only calls
//! that wait touch a lock, and each of them takes one allocation.

mod layer;
mod places;
mod queued;
mod service;
mod snapshot;
mod word;

pub use layer::{BulkheadBuilder, BulkheadLayer, Queued, Rejecting};
pub use queued::QueuedFuture;
pub use service::{Bulkhead, Place, ResponseFuture};
pub use snapshot::Snapshot;
