//! For your own tests: an inner service whose calls the test answers, and a probe that counts.
//!
//! - [`controlled`] makes an inner service and the [`Calls`] that reach it. The test holds a call
//!   as long as it wants, then answers it with a response, an error or a panic. It can also queue
//!   answers ahead.
//! - [`Probe`] wraps any service. It counts calls, polls, drops and clones, and can make the
//!   service not ready.
//!
//! Neither has bounds: requests, responses and errors may be of any type. All time in mainstay is
//! tokio's. A test with a paused clock (`#[tokio::test(start_paused = true)]`, feature `test-util`
//! of tokio) takes no time, whatever the open time, back-off or time limit.
//!
//! The module needs no feature. It adds no dependency, and what you do not use is not compiled into
//! your program.
//!
//! # A circuit breaker
//!
//! Do the settings open the circuit when they should, and close it again? The test looks at errors,
//! at the [snapshot](crate::snapshot), at [events](crate::Events), and at what reached the
//! upstream.
//!
//! ```
//! use std::time::Duration;
//!
//! use mainstay::{CircuitBreakerLayer, Error, EventKind, Reason, State, testing};
//! use tower::{Layer, Service, ServiceExt};
//!
//! # // The line above the function is `#[tokio::test(start_paused = true)]` in a test.
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let layer = CircuitBreakerLayer::builder()
//!     .name("payments")
//!     .min_calls(10)
//!     .failure_rate(0.5)
//!     .open_for(Duration::from_secs(30))
//!     // By default the open time varies by a tenth, so that circuits do not all close at once.
//!     .jitter(0.0)
//!     .probes(1)
//!     .build()?;
//! let circuit = layer.handle();
//! let mut events = circuit.events();
//!
//! let (upstream, mut calls) = testing::controlled::<&str, u32, std::io::Error>();
//! let mut service = layer.layer(upstream.clone());
//!
//! // Ten failures open the circuit.
//! for _ in 0..10 {
//!     calls.answer_next(Err(std::io::ErrorKind::ConnectionRefused.into()));
//!     service.ready().await?.call("pay").await.unwrap_err();
//! }
//! let snapshot = circuit.snapshot();
//! assert_eq!((snapshot.state, snapshot.outcomes.failure), (State::Open, 10));
//!
//! // Now it rejects. The rejection says why and for how long, and the upstream sees nothing of it.
//! match service.ready().await?.call("pay").await {
//!     Err(Error::Rejected(rejection)) => {
//!         assert_eq!(rejection.reason(), Reason::CircuitOpen);
//!         assert_eq!(rejection.name(), "payments");
//!         assert_eq!(rejection.retry_after(), Some(Duration::from_secs(30)));
//!     }
//!     other => panic!("not rejected: {other:?}"),
//! }
//! assert_eq!(upstream.calls(), 10);
//!
//! // After the open time the test holds the one probe call. Until it ends, others are rejected.
//! tokio::time::advance(Duration::from_secs(30)).await;
//! let probe = tokio::spawn(service.clone().oneshot("pay"));
//! let held = calls.next().await;
//! assert_eq!(held.request(), &"pay");
//! assert_eq!(circuit.state(), State::HalfOpen);
//! assert!(service.ready().await?.call("pay").await.is_err());
//!
//! // The probe succeeds, and the circuit closes.
//! held.respond(42);
//! assert_eq!(probe.await??, 42);
//! assert_eq!(circuit.state(), State::Closed);
//!
//! // Every decision was an event, too.
//! let mut states = Vec::new();
//! let mut rejected = 0;
//! while let Some(event) = events.try_recv() {
//!     match event.kind() {
//!         EventKind::Transition(transition) => states.push(transition.to),
//!         EventKind::Rejected(_) => rejected += 1,
//!         _ => {}
//!     }
//! }
//! assert_eq!(states, [State::Open, State::HalfOpen, State::Closed]);
//! assert_eq!(rejected, 2);
//! # Ok(()) }
//! ```
//!
//! # A time limit
//!
//! A call that nobody answers ends at its limit, and the layer drops the inner future.
//!
//! ```
//! use std::time::Duration;
//!
//! use mainstay::{Reason, TimeoutLayer, WithRejection, testing};
//! use tower::{Layer, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! let (upstream, mut calls) = testing::controlled::<(), (), std::io::Error>();
//! let service = TimeoutLayer::new(Duration::from_secs(5)).layer(upstream.clone());
//!
//! let call = tokio::spawn(service.oneshot(()));
//! let mut held = calls.next().await;
//! held.cancelled().await; // five seconds, which take no time
//!
//! let error = call.await.unwrap().unwrap_err();
//! assert_eq!(error.rejection().unwrap().reason(), Reason::TimedOut);
//! assert_eq!((upstream.dropped(), upstream.in_flight()), (1, 0));
//! # }
//! ```

mod controlled;
mod probe;

pub use controlled::{Call, Calls, Controlled, ControlledFuture, controlled};
pub use probe::{Probe, ProbeFuture};
