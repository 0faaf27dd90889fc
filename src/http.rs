//! Layers that understand HTTP methods, statuses, headers and bodies.
//!
//! A layer that sees only "a response or an error" counts a 500 as a success, retries requests that
//! must not be repeated, and ignores `Retry-After`. The layers of this module do none of that. They
//! work on `http::Request` and `http::Response` (axum, hyper, tonic) and on reqwest's own types
//! (feature `reqwest`).
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
//! - Layers for HTTP: [`circuit_breaker`], [`load_shed`], [`bulkhead`], [`rate_limit`], [`retry`]
//!   and [`timeout()`]. Use these under HTTP rather than the builders of the layers themselves,
//!   which know neither the status nor the end of a response.
//! - Their parts: [`HttpClassifier`], [`classify`] for a closure, [`EndOfBody`], [`HttpRetry`].
//! - [`DeadlineLayer`], which propagates the remaining time to the next service.
//! - [`RespondLayer`](crate::RespondLayer), which turns rejections into responses on a server.
//! - [`Carry`](crate::Carry) for requests, responses and `http::HeaderMap`, so that
//!   [`CorrelationLayer`](crate::CorrelationLayer) works on them.
//! - [`InContextBody`], a body that is polled within a context, and [`InCorrelationBody`], one that
//!   keeps the correlation ID of its request.
//!
//! # How long a call lasts
//!
//! A call lasts to the end of its response. The circuit breaker, the bulkhead and the load shedder
//! of this module settle a call when its outcome is final: at the head if the head decides,
//! otherwise at the end of the body, at its error, or when it is dropped. A bulkhead holds its
//! permit until the body has yielded its last frame or is dropped. A load shedder with an adaptive
//! limit, which is the default, counts the call up to its head. The latency is that of the head.
//!
//! Two kinds of response are over at their head: switches of protocol (101), and event streams
//! (`text/event-stream`), which would fill any bulkhead with calls that only wait.
//! [`until_head`](crate::bulkhead::BulkheadBuilder::until_head) treats all responses that way.
//!
//! To this end the body becomes a [`GuardedBody`], which passes every frame on unchanged and
//! allocates nothing. The type `reqwest::Response` stays the same; its body is boxed once more.
//!
//! # Rejections, clones, cancellation
//!
//! See the layers themselves.
//!
//! # Cost
//!
//! One comparison of the status, and the `content-type` of responses that have a body. Other
//! headers are read only for statuses that use them. A retry clones the head of the request. For a
//! streaming body it adds two small allocations and an entry in a list per frame: see
//! [`ReplayBody`].

pub use crate::protocol::http::*;
pub use crate::stack::http::*;
pub use crate::stack::{ClientSettings, ServerSettings, ServerStack};
