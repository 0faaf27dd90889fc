//! Standard stacks: all layers in the right order, with consistent settings, in five lines.
//!
//! Most mistakes happen between layers: a retry inside of the circuit breaker, a separate limit for
//! each connection, an attempt that may take longer than the whole call. A standard stack has one
//! order, whatever the order of the builder's methods. It shares the state that must be shared, and
//! [`build`](ClientBuilder::build) checks its settings against each other.
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
//! | wraps | builder | use |
//! |---|---|---|
//! | an axum router, any other HTTP server | [`http::server`] | `router.layer(stack)` |
//! | a tonic server, also with HTTP on the same port | [`grpc::server`] | `Server::builder().layer(stack)` |
//! | tonic's channel | [`grpc::client`] | `UsersClient::new(stack.wrap(channel))` |
//! | reqwest's client | `reqwest::client` | `stack.wrap(client)`, then `builder.send_through(&wrapped)` |
//! | hyper-util's client, any other HTTP client | [`http::client`] | `stack.wrap(client)` |
//! | any other client: a database, a cache, your own protocol | [`mainstay::client`](crate::client) | `stack.wrap(client)` |
//! | any other server: frames, messages, jobs | [`mainstay::server`](crate::server) | `stack.wrap(service)` |
//!
//! A stack without settings is ready for production. Each setter of [`ServerBuilder`] and
//! [`ClientBuilder`] states its default and the reason for it. A setter takes the most important
//! number, or a builder of the layer (see [`Refine`]). A `without_` method removes a layer. The
//! type of a stack depends only on the layers that you add. The types of the last two stacks also
//! depend on their retry policy and classifier.
//!
//! # Types of bodies
//!
//! A server stack accepts any request body and wraps a service with any response body. Its own
//! response body has another type. Where axum's body is required, add
//! `ServiceBuilder::map_response(|response: http::Response<_>| response.map(axum::body::Body::new))`
//! outside: for `axum::serve` around a whole router in a stack, and for
//! `tower::util::option_layer`.
//!
//! A stack around a single tonic service keeps its name (`NamedService`):
//! `Server::builder().add_service(stack.wrap(UsersServer::new(..)))`. A stub may have an
//! interceptor outside of a client stack: `UsersClient::with_interceptor(stack.wrap(channel), ..)`.
//!
//! # Defaults
//!
//! By default a stack rejects no call to a healthy service that answers within 30 seconds:
//!
//! | | server | client |
//! |---|---|---|
//! | time limit | 30 s to the head of the response | 30 s for all attempts, unless the request has a deadline |
//! | time limit of an attempt | | none |
//! | calls in flight | no limit until ready tasks wait for a worker thread (scheduler lag) | no limit |
//! | attempts | | 3 if the request may be repeated; budget: retries for 20 % of the calls, plus 10 a second; in HTTP for each host, and for all hosts together |
//! | calls per second | no limit | no limit |
//! | circuit | | opens when half of at least 20 attempts within 10 s fail, for 5 s at first; in HTTP one for each host |
//! | response body without progress | ended after 120 s | ended after 120 s in which the reader waits |
//!
//! The default time limit ends at the head of the response. A limit that you set is also propagated
//! to the next service, and in gRPC it covers the call to its last trailer. Event streams and gRPC
//! streams may be silent. The stacks for other request types have the same defaults, but they retry
//! nothing by default, and they know no bodies.
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
//! The reasons for this order:
//!
//! - A call that a server's time limit ends must release its permit, so the bulkhead is inside of
//!   the time limit.
//! - Nobody waits for an answer after a client's time limit, so the limit is outside of the retry.
//! - The circuit breaker must see failures that the retry hides, so it is inside of the retry.
//! - A call holds no permit during a back-off, so the bulkhead is inside of the retry, too.
//! - The circuit breaker must count an attempt that hangs, so the attempt timeout is inside of it.
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
//! A client stack of HTTP or reqwest has a circuit breaker, a bulkhead and a retry budget for each
//! host, so one stack can call many hosts: a dead host opens only its own circuit, and uses only its
//! own retries. An [overall budget](crate::retry#a-budget-for-each-key) limits the retries of all
//! hosts together. The time limits and the rate limit are one for all hosts. So is a
//! [`RetryBudget`](crate::RetryBudget) that the stack was given. See [`ClientBuilder::keyed`] for
//! other keys and [`ClientBuilder::one_for_all`] for none.
//!
//! State belongs to the stack that was built. Build one stack for each upstream and one for each
//! server, and clone it as needed. A stack that is built for each request or connection limits
//! nothing, because its state starts anew.
//!
//! # How a stack classifies
//!
//! All layers of a stack share one classifier, and follow a response to the end of its body. An
//! HTTP stack has an [`HttpClassifier`](crate::http::HttpClassifier), a gRPC client a
//! [`GrpcClassifier`](crate::grpc::GrpcClassifier). Set another classifier at the load shedder of a
//! server or at the circuit breaker of a client. It applies to the bulkhead, too. The type of the
//! stack stays the same:
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
//!         // A 404 is a failure of this service.
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
//! A custom classifier implements [`Classify`](crate::Classify) for every
//! [`HttpResponse`](crate::http::HttpResponse), because the layers have different response types,
//! and [`ClassifyEnd`](crate::http::ClassifyEnd):
//! `http::circuit_breaker().tracker(EndOfBody::new(Mine))`. The stack erases its type, so its
//! `Classify` receives an [`ErasedError`](crate::http::ErasedError).
//! [`at_error`](crate::http::ClassifyEnd::at_error) receives the error itself.
//!
//! # Checks
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
//! A setting that works, but hardly as intended, is a [`Warning`]. The stack lists its warnings,
//! and logs them when it is built (feature `tracing`).
//!
//! # Descriptions
//!
//! ```
//! let stack = mainstay::http::server("orders").bulkhead(256).without_load_shed().build()?;
//! assert_eq!(
//!     stack.to_string(),
//!     "http server `orders`\n  \
//!        correlation     fields = x-correlation-id x-request-id\n  \
//!        respond         full_as = 503, show_names = false\n  \
//!        timeout         timeout = 30s, body_idle = 120s, header = x-request-timeout-ms\n  \
//!        rate_limit      off\n  \
//!        load_shed       off\n  \
//!        bulkhead        limit = 256, queue = none"
//! );
//! let description = stack.describe();
//! let bulkhead = &description.layers()[5];
//! assert_eq!(bulkhead.settings().next(), Some(("limit", "256")));
//! # Ok::<_, mainstay::ConfigError>(())
//! ```
//!
//! # Rejections, readiness, cancellation, cost
//!
//! These are those of the layers. `ready` waits for the inner service without a time limit. An open
//! circuit and a full bulkhead reject without polling the inner service for readiness. A retry
//! waits for readiness for at most a second. A server's load shedder rejects at once while the
//! service is not ready. axum and tonic box the response body of a server stack.

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
use crate::registry::description;
#[cfg(feature = "http")]
pub(crate) mod grpc;
#[cfg(feature = "http")]
pub(crate) mod http;
#[cfg(feature = "http")]
mod keys;
mod list;
mod live;
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
mod setters;
mod settings;
mod snapshot;

pub use any::{
    AnyClient, AnyClientBuilder, AnyClientSnapshot, AnyClientStack, AnyLimit, AnyServer,
    AnyServerBuilder, AnyServerSnapshot, AnyServerStack, Carried, CarriedDeadlineLayer, Deadline,
    DeadlineField, DeadlineFuture, IntoRetry, NoContext, NoRetry, Propagate, WriteDeadline, client,
    server,
};
pub use description::{DescribedLayer, Description, Warning};
pub use refine::Refine;
pub use settings::{AnyClientSettings, AnyServerSettings};
#[cfg(feature = "http")]
pub use {
    classifier::{StackClassifier, StackTracker},
    client::ClientBuilder,
    client_stack::{ClientSnapshot, ClientStack},
    keys::StackKeying,
    protocol::{Grpc, Http, Protocol},
    server::ServerBuilder,
    server_stack::{ServerSnapshot, ServerStack},
    service::{AttemptService, ClientService, LimitedService, ServerService},
    settings::{ClientSettings, ServerSettings},
};
