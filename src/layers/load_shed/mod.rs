//! Load shedding: rejects calls early when the server is overloaded.
//!
//! An overloaded service does less than it could: all calls wait, callers give up, and the work for
//! them is wasted. This layer rejects calls when the inner service is not ready, and when more
//! calls are in flight than a [`Limit`](crate::Limit) allows.
//!
//! ```
//! use mainstay::LoadShedLayer;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), mainstay::ConfigError> {
//! let mut service = ServiceBuilder::new()
//!     .layer(LoadShedLayer::builder().name("greeter").build()?)
//!     .service(service_fn(|name: &'static str| async move {
//!         Ok::<_, std::io::Error>(format!("hello, {name}"))
//!     }));
//!
//! let answer = service.ready().await.unwrap().call("world").await;
//! assert_eq!(answer.unwrap(), "hello, world");
//! # Ok(())
//! # }
//! ```
//!
//! # What it rejects
//!
//! [`Reason::NotReady`](crate::Reason::NotReady) when the inner service is not ready: this layer is always ready, so no caller
//! waits behind it. [`Reason::Shed`](crate::Reason::Shed) when the limit is reached.
//!
//! # Which limit
//!
//! | limit | it rejects | it suits |
//! |---|---|---|
//! | [`Limit::scheduler_lag`](crate::Limit::scheduler_lag), the default | nothing while this process keeps pace, whatever the latency of its calls; when ready tasks wait for a worker, as much as is too much | every server |
//! | [`Limit::fixed`](crate::Limit::fixed) | what is over a number | a known capacity |
//! | [`Limit::gradient2`](crate::Limit::gradient2), [`Limit::aimd`](crate::Limit::aimd) | what makes calls slower | calls of one kind, to one upstream or resource |
//!
//! A limit by latency takes a slow route for overload. Put one layer around each kind of call.
//!
//! # Limits that adapt to latency
//!
//! They are opt-in. The latency of a sample of the calls is gathered in windows, and at the end of
//! each the limit may move by a step. Calls that time out, or whose [`Verdict`](crate::Verdict)
//! tells of overload, count as dropped, once a window. Other failures say nothing about load: they
//! are neither samples (a fast error would look like a fast service) nor drops. A call that its
//! caller or the caller's deadline ended after it ran for too long counts as dropped, too: see
//! [`OnCancel`](crate::OnCancel). One that ended earlier counts for nothing.
//!
//! Limits by latency begin with a slow start, as TCP does (RFC 5681): see
//! [`Limit`](crate::Limit#how-a-limit-by-latency-begins). The default limit, by scheduler lag, does
//! not.
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
//! One compare-and-swap for a call that comes, one subtraction for one that goes, and for one call
//! in many two readings of the clock and a short lock. With a limit by latency, an observer, a
//! subscriber or metrics every call reads the clock when it is made. A response that streams under an adaptive
//! limit costs two more. Under [`Limit::scheduler_lag`](crate::Limit::scheduler_lag) one task per
//! runtime wakes every 10 ms; while there is a limit, a call is polled once more. With
//! [`on_readiness`](crate::LoadShedLayer::on_readiness) there is only the inner service's
//! readiness. Nothing is allocated for a call.

mod lag;
mod layer;
mod load;
mod service;
mod settle;
mod snapshot;

pub use crate::call::future::Uncounted;
#[cfg(test)]
pub(crate) use layer::KIND;
pub use layer::{Limited, LoadShedBuilder, LoadShedLayer, OnReadiness};
pub use service::{LoadShed, ResponseFuture};
pub use snapshot::Snapshot;
