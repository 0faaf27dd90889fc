//! Rejections as responses: an HTTP status with problem details, or a gRPC status.
//!
//! A server must answer every request, but a layer that rejects a call returns an error. Frameworks
//! then close the connection, break the stream or do not compile. [`RespondLayer`] is the outermost
//! layer: it turns rejections into responses, and its own error is
//! [`Infallible`](std::convert::Infallible).
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
//! # Responses
//!
//! | reason | HTTP | gRPC |
//! |---|---|---|
//! | `CircuitOpen`, `NotReady` | 503 | `UNAVAILABLE` |
//! | `Full`, `QueueTimeout` | 503, or 429 with [`full_as`](RespondLayer::full_as) | `UNAVAILABLE`, or `RESOURCE_EXHAUSTED` with 429 |
//! | `Shed` | 503 | `UNAVAILABLE` |
//! | `TimedOut`, `DeadlinePassed` | 504 | `DEADLINE_EXCEEDED` |
//! | `RateLimited` | 429 | `RESOURCE_EXHAUSTED` |
//! | `Refused`, by a policy [of your own](crate::admission) | 503 | `UNAVAILABLE` |
//!
//! HTTP requests get an `application/problem+json` body. Requests with a gRPC or gRPC-Web
//! `content-type` get an HTTP 200 with trailers only.
//!
//! An open circuit and a rate limit know when they will admit a call again. Their responses carry
//! this time as `Retry-After`, in whole seconds rounded up, or as `grpc-retry-pushback-ms`. A rate
//! limit adds a `RateLimit` field, and `RateLimit-Policy` with
//! [`rate_limit_policy`](RespondLayer::rate_limit_policy). For other rejections the time is
//! unknown: see [`Rejection::retry_after`](crate::Rejection::retry_after).
//!
//! The response does not name the layer and the instance, because callers need not know the inside
//! of a system; [`show_names`](RespondLayer::show_names) adds them. The
//! [`Rejection`](crate::Rejection) itself is in the response's extensions, for logs and metrics.
//!
//! # What it rejects
//!
//! Nothing. Errors that are not rejections need [`map_error`](RespondLayer::map_error); without it,
//! a stack that can return them does not compile.
//!
//! # Readiness
//!
//! Readiness is never an error. A readiness error of the inner service becomes the answer to the
//! next call; after that the inner service is polled again. An inner service that is not ready
//! delays the outer layers; an inner [`LoadShedLayer`](crate::LoadShedLayer) rejects instead.
//!
//! # Clones, cancellation, cost
//!
//! A clone shares only settings. Dropping the future drops the call. A call reads the request's
//! method and `content-type`. A rejection allocates its headers and body.

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
