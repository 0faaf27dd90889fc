//! Metrics (feature `metrics`): what the layers do, through the facade of the `metrics` crate.
//!
//! Install a recorder before the first request, and that is all: every layer counts.
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
//! Every metric has the labels `layer` (`circuit_breaker`, `bulkhead`, `load_shed`, `rate_limit`, `retry`, `timeout`, `attempt_timeout`, `deadline`) and `name`, which is that of the
//! instance. A layer [of your own](crate::admission) has its own `layer`, and the metrics of a bulkhead but for limit and queue.
//! All other labels have a fixed set of values. A correlation ID is never one.
//!
//! | metric | kind | layers | more labels | |
//! |---|---|---|---|---|
//! | `mainstay_calls_total` | counter | circuit breaker, bulkhead, load shed, rate limit | `outcome`: `success`, `failure`, `ignored`, `cancelled` | calls that were let through and are over |
//! | `mainstay_calls_in_flight` | gauge | the same | | calls that are not over |
//! | `mainstay_call_duration_seconds` | histogram | circuit breaker, load shed | | up to the head of the response, or until the call was given up; of calls that had to wait |
//! | `mainstay_slow_calls_total` | counter | circuit breaker | | those of them that were slow, failed or not; 0 for ever where the circuit has no threshold for slow calls |
//! | `mainstay_rejections_total` | counter | all | `reason`: `circuit_open`, `full`, `queue_timeout`, `shed`, `not_ready`, `timed_out`, `deadline_passed`, `rate_limited`, `refused` | calls that were not let through, or ended by the layer; a layer has a series for each reason that it can give |
//! | `mainstay_would_reject_total` | counter | circuit breaker | `reason`: `circuit_open` | calls that a circuit in [shadow mode](crate::circuit_breaker::Mode::Shadow) would have rejected; 0 in every other mode |
//! | `mainstay_given_up_total` | counter | bulkhead, rate limit, retry | | calls that their callers gave up while they waited in the queue; retries that their callers gave up during the back-off |
//! | `mainstay_limit` | gauge | bulkhead, load shed | | calls that may be in flight; infinite while there is no limit; none of a load shedder by readiness |
//! | `mainstay_queue_depth` | gauge | bulkhead, rate limit | | calls that wait for a permit |
//! | `mainstay_queue_wait_seconds` | histogram | bulkhead, rate limit | | how long those have waited that waited |
//! | `mainstay_circuit_breaker_state` | gauge | circuit breaker | `state`: `closed`, `open`, `half_open`, `recovering`, `forced_open`, `forced_closed` | 1 for the state that it is in, 0 for all others |
//! | `mainstay_circuit_breaker_transitions_total` | counter | circuit breaker | `from`, `to`: as `state` | changes of state |
//! | `mainstay_retries_total` | counter | retry | `cause`: `response`, `error`, `timed_out`, `not_sent`, `refused` | attempts after the first |
//! | `mainstay_retries_refused_total` | counter | retry | `reason`: `attempts`, `budget`, `deadline`, `hint_too_long`, `too_large`, `not_ready`, `body` | retries that were called for and not made |
//! | `mainstay_retry_budget_balance` | gauge | retry with a budget | | retries that the budget would still pay for, when it was last asked |
//! | `mainstay_deadline_remaining_seconds` | histogram | timeout, attempt timeout | | what a request had left as it arrived, of those that had a deadline |
//!
//! What OpenTelemetry has names for (`http.server.request.duration` and the like) is for whoever instruments the server or the client; here is what only the layers
//! know.
//!
//! # When a series begins
//!
//! At an instance's first call. Its handles are made then, all at once and with the value 0, and never looked up again; so a recorder may be installed after the
//! layers were built, but should be before they are called. (An instance that was called before finds it when it next rejects something.) Instances of the
//! same kind and name share their series.
//!
//! # What to mind when reading it
//!
//! - Instances of the same kind and name share their series also where one belongs to a client and the other to a server of the same process. Counters then add
//!   up; gauges add up or overwrite each other. Give them different names.
//! - A call is counted by each layer that it goes through: a sum over `layer` counts it several times. What became of a caller's call as a whole is what its
//!   outermost layer says; a circuit breaker inside of a retry counts attempts.
//! - Each call through a bulkhead, a circuit breaker or a load shedder (except `on_readiness`) ends
//!   in exactly one of `mainstay_calls_total`, `mainstay_rejections_total` and
//!   `mainstay_given_up_total`. Until then it is in `mainstay_calls_in_flight` or
//!   `mainstay_queue_depth`, if it had to wait.
//! - What a bulkhead inside of a circuit breaker rejects is `ignored` there: it says nothing about what is called.
//! - In [shadow mode](crate::circuit_breaker::Mode::Shadow) the state of a circuit is what it would be; nothing is rejected. A call that would have been rejected is in
//!   `mainstay_would_reject_total` and, as every call that was admitted, in `mainstay_calls_total` with its outcome.
//! - A gauge changes when a call does something. Where no call comes, it stays as it was: an open circuit stays `open` when its time is over.
//! - A call that its caller ended, or its caller's deadline, is `cancelled`, also where the service answered only that the deadline had run out. A circuit breaker
//!   takes it for a failure if it ran for too long: see [`OnCancel`](crate::OnCancel).
//! - Under an adaptive limit, `mainstay_calls_in_flight` of a load shedder counts a call up to the head of its response, because a response that only streams
//!   does not count against the limit. That of a bulkhead counts it to its end.
//! - A layer that a stack leaves out has no series, nor has a circuit breaker that is off. A bulkhead without a limit has: it counts calls in flight.
//! - A call that goes on when its layer and all services of it are gone may be missing from the counts; the gauges come back from it all the same.
//!
//! # The recorder
//!
//! It is called in the task of the request, outside of every lock. A panic in it is caught and harms nothing; what it takes in time, the request takes longer. One
//! of no size (a unit struct) cannot be told from none, so give yours a field.
//!
//! # Cost
//!
//! Where no recorder is installed, nothing that could be measured. With one, what it takes for a counter, for each layer that a call goes through, and for a
//! histogram, in a circuit breaker or a load shedder; a call that has to wait also moves a gauge. Nothing is allocated.
//!
//! # Buckets
//!
//! `metrics-exporter-prometheus` makes summaries of histograms unless it is told otherwise, which cannot be added up over instances:
//! `PrometheusBuilder::set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &[0.001, 0.005, ...])`.

