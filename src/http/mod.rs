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
//!         let mut response = Response::new(());
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
//! - Layers that know HTTP: [`circuit_breaker`], [`load_shed`], [`bulkhead`], [`retry`]. Begin with these under HTTP rather than
//!   with the builders of the layers themselves. They read the head of a response.
//! - What they are made of: [`HttpClassifier`], [`classify`] for a closure, [`HttpRetry`].
//! - [`RespondLayer`](crate::RespondLayer), which turns rejections into responses, on the server's side.
//! - [`Carry`](crate::Carry) for requests, responses and `http::HeaderMap`, so that
//!   [`CorrelationLayer`](crate::CorrelationLayer) works on them.
//!
//! The other layers ([`TimeoutLayer`](crate::TimeoutLayer), say) need to know nothing of HTTP.
//!
//! # What it rejects
//!
//! Nothing by itself: see the layers. So also for what a clone shares, and for cancellation.
//!
//! # Cost
//!
//! A comparison of the status. Headers are read only where the status says that there may be something in them. A retry clones the request's head,
//! and takes two small allocations and a place in a list for each frame of a body that streams: see [`ReplayBody`].

mod carry;
mod classify;
mod head;
mod layers;
mod replay;
mod retry;
pub(crate) mod retry_after;
mod unprocessed;

pub use classify::{ClassifyHead, HeadVerdict, HttpClassifier, classify};
pub use head::{HttpRequest, HttpResponse, ResponseHead};
pub use layers::{bulkhead, circuit_breaker, load_shed, retry};
pub use replay::{KeptRequest, ReplayBody, ReplayRequest};
pub use retry::HttpRetry;

pub(crate) use unprocessed::is_unprocessed;
