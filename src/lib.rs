//! Resilience for any tower stack: circuit breaker, retry with back-off, bulkhead, timeout, rate limit, load shedding and
//! correlation IDs, as composable layers.
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
//!     Err(Error::Inner(error)) => println!("the service failed: {error}"),
//!     Err(Error::Rejected(rejection)) => println!("rejected: {rejection}"),
//! }
//! # }
//! ```
//!
//! # The layers
//!
//! | layer | what it is for |
//! |---|---|
//! | [`CircuitBreakerLayer`] | stops calling an upstream that fails, and probes whether it has recovered |
//! | [`RetryLayer`] | retries with back-off, within a budget and a deadline |
//! | [`BulkheadLayer`] | limits the calls in flight, with a bounded queue if you want one |
//! | [`TimeoutLayer`] | limits the time of a call, and sets its deadline |
//! | [`RateLimitLayer`] | limits the rate of calls |
//! | [`LoadShedLayer`] | rejects calls early when the server is overloaded |
//! | [`CorrelationLayer`] | one ID for everything that one request causes |
#![cfg_attr(
    feature = "http",
    doc = "| [`RespondLayer`] | turns rejections into HTTP and gRPC responses |"
)]
//!
//! State belongs to the layer value: clones of a layer, and all services that it makes, share one
//! limit, one circuit and one budget. An idle service holds neither a permit nor a probe.
//!
//! # Errors
//!
//! A layer that rejects a call answers it with a [`Rejection`]: which layer, which instance and
//! why. A rejection by an open circuit also says when to retry. The error type of a stack grows
//! once to carry one, however many layers there are, and stays typed: see [`WithRejection`].
//!
//! # The context
//!
//! The [`Context`] of a request is its correlation ID, its deadline and the number of the attempt.
//! Layers read and narrow it, [`spawn`] propagates it to a new task, a response body is polled
//! within it, and client layers write it to the wire.
//!
//! # What it tells
//!
//! Each layer emits an event for each of its decisions, to observers and subscribers (see
//! [`Observer`] and [`Events`]). With the feature `metrics` it records metrics, through the facade
//! of that name. With the feature `tracing` it logs:
//!
//! | message | level | fields besides `layer` and `name` |
//! |---|---|---|
//! | `circuit changed` | WARN when the circuit opens, DEBUG when it becomes half-open, otherwise INFO | `from`, `to`, `cause`, `calls`, `failures`, `slow_calls`, `open_for_ms` |
//! | `call rejected`, or `call ended` by a time limit | INFO | `reason`, `retry_after_ms`, `limit`, `limit_ms`, `rejections`: the number of both since the last such line of the instance, at least a second ago |
//! | `call would be rejected`, by a circuit in shadow mode | INFO | `reason`, `retry_after_ms`, `would_reject`: their number, as for rejections |
//! | `call is retried` | INFO | `attempt`, `delay_ms`, `cause`, `retries`: their number, as for rejections |
//! | `call is not retried` | DEBUG | `reason` |
//! | `limit changed` | INFO where a limit is set or lifted, otherwise DEBUG | `from`, `to` |
//! | `reqwest got a refusal of HTTP/2`: see `mainstay::reqwest` | DEBUG | |
//! | a [warning](stack::Warning) of a standard stack | WARN, when the stack is built | `stack`, `kind` |
//!
//! The target of a line is the crate and the layer: `mainstay::circuit_breaker`,
//! `mainstay::bulkhead` and so on, and `mainstay::stack` for the warnings. The spans `server`,
//! `consumer` and `client` have the target `mainstay::correlation`, the span `attempt` has
//! `mainstay::retry`. So `RUST_LOG=mainstay=info` shows all but the lines at DEBUG, and
//! `RUST_LOG=mainstay=info,mainstay::retry=off` also hides retries.
//!
//! `snapshot()` returns an instance's counters, occupancy and latencies: see [`snapshot`]. It needs
//! no feature.
//!
//! # Tests
//!
//! All time is tokio's. Under `#[tokio::test(start_paused = true)]` (feature `test-util` of tokio) a circuit's open time, a back-off or
//! a time-out pass without waiting.
//!
//! # Readiness
//!
//! No layer returns an error from `poll_ready`. Where the inner service's `poll_ready` fails, the layer keeps the error and is ready. The next
//! call resolves to that error, and the inner service is not called. So the error is an outcome like any other: the circuit breaker counts it
//! as a failure, a retry makes the call again, and a gRPC stub sees `UNAVAILABLE`. After that call the inner service is asked again. A clone keeps nothing.
//!
//! # When it does not compile
//!
//! The compiler mostly says what to write. Where it cannot:
//!
//! | it says | what to do |
//! |---|---|
//! | ``the method `ready` exists .. but its trait bounds were not satisfied`` or ``no method named `call` found`` | It does not say why a method is not there, but does for a function: call `tower::ServiceExt::<Request>::ready(&mut stack)`, with the type of your requests. |
//! | ``the trait bound `Infallible: From<Rejection>` is not satisfied`` | Rejections would leave a stack that must answer: use the standard stack of a server, not of a client, or put `RespondLayer` outside of the other layers. |
//! | ``the trait `Service<..>` is not implemented for `ClientStack<..>` `` | That is the stack only; the client is what `stack.wrap(client)` returns. |
//! | ``the trait `Clone` is not implemented for`` the service inside of a retry or of a bulkhead with a queue | It is called again, or later, and so on a clone: box it by `tower::util::BoxCloneService` and not by `BoxService`. |
//! | ``the trait `From<reqwest::Error>` is not implemented for`` the error of a stack, by `send_through` | Leave the client's error as it is, and turn that of the whole stack into your own: `map_err` comes first in the `ServiceBuilder`. |
//! | ``expected closure signature .. mainstay::Error<..>`` | Classifiers and policies see the grown error: see [`WithRejection`]. |
//! | ``type annotations needed``, at `wrap` | The service takes requests with any kind of body, as axum's `Router` does: write `stack.layer(service)`, with `use tower::Layer`. |
//! | `MyError` cannot carry a mainstay rejection | `impl mainstay::Plain for MyError {}` |
//! | ``the trait `Layer<..>` is not implemented for`` a builder or a `Result` | `.build()?` is missing, or its `?`. |
//! | ``?` couldn't convert the error``, from `Box<dyn Error + Send + Sync>`, at a response's body | Return [`BoxError`] from the function, not `Box<dyn Error>`. |
//! | ``cannot find type `Request` in module `http` `` after `use mainstay::http` | That is now mainstay's module: write `mainstay::http::retry()` in full, or import mainstay's module under another name. |
//!
//! # Features
//!
//! None is on by default; the layers above are always there. `http`, `http2`, `axum`, `hyper`, `metrics`, `reqwest`, `serde`, `tonic` and `tracing` each bring in
//! what they are named after; `full` is all of them.
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
#[cfg(feature = "http")]
pub mod http;
#[cfg(all(any(doc, doctest), feature = "full"))]
pub mod recipes;
pub mod stack;