use metrics::Unit;

/// Calls that were let through and are over.
pub const CALLS: &str = "mainstay_calls_total";
/// Calls that are not over.
pub const CALLS_IN_FLIGHT: &str = "mainstay_calls_in_flight";
/// How long calls take up to the head of their response.
pub const CALL_DURATION: &str = "mainstay_call_duration_seconds";
/// Calls that a circuit takes for slow.
pub const SLOW_CALLS: &str = "mainstay_slow_calls_total";
/// Calls that were not let through, or ended by the layer.
pub const REJECTIONS: &str = "mainstay_rejections_total";
/// Calls that a circuit in shadow mode would have rejected.
pub const WOULD_REJECT: &str = "mainstay_would_reject_total";
/// Calls that were given up before they were admitted, and retries that were given up before they were sent.
pub const GIVEN_UP: &str = "mainstay_given_up_total";
/// Calls that may be in flight.
pub const LIMIT: &str = "mainstay_limit";
/// Calls that wait for a permit.
pub const QUEUE_DEPTH: &str = "mainstay_queue_depth";
/// How long calls have waited for a permit.
pub const QUEUE_WAIT: &str = "mainstay_queue_wait_seconds";
/// 1 for the state that a circuit is in.
pub const CIRCUIT_BREAKER_STATE: &str = "mainstay_circuit_breaker_state";
/// Changes of a circuit's state.
pub const CIRCUIT_BREAKER_TRANSITIONS: &str = "mainstay_circuit_breaker_transitions_total";
/// Attempts after the first.
pub const RETRIES: &str = "mainstay_retries_total";
/// Retries that were called for and not made.
pub const RETRIES_REFUSED: &str = "mainstay_retries_refused_total";
/// Retries that the budget would still pay for.
pub const RETRY_BUDGET_BALANCE: &str = "mainstay_retry_budget_balance";
/// What a request had left as it arrived.
pub const DEADLINE_REMAINING: &str = "mainstay_deadline_remaining_seconds";

pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// All of them, as they are described to a recorder.
pub(crate) const ALL: &[(&str, Kind, Unit, &str)] = &[
    (
        CALLS,
        Kind::Counter,
        Unit::Count,
        "Calls that were let through and are over, by outcome.",
    ),
    (
        CALLS_IN_FLIGHT,
        Kind::Gauge,
        Unit::Count,
        "Calls that were let through and are not over.",
    ),
    (
        CALL_DURATION,
        Kind::Histogram,
        Unit::Seconds,
        "How long calls take up to the head of their response.",
    ),
    (
        SLOW_CALLS,
        Kind::Counter,
        Unit::Count,
        "Calls over the circuit's threshold for slow ones, failed or not.",
    ),
    (
        REJECTIONS,
        Kind::Counter,
        Unit::Count,
        "Calls that were not let through, or ended by the layer, by reason.",
    ),
    (
        WOULD_REJECT,
        Kind::Counter,
        Unit::Count,
        "Calls that a circuit in shadow mode would have rejected, by reason.",
    ),
    (
        GIVEN_UP,
        Kind::Counter,
        Unit::Count,
        "Calls that were given up in a queue, and retries that were given up during their back-off.",
    ),
    (
        LIMIT,
        Kind::Gauge,
        Unit::Count,
        "Calls that may be in flight.",
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
        "How long calls have waited for a permit.",
    ),
    (
        CIRCUIT_BREAKER_STATE,
        Kind::Gauge,
        Unit::Count,
        "1 for the state that the circuit is in, 0 for all others.",
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
        "Attempts after the first, by what they are for.",
    ),
    (
        RETRIES_REFUSED,
        Kind::Counter,
        Unit::Count,
        "Retries that were called for and not made, by reason.",
    ),
    (
        RETRY_BUDGET_BALANCE,
        Kind::Gauge,
        Unit::Count,
        "Retries that the budget would still pay for, when it was last asked.",
    ),
    (
        DEADLINE_REMAINING,
        Kind::Histogram,
        Unit::Seconds,
        "What requests with a deadline had left as they arrived.",
    ),
];
