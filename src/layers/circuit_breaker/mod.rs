//! A circuit breaker: stops calling an upstream that fails, and probes whether it has recovered.
//!
//! A caller that keeps calling a failing upstream wastes its own resources, and keeps the upstream
//! from recovering. A circuit breaker counts outcomes. When too many calls fail
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
//! time until the circuit admits a probe. `poll_ready` is ready while the circuit is open, so the
//! rejection does not wait for the inner service.
//!
//! In [shadow mode](Mode::Shadow) it rejects nothing, and reports the calls that it would reject as
//! `would_reject`: in an [event](crate::EventKind::WouldReject), in the metric
//! `mainstay_would_reject_total`, in the log and in the [snapshot](Snapshot). `state()` returns the
//! state that the circuit would have.
//!
//! # When it opens
//!
//! When one of its rules trips:
//!
//! - the failure rate over a window: by default 50 % of at least 20 calls within 10 seconds;
//! - the rate of slow calls;
//! - a number of consecutive failures.
//!
//! A classifier decides which results are failures: by default every error. A timeout, a panic and
//! an error of the inner service's `poll_ready` are failures. A call that an inner layer rejected
//! (a full bulkhead, say) does not count.
//!
//! # What a clone shares
//!
//! Everything. There is one circuit per layer value, shared by all services it makes, all clones
//! and the [handle](CircuitBreakerLayer::handle).
//!
//! # Cancellation
//!
//! A call that its caller drops, or that its caller's deadline ends, releases its probe permit. It
//! is a failure if it ran for longer than the slow-call threshold. Without that threshold, it is a
//! failure if it ran for at least one second, and for longer than every successful call of the last
//! minute. Otherwise it is ignored: see [`OnCancel`]. So no caller can open the circuit with early
//! disconnects or short deadlines, and a hanging upstream is detected although every caller gives
//! up first.
//!
//! A call that reached one of the program's own time limits is a failure, whether the
//! [`TimeoutLayer`](crate::TimeoutLayer) is an inner or an outer layer. The time of a call starts
//! at `call`, not at the first poll.
//!
//! # Cost
//!
//! - A success while closed takes no lock: it increments a per-thread counter.
//! - The clock is read at `call` and at the end of the call. The second reading is omitted if the
//!   call is ready at its first poll, the window counts calls, and there is no slow-call rule.
//! - A failure takes a short lock. A rejection reads the clock.
//! - Nothing is allocated. A classifier of your own costs one reference count a call.
//! - No cost grows with the window.

mod admit;
mod builder;
mod circuit;
mod common;
mod handle;
mod history;
mod layer;
mod service;
mod snapshot;

#[cfg(mainstay_loom)]
pub(crate) use circuit::models;

pub use crate::policy::breaker::{
    Cause, OnCancel, Recovery, Settings, SlowCalls, State, Transition,
};
pub use crate::policy::window::Window;
pub use crate::vocabulary::mode::Mode;
pub use builder::CircuitBreakerBuilder;
pub use handle::{CircuitBreakerHandle, StateWatch};
pub use history::Change;
pub use layer::CircuitBreakerLayer;
#[cfg(test)]
pub(crate) use layer::KIND;
pub use service::{CircuitBreaker, ResponseFuture};
pub use snapshot::Snapshot;
