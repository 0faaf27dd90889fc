//! A policy for each key: one circuit for each host, one limit for each tenant.
//!
//! A layer has one instance for all calls by default. That is wrong as soon as the calls go to
//! several upstreams or come from several tenants: one dead host opens the circuit for all hosts,
//! and one busy tenant uses the limit of all tenants. With `keyed` the layer has an instance
//! for each key, and a closure returns the key of a request:
//!
//! ```
//! use mainstay::{CircuitBreakerLayer, Error, State};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! struct Job { tenant: String, fails: bool }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), mainstay::BoxError> {
//! let layer = CircuitBreakerLayer::builder()
//!     .name("jobs")
//!     .consecutive_failures(1)
//!     .keyed(|job: &Job| job.tenant.as_str().into())
//!     .build()?;
//! let circuits = layer.handle();
//! let mut jobs = ServiceBuilder::new().layer(layer).service(service_fn(|job: Job| async move {
//!     if job.fails { Err(std::io::Error::other("broken")) } else { Ok("done") }
//! }));
//!
//! let bad = Job { tenant: "bad".to_owned(), fails: true };
//! assert!(jobs.ready().await?.call(bad).await.is_err());
//! let good = Job { tenant: "good".to_owned(), fails: false };
//! assert_eq!(jobs.ready().await?.call(good).await?, "done");
//!
//! assert_eq!(circuits.key("bad").unwrap().state(), State::Open);
//! assert_eq!(circuits.key("good").unwrap().state(), State::Closed);
//! let again = Job { tenant: "bad".to_owned(), fails: false };
//! let Err(Error::Rejected(rejection)) = jobs.ready().await?.call(again).await else { panic!() };
//! assert_eq!(rejection.key(), Some("bad"));
//! # Ok(())
//! # }
//! ```
//!
//! The builders of [circuit breaker](crate::CircuitBreakerLayer),
//! [bulkhead](crate::BulkheadLayer), [rate limit](crate::RateLimitLayer),
//! [load shed](crate::LoadShedLayer) and [retry](crate::RetryLayer) have `keyed` for closures and
//! `keyed_by` for a [`Key`]. So do the standard stacks. HTTP and reqwest client
//! stacks have a circuit, a bulkhead and a retry budget for each host by default.
//!
//! | key | of |
//! |---|---|
//! | `http::by_authority()` | host and port of an HTTP request |
//! | `http::by_header("x-tenant")` | a header |
//! | `grpc::by_method()` | service and method of a gRPC request |
//! | a closure, or a type that implements [`Key`] | anything in the request |
//!
//! All keys have the settings and the name of the layer. Each key has its own state and its own
//! counts.
//!
//! # Which key
//!
//! The key is the part of the request that fails or fills up on its own: the host, the tenant,
//! the gRPC method. Values without a bound, such as a whole path or a user's ID, are bad keys for a
//! circuit breaker: a key that is called rarely never has enough calls to open its circuit.
//!
//! Requests without a key (`None`, or an empty key) share one instance. A key longer than 128 bytes
//! is cut off, and control characters in it are escaped. Such a key ends in a hash, so that
//! different keys stay different.
//!
//! A single request can have another key than its key function returns:
//! [`Overrides::key`](crate::Overrides::key).
//!
//! The key function runs in `call`, outside of all locks. A panic in it propagates to the caller.
//! The call then has no other effect.
//!
//! # How many keys
//!
//! At most [`max_keys`](crate::circuit_breaker::CircuitBreakerBuilder::max_keys), by default
//! 10 000. That is more hosts than most programs call. An instance takes less than a kilobyte for most
//! layers and 1.5 kB for a retry, and up to 8 kB more on machines with many processors once several
//! threads have called it hundreds of times. So keys that strangers choose cannot fill the memory.
//!
//! A new key beyond the limit replaces another one, whose counts stay in the snapshot of the
//! layer. A key is never dropped while it is in use: while it has calls in flight or waiting,
//! while it is the last one that a service called, and while there is a handle of it. With a limit
//! of 64 keys or more, the first key of a layer is never dropped. Of the others, keys whose state
//! means nothing are dropped first: their circuit is closed, or had no call for `open_max` after its
//! open time, or all permits of their rate are available, or their adaptive limit is still the first
//! one, or their retry budget allows as many retries as a new one, and they have the settings of the
//! layer. Another key, such as one whose circuit is open, is dropped only if
//! none of these is found. The layer then emits the event [`Evicted`](crate::EventKind::Evicted) and logs `state of a key dropped`.
//!
//! If all keys that the layer examines are in use, the call has a temporary instance of its own,
//! and is not limited. The [snapshot](KeyCounts) counts such calls.
//!
//! # Handles, events and metrics
//!
//! The handle of the layer controls all keys: its snapshot has the sums, and its verbs and updates
//! apply to all keys, also to new ones. `keys()` lists the keys, and `key(..)` returns the handle of
//! one. An update of one key gives it settings of its own, until the next update of all keys.
//!
//! Events, rejections and log lines name the key: [`Event::key`](crate::Event::key),
//! [`Rejection::key`](crate::Rejection::key) and the field `key`. Subscribers of the layer receive
//! the events of all keys. Metrics have no label for the key: the series of the layer count all
//! keys. With `label_keys(n)` the first `n` keys have a label `key`, and the others are
//! `key="other"`. `mainstay_circuit_breaker_state` is the number of circuits in each state.
//!
//! # Readiness
//!
//! `poll_ready` does not know the next key. It waits for the inner service even if the next call
//! will be rejected. A load shedder is always ready, unless the mode of the layer is
//! [shadow](crate::Mode::Shadow) or off; a key with a mode of its own does not change that.
//!
//! # Cost
//!
//! A service keeps the instance that it called last, so the next call with this key only compares
//! the keys. So does a call with the first key of a layer, also by a service that was cloned for this
//! call. Other calls look the key up: one hash, one short lock, no allocation. The first call of a
//! key makes its instance. No cost grows with the number of keys.

mod group;
mod instances;
mod key;
mod last;
mod setters;
mod snapshot;
mod target;

pub use instances::{Keying, KeyingOf, OneForAll, PerKey};
pub use key::Key;
pub use snapshot::KeyCounts;

pub(crate) use group::{Group, Instance, dropped};
#[cfg(feature = "http")]
pub(crate) use instances::Keyed;
#[cfg(feature = "http")]
pub(crate) use last::Last;
pub(crate) use setters::keyed_setters;
pub(crate) use snapshot::NameAndKey;
pub(crate) use target::{Target, WeakTarget};