#[cfg(feature = "reqwest")]
pub use clients::reqwest;
pub use layers::{
    admission, bulkhead, circuit_breaker, correlation, load_shed, rate_limit, retry, timeout,
};
#[cfg(feature = "metrics")]
pub use observe::metrics;
pub use observe::snapshot;
#[cfg(feature = "http")]
pub use protocol::respond;

pub use call::permit::Held;
pub use call::spawn::{spawn, spawn_blocking};
pub use call::track::{AtResponse, Head, Settle, Track};
pub use layers::bulkhead::BulkheadLayer;
pub use layers::circuit_breaker::{CircuitBreakerHandle, CircuitBreakerLayer};
pub use layers::correlation::{Carry, CorrelationLayer, Reply, WholeReply};
pub use layers::load_shed::LoadShedLayer;
pub use layers::rate_limit::RateLimitLayer;
pub use layers::retry::{Decision, RetryBudget, RetryBuilder, RetryLayer, RetryPolicy};
pub use layers::timeout::TimeoutLayer;
pub use observe::event::{Event, EventKind, Events, Observer};
pub use policy::backoff::{Backoff, Jitter};
pub use policy::breaker::{Cause, Mode, OnCancel, Recovery, State, Transition};
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
pub use vocabulary::outcome::{Classify, ClassifyFn, ErrorsFail, Outcome, Verdict};
pub use vocabulary::reason::Reason;
pub use vocabulary::rejection::{Rejection, TimeLimit};
