//! Standard stacks: the layers in the right order, with numbers that go together, in five lines.
//!
//! Most mistakes are made between layers: a retry inside of the circuit breaker, a limit that each
//! connection has anew, an attempt that may take longer than the whole call. A standard stack has
//! one order, whatever the order of the builder's methods. It shares the state that must be shared.
//! [`build`](ClientBuilder::build) checks its numbers against each other.
//!
//! ```
//! use axum::{Router, routing::get};
//!
//! # fn app() -> Result<Router, mainstay::ConfigError> {
//! let app = Router::new()
//!     .route("/orders", get(|| async { "none" }))
//!     .layer(mainstay::http::server("orders").build()?);
//! # Ok(app)
//! # }
//! ```
//!
//! | to wrap | begin with | and end with |
//! |---|---|---|
//! | an axum router, any other HTTP server | [`http::server`] | `router.layer(stack)` |
//! | a tonic server, also one that serves HTTP on the same port | [`grpc::server`] | `Server::builder().layer(stack)` |
//! | tonic's channel | [`grpc::client`] | `UsersClient::new(stack.wrap(channel))` |
//! | reqwest's client | `reqwest::client` | `stack.wrap(client)`, then `builder.send_through(&wrapped)` |
//! | hyper-util's client, any other HTTP client | [`http::client`] | `stack.wrap(client)` |
//! | any other client: of a database, a cache, a protocol of your own | [`mainstay::client`](crate::client) | `stack.wrap(client)` |
//! | any other server: of frames, messages, jobs | [`mainstay::server`](crate::server) | `stack.wrap(service)` |
//!
//! The service that a server stack makes is called with any body and answers with a body of its own type, around a service with a body of any type. `axum::serve` takes a
//! whole router in a stack only with axum's body: add `ServiceBuilder::map_response(|response: http::Response<_>| response.map(axum::body::Body::new))` outside. So does
//! `tower::util::option_layer`, for which the types with the layer and without it must be the same. A stack around one service of tonic's keeps that service's
//! name (`NamedService`): `Server::builder().add_service(stack.wrap(UsersServer::new(..)))`. A stub may have an interceptor around a client stack, too:
//! `UsersClient::with_interceptor(stack.wrap(channel), ..)`.
//!
//! A stack with nothing set can be deployed. Each method of [`ServerBuilder`] and [`ClientBuilder`]
//! says first what the default is and why. A method takes the one number that matters most, or a
//! builder of the layer (see [`Refine`]). A `without_` method leaves a layer out. The type of the
//! stack depends only on the layers of your own in it. The last two stacks of the table know neither
//! the requests nor the responses, so their types also depend on the retry policy and the classifier
//! that you give them.
//!
//! # Defaults
//!
//! With nothing set, a stack rejects no call to a healthy service that answers within 30 seconds:
//!
//! | | server | client |
//! |---|---|---|
//! | time limit | 30 s to the head of the response | 30 s for all attempts, if the request has no deadline |
//! | time limit of an attempt | | none |
//! | calls in flight | no limit until ready tasks wait for a worker thread (scheduler lag) | no limit |
//! | attempts | | 3, if the request may be repeated; retries for 20 % of the calls, and 10 a second in addition |
//! | calls per second | no limit | no limit |
//! | circuit | | opens when half of at least 20 attempts within 10 s fail, for 5 s at first |
//! | response body without progress | ended after 120 s | ended after 120 s in which the reader waits |
//!
//! The default time limit ends only the wait for the head of the response. A limit that you set is
//! also propagated to the next service, and in gRPC it covers the call to its last trailer. Silence
//! alone ends neither an event stream nor a gRPC stream. The stacks for any other request type
//! have the same numbers, but they retry nothing by default, and they know no bodies.
//!
//! # The order
//!
//! ```text
//!        server                                  client
//!
//!  a request arrives                         a call is made
//!          |                                       |
//! +--------v---------+                    +--------v---------+
//! |   correlation    | one ID             |   correlation    | propagates the ID
//! +--------v---------+                    +--------v---------+
//! |     respond      | answers rejections |     timeout      | for all attempts
//! +--------v---------+                    +--------v---------+
//! :  request layers  : yours, if any      |      retry       | within a budget
//! +--------v---------+                    +--------v---------+
//! |     timeout      | the caller's, too  :  attempt layers  : yours, if any
//! +--------v---------+                    +--------v---------+
//! |    rate limit    | if you set one     |    rate limit    | if you set one
//! +--------v---------+                    +--------v---------+
//! |    load shed     | before work begins | circuit breaker  | sees every attempt
//! +--------v---------+                    +--------v---------+
//! |     bulkhead     | to the body's end  |     bulkhead     | not during back-off
//! +--------v---------+                    +--------v---------+
//!          |                              | attempt timeout  | if you set one
//!     your service                        +--------v---------+
//!                                         |     deadline     | propagates it
//!                                         +--------v---------+
//!                                                  |
//!                                             the network
//! ```
//!
//! The reasons: a call that a server's time limit ends must release its permit, so the bulkhead is
//! inside of the time limit. Nobody waits for an answer after the time limit of a client, so the
//! limit is outside of the retries. The circuit breaker must see what a retry would hide, so it is
//! inside of the retry. A call holds no permit during a back-off. The time limit of attempts, if
//! you set one, is inside of the circuit breaker, which then counts an attempt that hangs as a
//! failure.
//!
//! # What is shared
//!
//! ```text
//!   let stack = http::server("orders")
//!       .bulkhead(256)
//!       .build()?;                           one limit, one bulkhead
//!
//!        stack ----clone----> stack          the same limit and bulkhead
//!          |                    |
//!      layer() for          layer() for      a service for each route and
//!      /a   /b  ...         /c   /d  ...     each connection: still the same
//!          |    |               |    |
//!      +---v----v---------------v----v---+
//!      |   in flight: 3 of at most 256   |
//!      +---------------------------------+
//!
//!   http::server("orders") .. .build()?      built once more: another limit
//!                                            and another bulkhead
//! ```
//!
//! State belongs to the stack that was built. So build one stack for each upstream, and one for all that a server may do at the same time, and clone
//! it where it is needed. A stack that is built for each request, or for each connection, remembers nothing.
//!
//! # How a stack classifies
//!
//! All layers of a stack classify a response in the same way, and follow it to the end of its body: an HTTP stack by
//! [`HttpClassifier`](crate::http::HttpClassifier), a gRPC client by [`GrpcClassifier`](crate::grpc::GrpcClassifier). Give another classifier to the layer that
//! depends on it, the load shedder of a server or the circuit breaker of a client. It then holds for the bulkhead, too. The type of the stack stays the same:
//!
//! ```
//! use mainstay::{ConfigError, Outcome, http};
//!
//! struct Catalog<S> {
//!     client: http::Client<S>,
//! }
//!
//! impl<S: Clone> Catalog<S> {
//!     fn new(client: S) -> Result<Self, ConfigError> {
//!         // This service has everything it is asked for.
//!         let missing_fails = http::circuit_breaker().classify_head(|head| match head.status().as_u16() {
//!             404 | 500.. => Outcome::Failure,
//!             _ => Outcome::Success,
//!         });
//!         let stack = http::client("catalog").circuit_breaker(missing_fails).build()?;
//!         Ok(Self { client: tower::Layer::layer(&stack, client) })
//!     }
//! }
//! ```
//!
//! A type of your own is a [`Classify`](crate::Classify) of every [`HttpResponse`](crate::http::HttpResponse), because the layers see different ones, and a
//! [`ClassifyEnd`](crate::http::ClassifyEnd): `http::circuit_breaker().tracker(EndOfBody::new(Mine))`. The stack keeps it without its type, so a `Classify` sees an
//! error as an [`ErasedError`](crate::http::ErasedError); [`at_error`](crate::http::ClassifyEnd::at_error) sees the error itself.
//!
//! # What does not go together
//!
//! ```
//! use std::time::Duration;
//!
//! let error = mainstay::http::client("payments")
//!     .timeout(Duration::from_secs(2))
//!     .attempt_timeout(Duration::from_secs(5))
//!     .build()
//!     .unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "http client `payments`: attempt_timeout = 5s is refused: must be at most timeout, which is 2s: \
//!      it could never end an attempt; 616ms would fit 3 attempts"
//! );
//! ```
//!
//! What works, but hardly as it was meant, is a [`Warning`]: the stack lists it, and it is logged when the stack is built (feature `tracing`).
//!
//! # What a stack says of itself
//!
//! ```
//! let stack = mainstay::http::server("orders").bulkhead(256).without_load_shed().build()?;
//! assert_eq!(
//!     stack.to_string(),
//!     "http server `orders`\n  \
//!        correlation     fields = x-correlation-id x-request-id\n  \
//!        respond         full_as = 503, show_names = false\n  \
//!        timeout         timeout = 30s, body_idle = 120s, header = x-request-timeout-ms\n  \
//!        load_shed       off\n  \
//!        bulkhead        limit = 256, queue = none"
//! );
//! let bulkhead = &stack.describe().layers()[4];
//! assert_eq!(bulkhead.settings().next(), Some(("limit", "256")));
//! # Ok::<_, mainstay::ConfigError>(())
//! ```
//!
//! # What it rejects, what dropping a call does, what it costs
//!
//! A stack adds nothing to its layers. Time limits do not run while the inner service is not ready: a caller of `ready` waits for it, as
//! without a stack. An open circuit and a full bulkhead reject without asking the inner service. A retry waits for its readiness for at most a
//! second, and the load shedder of a server rejects at once while it is not ready. The body of a server's response changes its type; axum and
//! tonic put such a body into a box.

