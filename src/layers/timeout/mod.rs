//! A time limit on a call, and the deadline that follows from it.
//!
//! A call without a limit takes as long as the upstream likes, and holds memory, a connection and a
//! caller meanwhile. This layer ends it. A configured limit is also the deadline of inner services,
//! in the [`Context`](crate::Context): a retry does not wait past it, and client layers propagate
//! it to the next service. A default limit is not propagated.
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
//! - [`Reason::TimedOut`](crate::Reason::TimedOut) ends a call at the limit, and drops it. The
//!   rejection contains the [limit](crate::Rejection::time_limit): the layer's own, or the
//!   request's deadline.
//! - [`Reason::DeadlinePassed`](crate::Reason::DeadlinePassed) rejects a call whose deadline (the
//!   context's) had passed before. The inner service is not called.
//!
//! The time begins at `call` of the outermost mainstay layer of the stack, not at the first poll,
//! and ends at the response. Neither the wait for readiness nor the body of a response is limited.
//! Over HTTP and gRPC, `mainstay::http::timeout` (feature `http`) can limit the body, too, and
//! reads the caller's deadline from the request.
//!
//! # Settings while calls run
//!
//! The [handle](TimeoutHandle) changes the limit and the [mode](crate::Mode) while calls run. Calls
//! in flight keep the limit with which they began. In shadow mode no call is ended, and inner
//! services see only deadlines from outside. A call that took longer than its limit is reported
//! when it is over, and a call whose deadline has passed is reported at once.
//!
//! # What a clone shares
//!
//! Only settings and counters.
//!
//! # Cancellation
//!
//! Dropping the future drops the call.
//!
//! # Cost
//!
//! One clock reading. A timer is made when the call is first pending. Nothing is allocated. In
//! shadow mode there is no timer, but a second clock reading and two small allocations.

mod cover;
mod future;
mod handle;
mod layer;
mod limits;
mod service;
pub(crate) mod settings;
mod shadow;
mod snapshot;
#[cfg_attr(
    not(feature = "hyper"),
    allow(dead_code, reason = "only adapters know bodies")
)]
mod upload;

pub use cover::{Answered, Asked, Cover, HeadOnly};
pub use future::ResponseFuture;
pub use handle::TimeoutHandle;
pub use layer::{
    CallLimit, Fixed, LimitPolicy, PerRequest, PerRequestFn, TimeoutBuilder, TimeoutLayer,
};
pub use service::Timeout;
pub use settings::{OwnLimit, Settings};
pub use snapshot::Snapshot;
#[doc(hidden)]
pub use upload::{Progress, Upload};

#[cfg(feature = "http")]
pub(crate) use future::Until;
#[cfg(test)]
pub(crate) use layer::{ATTEMPT_KIND, KIND};
pub(crate) use layer::{DEFAULT, LAYER, LimitSource, StateOf, check};
#[cfg(feature = "http")]
pub(crate) use limits::TimeLimits;
pub(crate) use limits::{Own, Role};
