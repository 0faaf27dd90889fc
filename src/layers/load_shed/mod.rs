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
//! - [`Reason::NotReady`](crate::Reason::NotReady): the inner service is not ready. This layer is
//!   always ready, so no caller waits for it.
//! - [`Reason::Shed`](crate::Reason::Shed): the limit is reached.
//!
//! # Which limit
//!
//! | limit | it rejects | it suits |
//! |---|---|---|
//! | [`Limit::scheduler_lag`](crate::Limit::scheduler_lag), the default | excess calls while ready tasks wait for a worker thread; nothing while the process keeps pace, however slow its calls are | every server |
//! | [`Limit::fixed`](crate::Limit::fixed) | calls beyond a number | a known capacity |
//! | [`Limit::gradient2`](crate::Limit::gradient2), [`Limit::aimd`](crate::Limit::aimd) | calls that increase the latency | calls of one kind, to one upstream or resource |
//!
//! A limit by latency mistakes a slow route for overload. Put one layer around each kind of call, or
//! use a [limit for each key](#a-limit-for-each-key).
//!
//! # Which calls are shed first
//!
//! Those of the lowest [`Priority`](crate::Priority). Each class has a share of the limit: it leaves
//! a tenth of the limit, and at least one call, to each class above it. The classes `high` and
//! `critical` count from their first call on, also from one that is rejected, and are forgotten one
//! to two minutes after their last one. So while no call has a priority, every call has the whole
//! limit.
//!
//! | class | share | once a `high` call has come | once a `critical` call has come |
//! |---|---|---|---|
//! | `critical` | | | 100 % |
//! | `high` | | 100 % | 90 % |
//! | `normal`, the default | 100 % | 90 % | 80 % |
//! | `low` | 90 % | 80 % | 70 % |
//! | `sheddable` | 80 % | 70 % | 60 % |
//!
//! At the same load, no call is rejected while one of a lower class is admitted. Calls of lower
//! classes cannot use up the share of a higher class, so they never starve it. Higher classes can
//! use the whole limit, and then starve lower ones. An idle layer admits calls of every class, so a
//! limit under 5 is too small for shares of all classes.
//!
//! The idea is that of criticality in Google's SRE book ("Handling Overload"): each class has its
//! threshold. The thresholds are those of trunk reservation in telephone networks.
//!
//! The rejection names the class: [`Rejection::priority`](crate::Rejection::priority).
//!
//! # Limits that adapt to latency
//!
//! They are opt-in. The layer samples calls and collects their latencies in windows. At the end of
//! each window the limit may move by one step. These calls count as dropped, at most once a window:
//!
//! - calls that time out, and calls whose [`Verdict`](crate::Verdict) reports overload;
//! - calls that ran for too long before their caller, or the caller's deadline, ended them: see
//!   [`OnCancel`](crate::OnCancel). Calls that ended earlier count for nothing.
//!
//! Other failures say nothing about load, so they are neither samples nor drops: a fast error would
//! look like a fast service.
//!
//! Limits by latency begin with a slow start, as TCP does (RFC 5681): see
//! [`Limit`](crate::Limit#how-a-limit-by-latency-begins). The limit by scheduler lag does not.
//!
//! # A limit for each key
//!
//! With [`keyed`](crate::keyed) each route, method or tenant has a limit of its own. Then a slow route
//! does not lower the limit of a fast one:
//!
//! ```
//! use mainstay::{Limit, LoadShedLayer};
//!
//! struct Request { route: &'static str }
//!
//! let layer = LoadShedLayer::builder()
//!     .name("orders")
//!     .limit(Limit::gradient2().build()?)
//!     .keyed(|request: &Request| request.route.into())
//!     .build()?;
//! assert!(layer.handle().keys().is_empty());
//! # Ok::<_, mainstay::ConfigError>(())
//! ```
//!
//! The limit must be fixed or by latency. [`Limit::scheduler_lag`](crate::Limit::scheduler_lag) is
//! refused: the lag is that of the whole process, and many keys with a few calls each would never
//! reach a limit. All keys share one histogram of latencies, but each limit learns from the calls of
//! its key.
//!
//! The limits of all keys have no common one: 200 calls for each of a thousand tenants are 200 000.
//! Callers who choose their own key, such as by a header, are not limited at all. Put a layer without
//! keys around this one, such as the default, which limits all calls by the lag of the process.
//!
//! # How long a call is in flight
//!
//! Under a fixed limit, a call is in flight for as long as the layer follows it.
//! `mainstay::http::load_shed` and `mainstay::grpc::load_shed` follow it to the end of the
//! response's body.
//!
//! Under an adaptive limit, a call is in flight until the head of its response. A call that only
//! streams (a watch, a download) says nothing about latency or load, and must not use up the limit
//! of other calls. The snapshot counts it as `streaming`. Its outcome is still the outcome at the
//! end of its body, and a bulkhead keeps its permit until then.
//!
//! # What a clone shares
//!
//! Everything. The limit and the calls in flight belong to the layer value. An idle service holds
//! no permit.
//!
//! # Cancellation
//!
//! A dropped call is no longer in flight.
//!
//! # Cost
//!
//! - Every call: one compare-and-swap and one subtraction. A call of another class than the highest one
//!   reads two more numbers.
//! - A sample, one call in many: two clock readings and a short lock.
//! - With a limit by latency, an observer, a subscriber or metrics: one clock reading a call.
//! - A response that streams under an adaptive limit: two more atomic operations.
//! - With [`Limit::scheduler_lag`](crate::Limit::scheduler_lag): one task per runtime, which wakes
//!   every 10 ms. While lag sets a limit, each call is polled once more.
//! - With [`on_readiness`](crate::LoadShedLayer::on_readiness): only the inner service's readiness.
//!
//! Nothing is allocated for a call.

mod classes;
mod handle;
mod keyed;
mod lag;
mod layer;
mod load;
mod service;
mod settings;
mod settle;
mod snapshot;

pub use handle::LoadShedHandle;
#[cfg(test)]
pub(crate) use layer::KIND;
pub use layer::{Limited, LoadShedBuilder, LoadShedLayer, OnReadiness};
pub use service::{LoadShed, OnReadinessFuture, ResponseFuture};
pub use settings::Settings;
pub use snapshot::Snapshot;
