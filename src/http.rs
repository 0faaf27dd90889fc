//! HTTP: what its requests, statuses and headers mean to the layers.
//!
//! A layer that knows only "a response or an error" takes a 500 for a success, retries what must not be repeated, and does not hear the
//! server ask to be left alone. What is here knows: it works on `http::Request` and `http::Response` (axum, hyper, tonic) and
//! on reqwest's own types (feature `reqwest`).
//!
//! ```
//! use http::{Request, Response, StatusCode};
//! use mainstay::{State, http as resilient};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), mainstay::ConfigError> {
//! let breaker = resilient::circuit_breaker().consecutive_failures(3).build()?;
//! let circuit = breaker.handle();
//! let mut service = ServiceBuilder::new()
//!     .layer(breaker)
//!     .service(service_fn(|_: Request<()>| async {
//!         let mut response = Response::new(String::new());
//!         *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
//!         Ok::<_, std::io::Error>(response)
//!     }));
//!
//! for _ in 0..3 {
//!     let response = service.ready().await.unwrap().call(Request::new(())).await.unwrap();
//!     assert_eq!(response.status(), 500);
//! }
//! assert_eq!(circuit.state(), State::Open);
//! # Ok(())
//! # }
//! ```
//!
//! # What is here
//!
//! - Layers that know HTTP: [`circuit_breaker`], [`load_shed`], [`bulkhead`], [`rate_limit`], [`retry`], [`timeout()`]. Begin with these under HTTP rather than
//!   with the builders of the layers themselves: those know neither a status nor where a response ends.
//! - What they are made of: [`HttpClassifier`], [`classify`] for a closure, [`EndOfBody`], [`HttpRetry`].
//! - [`DeadlineLayer`], which tells the next service how long it has.
//! - [`RespondLayer`](crate::RespondLayer), which turns rejections into responses, on the server's side.
//! - [`Carry`](crate::Carry) for requests, responses and `http::HeaderMap`, so that
//!   [`CorrelationLayer`](crate::CorrelationLayer) works on them.
//! - [`InContextBody`], a body that is polled within the context of its request.
//!
//! # How long a call lasts
//!
//! To the end of its response. A circuit breaker, a bulkhead and a load shedder that begin here
//! learn the outcome when it is final (at a head that decides, or else at the end of the body, its
//! error, or when it is dropped), and a bulkhead holds its permit until the last frame of the body
//! has been given out or the body is dropped. A load shedder with an adaptive limit, which is the
//! default, counts the call up to its head. Latency is that of the head. Two kinds of response are
//! over at their head: those that switch protocols (101), and streams of events
//! (`text/event-stream`), which would fill any bulkhead with calls that only wait.
//! [`until_head`](crate::bulkhead::BulkheadBuilder::until_head) does the same for all.
//!
//! For that the body becomes a [`GuardedBody`], which passes everything on as it is and allocates nothing; `reqwest::Response` stays
//! what it is, and its body is boxed once more.
//!
//! # What it rejects
//!
//! Nothing by itself: see the layers. So also for what a clone shares, and for cancellation.
//!
//! # Cost
//!
//! A comparison of the status, and a look at the `content-type` of responses that have a body. Other headers are read only where the status says
//! that there may be something in them. A retry clones the request's head, and takes two small allocations and a place in a list for each frame of
//! a body that streams: see [`ReplayBody`].

pub use crate::protocol::http::*;
pub use crate::stack::ServerStack;
pub use crate::stack::http::*;
