//! gRPC: what its codes mean to the layers, over the `http` crate's types and (feature `tonic`) with tonic's status as the error.
//!
//! A gRPC call that failed is, to anyone who looks only at the response, an HTTP 200. A circuit breaker that does not know the codes stays closed for
//! ever; a client that gets a rejection as anything but a status sees `UNKNOWN` or a broken stream.
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
//! # What is here
//!
//! - Layers that know gRPC: [`circuit_breaker`], [`load_shed`], [`bulkhead`], [`retry`], [`timeout`]. Their calls last until the trailers: see
//!   [`GrpcClassifier`], and [`mainstay::http`](crate::http#how-long-a-call-lasts) for what is held until then.
//!   A retry reads trailers that come at once: see [`GrpcRetry`].
//! - On the server's side [`RespondLayer`](crate::RespondLayer) turns rejections into statuses by itself.
//!
//! # What a client sees of a rejection
//!
//! | the reason | the code |
//! |---|---|
//! | `CircuitOpen`, `NotReady`, `Full`, `QueueTimeout`, `Shed`, `Refused` | `UNAVAILABLE` |
//! | `RateLimited` | `RESOURCE_EXHAUSTED` |
//! | `TimedOut`, `DeadlinePassed` | `DEADLINE_EXCEEDED` |
//!
//! A server with [`full_as(429)`](crate::RespondLayer::full_as) answers `Full` and `QueueTimeout`
//! by `RESOURCE_EXHAUSTED`.
//!
//! With the feature `tonic`, a connection that is lost before the head of a response is `UNAVAILABLE`, too, and so is a call that a server turns
//! away as it shuts down, where tonic alone says `UNKNOWN`, `CANCELLED` or `INTERNAL`. A connection that is lost afterwards is what tonic makes
//! of it, which is `UNKNOWN`.
//!
//! An open circuit adds `grpc-retry-pushback-ms`, the time that it stays open. On the client's side, too: with the feature `tonic` the error of a stack around a
//! `Channel` is `tonic::Status`, and a [`Rejection`](crate::Rejection) has a status among its sources, so that the stub finds the code also behind
//! tower's `Buffer` or a `BoxError`.
//!
//! # One service of a server
//!
//! `Server::builder().layer(stack)` is for all services of a server. For one of them, wrap that service: the services that mainstay's layers and server stacks make
//! keep its name, tonic's `NamedService` (feature `tonic`). For health checks and reflection, which should be answered also when the server is
//! full, leave those services out.
//!
//! ```ignore
//! Server::builder()
//!     .add_service(health_service)
//!     .add_service(stack.wrap(UsersServer::new(directory)))
//! ```
//!
//! With a layer of tower's or of your own in between, the name is lost; tonic's `tonic::service::LayerExt::named_layer` keeps it:
//! `ServiceBuilder::new().layer(stack).layer(other).named_layer(UsersServer::new(directory))`.
//!
//! # What it rejects
//!
//! Nothing by itself: see the layers. So also for what a clone shares, and for cancellation.
//!
//! # Cost
//!
//! Two look-ups in the headers of a response, and one in its trailers. A retry clones the head of the request, and takes two small allocations and
//! a list of the frames for its body: see [`ReplayBody`](crate::http::ReplayBody).

pub use crate::protocol::grpc::*;
pub use crate::stack::ServerStack;
pub use crate::stack::grpc::*;
