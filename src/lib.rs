//! Resilience for tower services: circuit breaker, retry, timeout, bulkhead, rate limit, load
//! shedding and correlation IDs.
//!
//! Most programs need a [standard stack](#standard-stacks) and nothing else on this page. Each
//! [layer](#layers) also works alone.
//!
//! # Standard stacks
//!
//! A standard stack puts the layers around a server or a client, in the right order. A stack with
//! nothing set can be deployed. See [`stack`] for the order, the defaults and the reasons for them.
//!
//! | to protect | begin with | feature |
//! |---|---|---|
//! | an HTTP server (axum, hyper) | [`http::server`] | `axum` or `hyper` |
//! | a gRPC server (tonic) | [`grpc::server`] | `tonic` |
//! | reqwest's client | [`reqwest::client`] | `reqwest` |
//! | any other HTTP client (hyper-util) | [`http::client`] | `hyper` |
//! | a gRPC client (tonic's channel) | [`grpc::client`] | `tonic` |
//! | any other client or server | [`client`], [`server`] | |
//!
//! A server with axum:
//!
//! ```
//! use axum::{Router, routing::post};
//! use std::time::Duration;
//!
//! # async fn create() -> &'static str { "created" }
//! # fn app() -> Result<Router, mainstay::ConfigError> {
//! let orders = mainstay::http::server("orders")
//!     .timeout(Duration::from_secs(2))
//!     .build()?;
//! let app = Router::new().route("/orders", post(create)).layer(orders);
//! # Ok(app)
//! # }
//! ```
//!
//! A client with reqwest:
//!
//! ```no_run
//! use mainstay::{Error, reqwest::SendThrough};
//! use std::time::Duration;
//!
//! # async fn pay(url: &str) -> Result<(), Box<dyn std::error::Error>> {
//! let http = reqwest::Client::builder()
//!     .retry(reqwest::retry::never()) // the stack retries
//!     .build()?;
//! let payments = mainstay::reqwest::client("payments")
//!     .timeout(Duration::from_secs(2))
//!     .build()?
//!     .wrap(http.clone());
//!
//! match http.get(url).send_through(&payments).await {
//!     Ok(response) => println!("{}", response.text().await?),
//!     Err(Error::Rejected(rejection)) => println!("rejected: {rejection}"),
//!     Err(Error::Inner(error)) => println!("failed: {error}"),
//! }
//! # Ok(())
//! # }
//! ```
//!
#![cfg_attr(
    all(any(doc, doctest), feature = "full"),
    doc = "The [recipes] show standard stacks in whole programs."
)]
//!
//! # Layers
//!
//! | layer | what it does |
//! |---|---|
//! | [`CircuitBreakerLayer`] | stops calling an upstream that fails, and probes whether it has recovered |
//! | [`RetryLayer`] | retries with back-off, within a budget and the deadline |
//! | [`TimeoutLayer`] | limits the time of a call, and sets its deadline |
//! | [`BulkheadLayer`] | limits the calls in flight, with a bounded queue if you want one |
//! | [`RateLimitLayer`] | limits the rate of calls |
//! | [`LoadShedLayer`] | rejects calls early when the server is overloaded |
//! | [`CorrelationLayer`] | reads, creates and propagates correlation IDs |
//! | [`AdmissionLayer`](admission::AdmissionLayer) | admits or rejects calls by a policy of your own |
#![cfg_attr(
    feature = "http",
    doc = "| [`RespondLayer`] | turns rejections into HTTP and gRPC responses |"
)]
//!
//! ```
//! use mainstay::{BulkheadLayer, CircuitBreakerLayer, Error, RetryLayer, TimeoutLayer};
//! use std::time::Duration;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let mut quotes = ServiceBuilder::new()
//!     .layer(TimeoutLayer::new(Duration::from_secs(1))) // for all attempts together
//!     .layer(RetryLayer::new())
//!     .layer(CircuitBreakerLayer::new())
//!     .layer(BulkheadLayer::new(32))
//!     .layer(TimeoutLayer::new(Duration::from_millis(200))) // for each attempt
//!     .service(service_fn(|symbol: &'static str| async move {
//!         Ok::<_, std::io::Error>(format!("{symbol}: 42"))
//!     }));
//!
//! match quotes.ready().await.unwrap().call("ACME").await {
//!     Ok(quote) => assert_eq!(quote, "ACME: 42"),
//!     Err(Error::Rejected(rejection)) => println!("rejected: {rejection}"),
//!     Err(Error::Inner(error)) => println!("failed: {error}"),
//! }
//! # }
//! ```
//!
//! State belongs to the layer value: clones of a layer, and all services that it makes, share one
//! limit, one circuit and one budget. An idle service holds neither a permit nor a probe.
//!
//! Under HTTP and gRPC, begin with the functions in [`http`](mod@http) and [`grpc`](mod@grpc), such
//! as `http::circuit_breaker()`. Those layers know statuses, and follow a call to the end of its
//! response body.
//!
//! # Errors
//!
//! A layer that rejects a call returns a [`Rejection`]. It contains the layer, the instance and the
//! reason, and for an open circuit or a rate limit also how long the caller should wait. The
//! service's error type grows once to carry a rejection, however many layers there are, and it
//! stays typed: see [`WithRejection`].
//!
//! # Readiness
//!
//! No layer returns an error from `poll_ready`. If the inner service's `poll_ready` fails, the
//! layer keeps the error and is ready. The next call returns that error and does not reach the
//! inner service. So the error is an outcome like any other: the circuit breaker counts it as a
//! failure, a retry layer retries the call, and a gRPC stub receives `UNAVAILABLE`. After that call
//! the layer polls the inner service again. A clone does not keep the error.
//!
//! # Context
//!
//! The [`Context`] of a request is its correlation ID, its deadline, the number of the attempt and
//! its [`Priority`].
//! Layers read it, and a time limit can shorten its deadline. Client layers write it to the
//! outgoing request. [`spawn`] propagates it to a new task, and a response body is polled within
//! it.
//!
//! [`Overrides`] give a single call a time limit, retries, a priority and a key of its own.
//!
//! # Observability
//!
//! Each layer emits an event for each of its decisions, to observers and subscribers: see
//! [`Observer`] and [`Events`].
#![cfg_attr(
    feature = "metrics",
    doc = "With the feature `metrics`, it records [metrics](mod@metrics)."
)]
//!
//! `snapshot()` returns an instance's counters, occupancy and latencies: see [`snapshot`]. It needs
//! no feature. The [`registry`] lists all standard stacks and their instances.
//!
//! With the feature `tracing`, the layers log:
//!
//! | message | level | fields besides `layer` and `name` |
//! |---|---|---|
//! | `circuit changed` | WARN when the circuit opens, DEBUG when it becomes half-open, otherwise INFO | `from`, `to`, `cause`, `calls`, `failures`, `slow_calls`, `open_for_ms` |
//! | `call rejected`; `call ended` if a time limit ended it | INFO | `reason`, `priority` unless it is `normal`, `retry_after_ms`, `limit`, `limit_ms`; `rejections`: how many there were since the instance's last such line. An instance logs at most one such line a second. |
//! | `call would be rejected` by a layer in shadow mode | INFO | `reason`, `priority` unless it is `normal`, `retry_after_ms`, `limit`, `limit_ms`; `would_reject`: how many, as for rejections |
//! | `call is retried` | INFO | `attempt`, `delay_ms`, `cause`; `retries`: how many, as for rejections |
//! | `call is not retried` | DEBUG | `reason` |
//! | `settings changed` | INFO | `changes` |
//! | `limit changed` | INFO if a limit is set or lifted, otherwise DEBUG | `from`, `to` |
//! | `HTTP/2 refused a request of reqwest`: see `mainstay::reqwest` | DEBUG | |
//! | a [warning](stack::Warning) of a standard stack | WARN, when the stack is built | `stack`, `kind` |
//! | `two instances have the same name`: see [`registry`] | WARN, when the second joins | `name`, and `layers` instead of `layer` |
//! | `shutdown begins`: see [`shutdown`]; a second line at WARN if it cuts calls | INFO | `drain_ms`, `grace_ms`; no `layer` and `name` |
//!
//! The target of a line is the crate and the layer: `mainstay::circuit_breaker`,
//! `mainstay::bulkhead` and so on, `mainstay::stack` for the warnings, `mainstay::registry` and
//! `mainstay::shutdown`. The spans `server`,
//! `consumer` and `client` have the target `mainstay::correlation`, and the span `attempt` has
//! `mainstay::retry`. So `RUST_LOG=mainstay=info` shows all lines but those at DEBUG, and
//! `RUST_LOG=mainstay=info,mainstay::retry=off` also hides retries.
//!
//! # Health and shutdown
//!
//! [`health`] answers liveness and readiness checks over HTTP and gRPC. [`shutdown`] ends a program
//! without failing a request.
//!
//! # Tests
//!
//! The module [`testing`] has an inner service whose calls the test answers, and a probe that counts
//! calls, polls and drops. All time is tokio's. Under `#[tokio::test(start_paused = true)]` (tokio's
//! feature `test-util`) the open time of a circuit, a back-off or a time limit passes without waiting.
//!
//! # Features
//!
//! None is on by default. The layers need none, except `RespondLayer`, which needs `http`.
//!
//! | feature | adds |
//! |---|---|
//! | `axum`, `hyper`, `reqwest`, `tonic` | bodies, errors and clients of that framework |
//! | `http` | HTTP and gRPC with the types of the `http` crate; part of the four above |
//! | `http2` | sends requests again that an HTTP/2 server refused unprocessed; part of `tonic` |
//! | `metrics` | metrics, through the facade of that name |
//! | `tracing` | spans and log lines |
//! | `serde` | settings from and to any configuration format, and snapshots that can be serialized |
//! | `schemars` | a JSON Schema of the settings |
//! | `signal` | graceful shutdown on SIGTERM or Ctrl-C |
//! | `tonic-health` | the gRPC health service |
//! | `full` | all of them |
//!
//! # When it does not compile
//!
//! The compiler mostly says what to write. In these cases it does not:
//!
//! | the compiler says | what to do |
//! |---|---|
//! | ``the method `ready` exists .. but its trait bounds were not satisfied`` or ``no method named `call` found`` | Call the function `tower::ServiceExt::<Request>::ready(&mut stack)`, with the type of your requests: for a function the compiler says which bound is missing. |
//! | ``the trait bound `Infallible: From<Rejection>` is not satisfied`` | The stack must not fail, but its layers can reject. Use the standard stack of a server and not of a client, or put `RespondLayer` outside of the other layers. |
//! | ``the trait `Service<..>` is not implemented for `ClientStack<..>` `` | A stack is a layer. The client is what `stack.wrap(client)` returns. |
//! | ``the trait `Clone` is not implemented for`` the service inside of a retry or of a bulkhead with a queue | These layers call a clone of the service. Box it with `tower::util::BoxCloneService` and not with `BoxService`. |
//! | ``the trait `From<reqwest::Error>` is not implemented for`` the error of a stack, by `send_through` | Do not map the error of reqwest's client. Map the error of the whole stack: `map_err` comes first in the `ServiceBuilder`. |
//! | ``expected closure signature .. mainstay::Error<..>`` | Classifiers and policies see the grown error: see [`WithRejection`]. |
//! | ``type annotations needed``, at `wrap` | The service takes requests with any body, as axum's `Router` does. Write `stack.layer(service)`, with `use tower::Layer`. |
//! | `MyError` cannot carry a mainstay rejection | Write `impl mainstay::Plain for MyError {}`. |
//! | ``the trait `Layer<..>` is not implemented for`` a builder or a `Result` | `.build()?` is missing, or its `?`. |
//! | ``?` couldn't convert the error``, from `Box<dyn Error + Send + Sync>`, at a response's body | Return [`BoxError`] from the function, not `Box<dyn Error>`. |
//! | ``cannot find type `Request` in module `http` `` after `use mainstay::http` | `http` is now mainstay's module. Write `mainstay::http::retry()` in full, or import the module under another name. |
#![cfg_attr(
    not(feature = "full"),
    allow(
        rustdoc::broken_intra_doc_links,
        reason = "links to what the features add"
    )
)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod call;
mod clients;
mod layers;
mod observe;
mod policy;
mod protocol;
mod runtime;
mod vocabulary;