#![cfg_attr(
    not(feature = "http"),
    allow(rustdoc::broken_intra_doc_links, reason = "most of it is about HTTP")
)]

mod any;
mod checks;
#[cfg(feature = "http")]
mod classifier;
#[cfg(feature = "http")]
mod client;
#[cfg(feature = "http")]
mod client_stack;
mod description;
#[cfg(feature = "http")]
pub(crate) mod grpc;
#[cfg(feature = "http")]
pub(crate) mod http;
mod list;
mod numbers;
mod part;
mod parts;
#[cfg(feature = "http")]
mod protocol;
mod refine;
#[cfg(feature = "http")]
mod server;
#[cfg(feature = "http")]
mod server_stack;
#[cfg(feature = "http")]
mod service;
mod snapshot;

pub use any::{
    AnyClient, AnyClientBuilder, AnyClientSnapshot, AnyClientStack, AnyLimit, AnyServer,
    AnyServerBuilder, AnyServerSnapshot, AnyServerStack, Carried, CarriedDeadline,
    CarriedDeadlineLayer, IntoRetry, NoContext, NoRetry, Propagate, client, server,
};
pub use description::{DescribedLayer, Description, Warning};
pub use refine::Refine;
#[cfg(feature = "http")]
pub use {
    classifier::{StackClassifier, StackTracker},
    client::ClientBuilder,
    client_stack::{ClientSnapshot, ClientStack},
    protocol::{Grpc, Http, Protocol},
    server::ServerBuilder,
    server_stack::{ServerSnapshot, ServerStack},
    service::{AttemptService, ClientService, LimitedService, ServerService},
};
