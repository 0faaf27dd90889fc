//! A time limit on a call, and the deadline that follows from it.
//!
//! A call without a limit takes as long as whoever answers it likes, and holds memory, a connection
//! and a caller for as long. This layer ends it. A limit that somebody set is also the deadline of
//! everything inside, in the [`Context`](crate::Context): a retry does not sleep past it, and
//! client layers propagate it to the next service. A default limit that nobody set is not
//! propagated.
//!
//! ```
//! use mainstay::{Error, Reason, TimeoutLayer};
//! use std::time::Duration;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let mut service = ServiceBuilder::new()
//!     .layer(TimeoutLayer::new(Duration::from_millis(5)))
//!     .service(service_fn(|()| async {
//!         std::future::pending::<()>().await;
//!         Ok::<_, std::io::Error>(())
//!     }));
//!
//! let error = service.ready().await.unwrap().call(()).await.unwrap_err();
//! let Error::Rejected(rejection) = error else { panic!() };
//! assert_eq!(rejection.reason(), Reason::TimedOut);
//! # }
//! ```
//!
//! # What it rejects
//!
//! [`Reason::TimedOut`](crate::Reason::TimedOut) when the time is over and the call is not; the call is dropped then. The rejection
//! says [which limit](crate::Rejection::time_limit) that was and how long it was: the layer's own, or the request's deadline.
//! [`Reason::DeadlinePassed`](crate::Reason::DeadlinePassed) when the request's deadline (the context's) had passed before:
//! the inner service is not called. The time runs from `call` (that of the outermost mainstay layer of a stack, so what a layer
//! between them does there synchronously counts), not from the first poll, and ends at the response: what a
//! response streams afterwards is not limited. Waiting for readiness is not limited either. Over HTTP and gRPC,
//! `mainstay::http::timeout` (feature `http`) makes a layer that can limit the response's body, too, and that reads how long the caller has.
//!
//! # What a clone shares
//!
//! Nothing that changes: the settings only.
//!
//! # Cancellation
//!
//! Dropping the future drops the call.
//!
//! # Cost
//!
//! One reading of the clock. The timer is made when the call first has to wait: a call that
//! is ready at once has none. Nothing is allocated.

mod cover;
mod future;
mod layer;
mod service;
mod snapshot;
#[cfg_attr(
    not(feature = "hyper"),
    allow(dead_code, reason = "only adapters know bodies")
)]
mod upload;

pub use cover::{Answered, Asked, Cover, HeadOnly};
pub use future::ResponseFuture;
pub use layer::{CallLimit, Fixed, PerRequest, PerRequestFn, TimeoutBuilder, TimeoutLayer};
pub use service::Timeout;
pub use snapshot::Snapshot;
#[doc(hidden)]
pub use upload::{Progress, Upload};

#[cfg(feature = "http")]
pub(crate) use future::Until;
#[cfg(test)]
pub(crate) use layer::{ATTEMPT_KIND, KIND};
pub(crate) use layer::{DEFAULT, LAYER, LimitSource, check};
