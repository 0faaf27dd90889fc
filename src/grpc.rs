//! gRPC: layers that classify calls by their code, over the `http` crate's types. With the feature
//! `tonic`, their error is `tonic::Status`.
//!
//! A failed gRPC call is an HTTP 200. A circuit breaker that ignores gRPC codes never opens, and a
//! client that gets a rejection without a status sees `UNKNOWN` or a broken stream.
//!
//! ```no_run
//! # #[cfg(feature = "tonic")]
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use mainstay::{CorrelationLayer, TimeoutLayer, grpc};
//! use std::time::Duration;
//! use tonic::transport::Endpoint;
//! use tower::ServiceBuilder;
//!
//! let users = ServiceBuilder::new()
//!     .layer(CorrelationLayer::client())
//!     .layer(TimeoutLayer::new(Duration::from_secs(1)))
//!     .layer(grpc::retry().name("users").build()?)
//!     .layer(grpc::circuit_breaker().name("users").build()?)
//!     .service(Endpoint::from_static("http://[::1]:50051").connect_lazy());
//! // let mut client = UsersClient::new(users);
//! # let _ = users;
//! # Ok(())
//! # }
//! ```
//!
//! # Layers
//!
//! - [`circuit_breaker`], [`load_shed`], [`bulkhead`], [`rate_limit`], [`retry`] and [`timeout`]
//!   for clients and servers. Their calls last until the trailers: see [`GrpcClassifier`], and
//!   [`mainstay::http`](crate::http#how-long-a-call-lasts) for permits. [`GrpcRetry`] describes
//!   retries.
//! - [`RespondLayer`](crate::RespondLayer) for servers: it turns rejections into statuses.
//!
//! # Codes of rejections
//!
//! | reason | code |
//! |---|---|
//! | `CircuitOpen`, `NotReady`, `Full`, `QueueTimeout`, `Shed`, `Refused` | `UNAVAILABLE` |
//! | `RateLimited` | `RESOURCE_EXHAUSTED` |
//! | `TimedOut`, `DeadlinePassed` | `DEADLINE_EXCEEDED` |
//!
//! A server with [`full_as(429)`](crate::RespondLayer::full_as) answers `Full` and `QueueTimeout`
//! with `RESOURCE_EXHAUSTED`. An open circuit adds `grpc-retry-pushback-ms`, the remaining open
//! time.
//!
//! With the feature `tonic`, the error of a stack around a `Channel` is `tonic::Status`, with the
//! [`Rejection`](crate::Rejection) as its source. A rejection has a status among its own sources,
//! so that a stub finds the code also behind tower's `Buffer` or a `BoxError`.
//!
//! With the feature `tonic`, `UNAVAILABLE` also stands for a connection that is lost before the
//! response head, and for a call that a server refuses while it shuts down; tonic alone reports
//! `UNKNOWN`, `CANCELLED` or `INTERNAL`. A connection that is lost later is `UNKNOWN`, as in tonic.
//!
//! # One service of a server
//!
//! `Server::builder().layer(stack)` applies to all services of a server. To apply a stack to one
//! service, wrap the service. The services of mainstay's layers and server stacks keep its name,
//! tonic's `NamedService` (feature `tonic`). Do not wrap health checks and reflection, so that they
//! answer also when the server is full.
//!
//! ```ignore
//! Server::builder()
//!     .add_service(health_service)
//!     .add_service(stack.wrap(UsersServer::new(directory)))
//! ```
//!
//! A layer of tower or of your own loses the name. tonic's `tonic::service::LayerExt::named_layer`
//! keeps it:
//! `ServiceBuilder::new().layer(stack).layer(other).named_layer(UsersServer::new(directory))`.
//!
//! # Rejections, clones, cancellation, cost
//!
//! The layers describe their rejections, shared state and cancellation. Each call costs two
//! look-ups in the response headers and one in the trailers. A retry clones the request head, and
//! makes two small allocations and a list of the frames for its body: see
//! [`ReplayBody`](crate::http::ReplayBody).

pub use crate::protocol::grpc::*;
pub use crate::stack::grpc::*;
pub use crate::stack::{ClientSettings, ServerSettings, ServerStack};
