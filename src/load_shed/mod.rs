//! Load shedding: refusing early what could only be served late.
//!
//! A service that is given more than it can do does not do what it can: everything waits, every caller gives up, and
//! all the work is for nothing. This layer refuses calls when the inner service is not ready, and when more
//! calls are in flight than a [`Limit`](crate::Limit): a fixed one, or one that it finds by itself from the latency of the calls.
//!
//! ```
//! use mainstay::{Limit, LoadShedLayer};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let mut service = ServiceBuilder::new()
//!     .layer(LoadShedLayer::new(Limit::adaptive()))
//!     .service(service_fn(|name: &'static str| async move {
//!         Ok::<_, std::io::Error>(format!("hello, {name}"))
//!     }));
//!
//! let answer = service.ready().await.unwrap().call("world").await;
//! assert_eq!(answer.unwrap(), "hello, world");
//! # }
//! ```
//!
//! # What it rejects
//!
//! [`Reason::NotReady`](crate::Reason::NotReady) when the inner service is not ready: this layer is always ready, so no caller
//! waits behind it. [`Reason::Shed`](crate::Reason::Shed) when the limit is reached.
//!
//! # How the limit moves
//!
//! The latency of a sample of the calls is gathered in windows, and at the end of each the limit may move by a step. Calls that time out, or
//! whose [`Verdict`](crate::Verdict) tells of overload, count as dropped, once a window. Other failures say nothing about load: they are
//! neither samples (a fast error would look like a fast service) nor drops. A call that its caller or the caller's deadline ended
//! after it ran for too long counts as dropped, too: see [`OnCancel`](crate::OnCancel). One that ended earlier counts for nothing.
//!
//! It begins with a slow start, as TCP does (RFC 5681): until something goes wrong for the first time, a limit that is used doubles. With the
//! defaults, a healthy service with 150 callers whose calls take 50 ms sheds nothing any more after 1.2 seconds. See
//! [`Limit`](crate::Limit#how-an-adaptive-limit-begins).
//!
//! # How long a call is in flight
//!
//! Under a fixed limit: as long as the layer follows it, which for `mainstay::http::load_shed` and
//! `mainstay::grpc::load_shed` is to the end of the response's body. Under an adaptive limit: until
//! the head of the response. A call that only streams (a watch, a download) says nothing about
//! latency or load, and must not take the room of calls that do; the snapshot counts it as
//! `streaming`. Its outcome is still that of the end of the body, and a bulkhead keeps its permit.
//!
//! # What a clone shares
//!
//! Everything: the limit and the calls in flight belong to the layer value. An idle service holds nothing.
//!
//! # Cancellation
//!
//! A call that is dropped is no longer in flight.
//!
//! # Cost
//!
//! One compare-and-swap for a call that comes, one subtraction for one that goes, and for one call in many two readings of the
//! clock and a short lock. Without a limit there is only the inner service's readiness. Nothing is allocated.

mod layer;
mod load;
mod service;
mod settle;
mod snapshot;

pub use crate::guarded::Uncounted;
pub use layer::{Limited, LoadShedBuilder, LoadShedLayer, OnReadiness};
pub use service::{InFlight, LoadShed, ResponseFuture};
pub use snapshot::Snapshot;
