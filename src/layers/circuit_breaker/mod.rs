//! A circuit breaker: stops calling an upstream that fails, and probes whether it has recovered.
//!
//! A caller that keeps calling a failing upstream fills itself with calls that cannot succeed, and
//! keeps the upstream from recovering. A circuit breaker counts outcomes. When too many calls fail
//! or are too slow, it *opens* and rejects calls at once. After a while it admits a few *probes*
//! (half-open), and they decide whether it closes.
//!
//! ```
//! use mainstay::{CircuitBreakerLayer, Error, Reason, State};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), mainstay::ConfigError> {
//! let layer = CircuitBreakerLayer::builder()
//!     .name("payments")
//!     .consecutive_failures(3)
//!     .build()?;
//! let circuit = layer.handle();
//! let mut payments = ServiceBuilder::new()
//!     .layer(layer)
//!     .service(service_fn(|()| async { Err::<(), _>(std::io::Error::other("broken")) }));
//!
//! for _ in 0..3 {
//!     let error = payments.ready().await.unwrap().call(()).await.unwrap_err();
//!     assert!(matches!(error, Error::Inner(_)));
//! }
//! assert_eq!(circuit.state(), State::Open);
//!
//! let error = payments.ready().await.unwrap().call(()).await.unwrap_err();
//! let Error::Rejected(rejection) = error else { panic!() };
//! assert_eq!(rejection.reason(), Reason::CircuitOpen);
//! assert!(rejection.retry_after().is_some());
//! # Ok(())
//! # }
//! ```
//!
//! # What it rejects
//!
//! [`Reason::CircuitOpen`](crate::Reason::CircuitOpen), at once, from the call's future, with the
//! time that is left until it lets a probe through. `poll_ready` is ready while the circuit is
//! open, so the rejection does not wait for the inner service.
//!
//! In [shadow mode](Mode::Shadow) it rejects nothing and reports what it would have rejected, by the name `would_reject`: as an
//! [event](crate::EventKind::WouldReject), in the metric `mainstay_would_reject_total`, in the log and in the [snapshot](Snapshot). `state()` says
//! what the state would be.
//!
//! # When it opens
//!
//! When any of its rules says so: the failure rate over a window (50 % of at least 20 calls within
//! 10 seconds by default), the rate of slow calls, so many failures in a row. A classifier says
//! what a failure is: by default every error. A call that an inner layer rejected (a full bulkhead,
//! say) does not count. A call that timed out does, and so does a panic, and an error of the inner
//! service's `poll_ready`.
//!
//! # What a clone shares
//!
//! Everything: there is one circuit per layer value, for all services it makes, all clones, and the
//! [handle](CircuitBreakerLayer::handle).
//!
//! # Cancellation
//!
//! A call that its caller drops, or that its caller's deadline ends, gives back its probe permit. It is a failure if it ran for
//! longer than the slow-call threshold, or, without one, for at least a second and longer than every call that succeeded within the
//! last minute; and is ignored otherwise: see [`OnCancel`]. So no caller can open the circuit by hanging up or by short deadlines, and
//! a service that hangs is found although every caller gives up first. A call that one of the program's own time limits ended in full
//! is a failure, whether the [`TimeoutLayer`](crate::TimeoutLayer) is further in or further out. The time of a call begins
//! when it is made, not when it is first polled.
//!
//! # Cost
//!
//! A closed circuit's success takes no lock: it increments a counter that belongs to the thread. The clock
//! is read when a call is made, and once more when it ends, unless the call did not have to wait, the
//! window counts calls, and no rule is about slow calls. Failures take a short lock. Rejections read
//! the clock. Nothing is allocated; a classifier of your own costs a reference count a call. No cost
//! grows with the window.

mod admitted;
mod builder;
mod circuit;
mod handle;
mod history;
mod layer;
mod service;
mod shadow;
mod snapshot;

#[cfg(mainstay_loom)]
pub(crate) use circuit::models;

pub use crate::policy::breaker::{Cause, Mode, OnCancel, Recovery, State, Transition};
pub use crate::policy::window::Window;
pub use builder::CircuitBreakerBuilder;
pub use handle::{CircuitBreakerHandle, StateWatch};
pub use history::Change;
pub use layer::CircuitBreakerLayer;
#[cfg(test)]
pub(crate) use layer::KIND;
pub use service::{CircuitBreaker, ResponseFuture};
pub use snapshot::Snapshot;
