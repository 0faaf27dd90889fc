//! Rejections as responses: an HTTP status with problem details, or a gRPC status.
//!
//! A server's stack must answer every request, but a layer that rejects has only an error to give, and frameworks close the connection, break the
//! stream or do not compile when one reaches them. This layer stands outside of the others and turns what they reject into an answer,
//! so that nothing but [`Infallible`](std::convert::Infallible) leaves the stack.
//!
//! ```
//! use http::{Request, Response};
//! use mainstay::{BulkheadLayer, RespondLayer};
//! use std::convert::Infallible;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let mut service = ServiceBuilder::new()
//!     .layer(RespondLayer::new())
//!     .layer(BulkheadLayer::new(0))
//!     .service(service_fn(|_: Request<()>| async {
//!         Ok::<_, Infallible>(Response::new(String::from("hello")))
//!     }));
//!
//! let response = service.ready().await.unwrap().call(Request::new(())).await.unwrap();
//! assert_eq!(response.status(), 503);
//! assert_eq!(response.headers()["content-type"], "application/problem+json");
//! assert!(response.body().contains(r#""reason":"full""#));
//! # }
//! ```
//!
//! # What the caller sees
//!
//! | the reason | HTTP | gRPC |
//! |---|---|---|
//! | `CircuitOpen`, `NotReady` | 503 | `UNAVAILABLE` |
//! | `Full`, `QueueTimeout` | 503, or 429: see [`full_as`](RespondLayer::full_as) | `UNAVAILABLE`, or `RESOURCE_EXHAUSTED` where HTTP says 429 |
//! | `Shed` | 503 | `UNAVAILABLE` |
//! | `TimedOut`, `DeadlinePassed` | 504 | `DEADLINE_EXCEEDED` |
//! | `RateLimited` | 429 | `RESOURCE_EXHAUSTED` |
//! | `Refused`, by a policy [of your own](crate::admission) | 503 | `UNAVAILABLE` |
//!
//! HTTP requests get a body of `application/problem+json`. Requests whose `content-type` is that of gRPC or gRPC-Web get an HTTP 200 of trailers only.
//!
//! An open circuit and a rate limit know when they will admit a call again: the answer carries the time that is left, as `Retry-After` in whole seconds
//! rounded up, or as `grpc-retry-pushback-ms`. For a rate limit there is also a `RateLimit` field, and `RateLimit-Policy` with
//! [`rate_limit_policy`](RespondLayer::rate_limit_policy). Other rejections carry neither, because nobody knows when a permit will be free: see
//! [`Rejection::retry_after`](crate::Rejection::retry_after). Which layer rejected, and
//! which instance of it, is not told, because it says more of the inside of a system than strangers should know: see
//! [`show_names`](RespondLayer::show_names). The [`Rejection`](crate::Rejection) itself is in the response's extensions, for whatever logs or counts further out.
//!
//! # What it rejects
//!
//! Nothing. Errors that are no rejection need [`map_error`](RespondLayer::map_error); without it a stack in which they can occur does not compile.
//!
//! # Readiness
//!
//! It is never an error. If the inner service's readiness is one, it is kept and is the answer to the next call; after that the inner service is asked again.
//! A service that is not ready holds up what is outside, as ever; [`LoadShedLayer`](crate::LoadShedLayer) inside of this one answers instead.
//!
//! # What a clone shares
//!
//! Only settings.
//!
//! # Cancellation
//!
//! Dropping the future drops the call.
//!
//! # Cost
//!
//! One look at the request's method and `content-type`. A rejection allocates for its headers and its body.

mod answer;
mod body;
mod errors;
mod layer;
mod service;

#[cfg(feature = "axum")]
pub(crate) use answer::answer_http;
pub(crate) use answer::grpc_trailers;
pub use body::{BodyWith, EmptyBody, KnownBody, MakeBody, RejectionBody};
pub use errors::{MapError, MapErrorWith, Mapping, MayBeRejection, OnlyRejection, RejectionsOnly};
pub use layer::RespondLayer;
pub use service::{Respond, ResponseFuture};