#[cfg(feature = "http")]
pub mod grpc;
pub mod health;
#[cfg(feature = "http")]
pub mod http;
#[cfg(mainstay_loom)]
pub mod models;
#[cfg(all(any(doc, doctest), feature = "full"))]
pub mod recipes;
pub mod registry;
pub mod shutdown;
pub mod stack;
pub mod testing;

#[cfg(feature = "reqwest")]
pub use clients::reqwest;
pub use layers::{
    admission, bulkhead, circuit_breaker, correlation, keyed, load_shed, rate_limit, retry, timeout,
};
#[cfg(feature = "metrics")]
pub use observe::metrics;
pub use observe::snapshot;
#[cfg(feature = "http")]
pub use protocol::respond;

pub use call::permit::ErasedPermit;
pub use call::spawn::{spawn, spawn_blocking};
pub use call::track::{AtResponse, Head, Settle, Track};
pub use layers::bulkhead::{BulkheadHandle, BulkheadLayer};
pub use layers::circuit_breaker::{CircuitBreakerHandle, CircuitBreakerLayer};
pub use layers::correlation::{Carry, CorrelationLayer, Reply, WholeReply};
pub use layers::load_shed::LoadShedLayer;
pub use layers::rate_limit::RateLimitLayer;
pub use layers::retry::{Decision, RetryBudget, RetryBuilder, RetryLayer, RetryPolicy};
pub use layers::timeout::TimeoutLayer;
pub use observe::event::{Event, EventKind, Events, Observer};
pub use policy::backoff::{Backoff, Jitter};
pub use policy::breaker::{Cause, OnCancel, Recovery, State, Transition};
pub use policy::limit::{AimdBuilder, Gradient2Builder, Limit};
pub use policy::retry::{RetryCause, RetryRefused};
pub use policy::window::Window;
#[cfg(feature = "http")]
pub use protocol::respond::RespondLayer;
pub use stack::{client, server};
pub use vocabulary::config::ConfigError;
pub use vocabulary::context::{Context, InContext};
pub use vocabulary::correlation_id::{CorrelationId, InvalidCorrelationId};
pub use vocabulary::error::{BoxError, Error, Grown, Plain, WithRejection};
pub use vocabulary::mode::Mode;
pub use vocabulary::outcome::{Classify, ClassifyFn, ErrorsFail, Outcome, Verdict};
pub use vocabulary::overrides::{Overrides, OverridesFuture};
pub use vocabulary::priority::{InvalidPriority, Priority};
pub use vocabulary::reason::Reason;
pub use vocabulary::rejection::{Rejection, TimeLimit};
pub use vocabulary::settings;
