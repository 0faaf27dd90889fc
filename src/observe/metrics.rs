//! Metrics of the layers (feature `metrics`), through the facade of the `metrics` crate.
//!
//! Install a recorder before the first request; nothing else is needed.
//!
//! ```
//! use metrics_exporter_prometheus::PrometheusBuilder;
//! use tower::{Service, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), mainstay::BoxError> {
//! let prometheus = PrometheusBuilder::new().install_recorder()?;
//!
//! let mut stock = mainstay::BulkheadLayer::builder().name("stock").limit(8).build()?.layer(
//!     service_fn(|order: u32| async move { Ok::<_, std::io::Error>(order) }),
//! );
//! stock.ready().await?.call(1).await?;
//!
//! let scraped = prometheus.render();
//! assert!(scraped.contains(r#"mainstay_calls_total{layer="bulkhead",name="stock",outcome="success"} 1"#));
//! # use tower::Layer as _;
//! # Ok(())
//! # }
//! ```
//!
//! # The schema
//!
//! Every metric has the labels `layer` (`circuit_breaker`, `bulkhead`, `load_shed`, `rate_limit`,
//! `retry`, `timeout`, `attempt_timeout`, `deadline`) and `name`, the name of the instance. A layer
//! [of your own](crate::admission) has its own `layer`, and the metrics of a bulkhead except limit
//! and queue. All other labels have a fixed set of values; a correlation ID is never a label.
//!
//! | metric | kind | layers | more labels | |
//! |---|---|---|---|---|
//! | `mainstay_calls_total` | counter | circuit breaker, bulkhead, load shed, rate limit | `outcome`: `success`, `failure`, `ignored`, `cancelled` | admitted calls that are over |
//! | `mainstay_calls_in_flight` | gauge | the same | | admitted calls that are not over |
//! | `mainstay_call_duration_seconds` | histogram | circuit breaker, load shed | | time up to the head of the response, or until the caller went away; only of calls that were pending |
//! | `mainstay_slow_calls_total` | counter | circuit breaker | | calls above the threshold for slow calls, failed or not; 0 without a threshold |
//! | `mainstay_rejections_total` | counter | all | `reason`: `circuit_open`, `full`, `queue_timeout`, `shed`, `not_ready`, `timed_out`, `deadline_passed`, `rate_limited`, `refused` | calls that the layer rejected or ended; a layer has a series for each of its reasons |
//! | `mainstay_would_reject_total` | counter | circuit breaker | `reason`: `circuit_open` | calls that [shadow mode](crate::Mode::Shadow) admitted instead of rejecting; 0 in other modes. Other layers have it, with their own reasons, from the first such call on. |
//! | `mainstay_given_up_total` | counter | bulkhead, rate limit, retry | | calls whose callers gave up in the queue; retries whose callers gave up during the back-off |
//! | `mainstay_limit` | gauge | bulkhead, load shed | | maximum of calls in flight; infinite without a limit; a load shedder by readiness has none |
//! | `mainstay_queue_depth` | gauge | bulkhead, rate limit | | calls that wait for a permit |
//! | `mainstay_queue_wait_seconds` | histogram | bulkhead, rate limit | | time that queued calls waited for a permit |
//! | `mainstay_circuit_breaker_state` | gauge | circuit breaker | `state`: `closed`, `open`, `half_open`, `recovering`, `forced_open`, `forced_closed` | the number of circuits in each state: of a single circuit 1 for the current state and 0 for all others; of a layer [with keys](crate::keyed), or of several instances of one name, their sum. A circuit that is dropped leaves it. |
//! | `mainstay_circuit_breaker_transitions_total` | counter | circuit breaker | `from`, `to`: as `state` | changes of state |
//! | `mainstay_retries_total` | counter | retry | `cause`: `response`, `error`, `timed_out`, `not_sent`, `refused` | attempts after the first |
//! | `mainstay_retries_refused_total` | counter | retry | `reason`: `attempts`, `budget`, `deadline`, `hint_too_long`, `too_large`, `not_ready`, `body` | retries that were refused |
//! | `mainstay_retry_budget_balance` | gauge | retry with a budget | | retries that the budget allowed at its last use; with keys, the lower of the budget that was used last and the overall one |
//! | `mainstay_deadline_remaining_seconds` | histogram | timeout, attempt timeout | | time that a request with a deadline had left when it arrived |
//!
//! Metrics that OpenTelemetry names (`http.server.request.duration` and the like) are left to the
//! instrumentation of the server or client.
//!
//! # When a series begins
//!
//! At the first call of an instance, with the value 0. The instance then resolves all its handles
//! once. So a recorder may be installed after the layers were built, but before they are called.
//! (An instance that was called before finds it at its next rejection.)
//!
//! # How to read them
//!
//! - Instances of the same kind and name share their series, also a client's and a server's in one
//!   process. Counters then add up, and so do `mainstay_calls_in_flight`, `mainstay_queue_depth` and
//!   `mainstay_circuit_breaker_state`, which then counts circuits. `mainstay_limit` and
//!   `mainstay_retry_budget_balance` show the instance that changed last. Give instances different
//!   names: the [registry](crate::registry#names) warns of equal ones.
//! - The keys of a layer add up, too. `mainstay_limit` is then the limit of each key, not of all
//!   together. An adaptive limit differs from key to key: only keys with a label show it.
//! - Each layer of a stack counts a call, so a sum over `layer` counts it several times. The
//!   outermost layer shows the outcome for the caller; a circuit breaker inside a retry counts
//!   attempts.
//! - Each call through a bulkhead, a circuit breaker or a load shedder (except `on_readiness`) ends
//!   in exactly one of `mainstay_calls_total`, `mainstay_rejections_total` and
//!   `mainstay_given_up_total`. Until then a pending call is in `mainstay_calls_in_flight` or
//!   `mainstay_queue_depth`.
//! - A circuit breaker counts the rejections of an inner bulkhead as `ignored`: they say nothing
//!   about the upstream.
//! - In [shadow mode](crate::Mode::Shadow) a layer decides as usual, but rejects nothing. A call
//!   that it would have rejected is in `mainstay_would_reject_total`, and with its outcome in
//!   `mainstay_calls_total`.
//! - Gauges change only with calls: an open circuit without calls stays `open` when its time is
//!   over.
//! - A call that its caller or its caller's deadline ended is `cancelled`, even if the service
//!   answered that the deadline had passed. A circuit breaker counts it as a failure if it ran for
//!   too long: see [`OnCancel`](crate::OnCancel).
//! - Under an adaptive limit, a load shedder counts a call as in flight up to the head of its
//!   response: a response that only streams does not use up the limit. A bulkhead counts it to its
//!   end.
//! - A layer that a stack leaves out has no series, nor has a circuit breaker that is off. A
//!   bulkhead without a limit has: it counts calls in flight.
//! - A call that outlives its layer and all its services may be missing from the counters, but not
//!   from the gauges.
//!
//! # The recorder
//!
//! It runs in the task of the request, outside of all locks, and delays the request. A panic in it
//! is caught. Its type must not have size 0 (a unit struct), or it is taken for no recorder.
//!
//! # Cost
//!
//! Without a recorder, nothing measurable. With one, each layer increments a counter for each call;
//! a circuit breaker and a load shedder also record a histogram; a pending call moves a gauge.
//! Nothing is allocated.
//!
//! # Buckets
//!
//! By default `metrics-exporter-prometheus` exports histograms as summaries, which cannot be added
//! up over instances. Set buckets:
//! `PrometheusBuilder::set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &[0.001,
//! 0.005, ...])`.

