//! Retry with back-off, within a budget and a deadline.
//!
//! A second attempt helps against short failures. But a thousand callers with three attempts each
//! turn a small outage into a large one. So a retry waits for a growing, random time, needs a
//! budget, ends before the request's deadline, and never repeats a call that an inner layer
//! rejected.
//!
//! ```
//! use mainstay::{Backoff, RetryLayer};
//! use std::sync::atomic::{AtomicU32, Ordering};
//! use std::time::Duration;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), mainstay::ConfigError> {
//! let calls = &AtomicU32::new(0);
//! let mut service = ServiceBuilder::new()
//!     .layer(RetryLayer::builder()
//!         .attempts(3)
//!         .backoff(Backoff::constant(Duration::from_millis(1)))
//!         .build()?)
//!     .service(service_fn(|()| async move {
//!         match calls.fetch_add(1, Ordering::Relaxed) {
//!             0 => Err(std::io::Error::other("not yet")),
//!             _ => Ok("there"),
//!         }
//!     }));
//!
//! assert_eq!(service.ready().await.unwrap().call(()).await.unwrap(), "there");
//! assert_eq!(calls.load(Ordering::Relaxed), 2);
//! # Ok(())
//! # }
//! ```
//!
//! # What is retried
//!
//! A [`RetryPolicy`] decides from the request, the result and the number of the attempt. The
//! default retries after every error, which is right only for operations that may be repeated. A
//! call that an inner layer rejected (an open circuit, a full bulkhead, shed load, a passed
//! deadline) is never retried, whatever the policy. An attempt that timed out may be.
//!
//! A retry is decided completely before the response of the last attempt is dropped: attempts are
//! left, the delay (the server's hint, or the back-off) ends before the deadline, the budget allows
//! it, and the request can be sent again. Then the response is dropped, with its permit, body and
//! connection, and the back-off begins. An error is kept: it is the answer if the inner service
//! does not become ready again.
//!
//! An attempt whose inner `poll_ready` failed was not sent. It is retried whatever the policy, and
//! costs no budget, but is one of the [`attempts`](crate::RetryBuilder::attempts). The cause in its
//! event is [`RetryCause::NotSent`](crate::RetryCause::NotSent).
//!
//! A request that a server refused unprocessed is no attempt at all: see
//! [`Decision::RetryTransparently`]. The policies of `mainstay::http` and `mainstay::grpc`
//! recognise such refusals. The delay between them grows from 10 ms to one second, up to the
//! deadline.
//!
//! # A budget for each key
//!
//! With one budget for many upstreams, a dead one uses the retries of all. With
//! [`keyed`](crate::keyed) each upstream has a budget of its own:
//!
//! ```
//! use mainstay::RetryLayer;
//!
//! #[derive(Clone)]
//! struct Query { shard: &'static str }
//!
//! let layer = RetryLayer::builder()
//!     .name("search")
//!     .keyed(|query: &Query| query.shard.into())
//!     .build()?;
//! assert!(layer.handle().keys().is_empty());
//! # Ok::<_, mainstay::ConfigError>(())
//! ```
//!
//! Each key also has its own counts, and events name it. HTTP and reqwest client stacks have a budget
//! for each host by default.
//!
//! All keys together have an overall budget with the same settings. Each request deposits in the
//! budget of its key and in the overall one, and a retry pays from both. If one of them refuses,
//! the retry is refused and costs nothing. This has two effects:
//!
//! - All keys together never have more retries than one budget for all calls would allow: by
//!   default one for every five requests, and ten a second. A hundred names of one upstream, or
//!   keys that a stranger chooses, add nothing.
//! - A dead key uses at most its own share: one retry for every five of its own requests, and ten a
//!   second. It may use the whole minimum of the overall budget. The other keys then have the
//!   retries of their own requests.
//!
//! An update of the layer changes the overall budget, too. An update of one key does not. A key
//! that is set to have no budget pays from none. Of [throttles](RetryBudget::throttle), the overall
//! one counts a failure only if the one of the key still allows a retry.
//!
//! A [`RetryBudget`] that is given to the layer replaces all of them: all keys share it, and have
//! only counts of their own.
//!
//! # A client with retries of its own
//!
//! The retries of an inner client multiply those of this layer, and no circuit breaker, bulkhead or
//! budget sees them. Switch them off:
//!
//! | client | its own retries | |
//! |---|---|---|
//! | reqwest 0.13 | requests that an HTTP/2 server refused unprocessed, up to twice each | `ClientBuilder::retry(reqwest::retry::never())` |
//! | hyper-util's legacy client | requests whose pooled connection closed before they were sent | harmless: no server has seen them. `Builder::retry_canceled_requests(false)` |
//! | tonic's `Channel` | none: it only reconnects | |
//!
//! # Requests that cannot be repeated
//!
//! A request that cannot be sent again is sent once. The policies of `mainstay::http` and
//! `mainstay::grpc` can also repeat streamed requests: see
//! [`RetryBuilder::replay_limit`](crate::RetryBuilder::replay_limit).
//!
//! # The number of the attempt
//!
//! [`Context::attempt`](crate::Context::attempt) returns it in the inner service: in `call`, and
//! while its future is polled or dropped. It is not set in a task that a connection starts to read
//! the request's body, as hyper's do.
//!
//! With the feature `tracing` each attempt, up to the head of its response, has a span `attempt`:
//! target `mainstay::retry`, level INFO, fields `layer`, `instance` (the name of the layer) and
//! `attempt`. A layer with [one attempt](crate::RetryBuilder::attempts) opens none.
//!
//! # What it rejects
//!
//! [`Reason::NotReady`](crate::Reason::NotReady), if a response was dropped for a retry and the
//! inner service is then not ready in time. Nothing else.
//!
//! # What a clone shares
//!
//! Budget and settings, with all services and clones of the layer. Several layers can share a
//! [`RetryBudget`].
//!
//! # Cancellation
//!
//! Dropping a call during the back-off refunds the budget, and counts the retry as given up: in the
//! [snapshot](Snapshot), as the event [`GivenUp`](crate::EventKind::GivenUp), and in the metric
//! `mainstay_given_up_total`.
//!
//! # Cost
//!
//! A clone of the request, one clock reading with a [`RetryBudget`] (none with throttling), and an
//! uncontended counter. The inner service is cloned only for a retry. An attempt with a span is
//! boxed. With a budget for each key, a call also compares its key with that of the last call,
//! holds a reference to the budget, and increments a second counter for the overall budget.

mod attempt;
mod budget;
mod future;
mod handle;
mod keyed;
mod layer;
mod policy;
mod receive;
mod service;
mod settings;
mod snapshot;
mod wait;

pub use crate::policy::backoff::{Backoff, Jitter};
pub use budget::{RetryBudget, RetryBudgetBuilder};
pub use future::ResponseFuture;
pub use handle::RetryHandle;
#[cfg(test)]
pub(crate) use layer::KIND;
#[cfg(feature = "http")]
pub(crate) use layer::LAYER;
pub use layer::{RetryBuilder, RetryLayer};
pub use policy::{CloneWith, Decision, RetryErrors, RetryFn, RetryIf, RetryPolicy};
pub use receive::{Ended, Receive, Unchanged};
pub use service::Retry;
pub(crate) use settings::MOST_ATTEMPTS;
pub use settings::{BudgetSettings, Settings, ThrottleSettings};
pub use snapshot::Snapshot;