use metrics::Unit;

/// Admitted calls that are over.
pub const CALLS: &str = "mainstay_calls_total";
/// Admitted calls that are not over.
pub const CALLS_IN_FLIGHT: &str = "mainstay_calls_in_flight";
/// Time up to the head of the response.
pub const CALL_DURATION: &str = "mainstay_call_duration_seconds";
/// Calls above the circuit's threshold for slow calls.
pub const SLOW_CALLS: &str = "mainstay_slow_calls_total";
/// Calls that the layer rejected or ended.
pub const REJECTIONS: &str = "mainstay_rejections_total";
/// Calls that shadow mode admitted instead of rejecting.
pub const WOULD_REJECT: &str = "mainstay_would_reject_total";
/// Calls and retries whose callers gave up during the wait.
pub const GIVEN_UP: &str = "mainstay_given_up_total";
/// Maximum of calls in flight.
pub const LIMIT: &str = "mainstay_limit";
/// Calls that wait for a permit.
pub const QUEUE_DEPTH: &str = "mainstay_queue_depth";
/// Time that queued calls waited for a permit.
pub const QUEUE_WAIT: &str = "mainstay_queue_wait_seconds";
/// 1 for the circuit's current state.
pub const CIRCUIT_BREAKER_STATE: &str = "mainstay_circuit_breaker_state";
/// Changes of a circuit's state.
pub const CIRCUIT_BREAKER_TRANSITIONS: &str = "mainstay_circuit_breaker_transitions_total";
/// Attempts after the first.
pub const RETRIES: &str = "mainstay_retries_total";
/// Retries that were refused.
pub const RETRIES_REFUSED: &str = "mainstay_retries_refused_total";
/// Retries that the budget allowed at its last use.
pub const RETRY_BUDGET_BALANCE: &str = "mainstay_retry_budget_balance";
/// Time that a request had left until its deadline when it arrived.
pub const DEADLINE_REMAINING: &str = "mainstay_deadline_remaining_seconds";

pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// The descriptions for the recorder.
pub(crate) const ALL: &[(&str, Kind, Unit, &str)] = &[
    (
        CALLS,
        Kind::Counter,
        Unit::Count,
        "Admitted calls that are over, by outcome.",
    ),
    (
        CALLS_IN_FLIGHT,
        Kind::Gauge,
        Unit::Count,
        "Admitted calls that are not over.",
    ),
    (
        CALL_DURATION,
        Kind::Histogram,
        Unit::Seconds,
        "Time up to the head of the response.",
    ),
    (
        SLOW_CALLS,
        Kind::Counter,
        Unit::Count,
        "Calls above the circuit's threshold for slow calls, failed or not.",
    ),
    (
        REJECTIONS,
        Kind::Counter,
        Unit::Count,
        "Calls that the layer rejected or ended, by reason.",
    ),
    (
        WOULD_REJECT,
        Kind::Counter,
        Unit::Count,
        "Calls that shadow mode admitted instead of rejecting, by reason.",
    ),
    (
        GIVEN_UP,
        Kind::Counter,
        Unit::Count,
        "Calls and retries whose callers gave up in the queue or during the back-off.",
    ),
    (
        LIMIT,
        Kind::Gauge,
        Unit::Count,
        "Maximum of calls in flight.",
    ),
    (
        QUEUE_DEPTH,
        Kind::Gauge,
        Unit::Count,
        "Calls that wait for a permit.",
    ),
    (
        QUEUE_WAIT,
        Kind::Histogram,
        Unit::Seconds,
        "Time that queued calls waited for a permit.",
    ),
    (
        CIRCUIT_BREAKER_STATE,
        Kind::Gauge,
        Unit::Count,
        "1 for the circuit's current state, 0 for all others.",
    ),
    (
        CIRCUIT_BREAKER_TRANSITIONS,
        Kind::Counter,
        Unit::Count,
        "Changes of the circuit's state.",
    ),
    (
        RETRIES,
        Kind::Counter,
        Unit::Count,
        "Attempts after the first, by cause.",
    ),
    (
        RETRIES_REFUSED,
        Kind::Counter,
        Unit::Count,
        "Retries that were refused, by reason.",
    ),
    (
        RETRY_BUDGET_BALANCE,
        Kind::Gauge,
        Unit::Count,
        "Retries that the budget allowed at its last use.",
    ),
    (
        DEADLINE_REMAINING,
        Kind::Histogram,
        Unit::Seconds,
        "Time that requests with a deadline had left when they arrived.",
    ),
];
