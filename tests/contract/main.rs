//! The contract that every layer of the core keeps, one table of layers long. A new layer is one more line in it.
//!
//! A line names the layer, says how it calls the inner service (`once`: at once; `later`: perhaps after a wait;
//! `again`: perhaps more than once), and makes it. What else the contract must know of a layer (that it holds places, that it
//! rejects what is not ready, ...), the line says, too: see [`subject::Subject`].
//!
//! Behind every layer stands the same [`probe::Planned`] in a [`probe::Probe`], and [`world::Run`] drives a call through it by hand.

// Ten stacks of six layers are sixty types deep.
#![recursion_limit = "256"]

use std::time::Duration;

use mainstay::{
    BulkheadLayer, CircuitBreakerLayer, CorrelationLayer, Limit, LoadShedLayer, RateLimitLayer,
    TimeoutLayer,
};

mod composition;
mod context;
mod ends;
mod exchange;
mod hand;
mod layers;
mod log;
mod probe;
mod readiness;
mod results;
mod scenario;
mod sharing;
mod subject;
mod time;
mod types;
mod wakeups;
mod world;

use layers::{half_open, retry, stack};
use subject::Subject;

macro_rules! contract {
    ($($name:ident ($calls:ident): $subject:expr;)*) => {$(
        mod $name {
            use super::*;

            clauses! { $subject,
                readiness::readiness_is_that_of_the_inner_service,
                readiness::an_error_of_readiness_is_the_answer_to_the_call,
                readiness::an_error_of_readiness_that_nobody_takes_is_gone,
                readiness::an_error_of_readiness_is_retried_as_not_sent,
                readiness::a_waiter_gets_the_error_of_readiness,
                readiness::a_known_rejection_does_not_wait_and_stands,
                readiness::a_late_rejection_comes_from_the_call,
                readiness::readiness_is_for_one_call_and_not_for_clones,
                readiness::readiness_holds_nothing,
                sharing::all_services_of_a_layer_are_one,
                ends::cancelled_at_every_poll_it_gives_everything_back,
                ends::a_call_cancelled_soon_is_not_a_failure,
                ends::a_retry_that_is_not_sent_costs_nothing,
                ends::what_waits_is_dropped_before_its_place,
                ends::a_panic_gives_everything_back_and_counts,
                ends::polled_after_its_end_it_does_not_panic,
                wakeups::a_call_is_woken_by_events_alone,
                wakeups::all_who_wait_are_served,
                results::answers_and_faults_pass_through,
                results::rejections_are_found,
                results::a_boxed_error_is_not_boxed_again,
                time::any_deadline_is_a_deadline,
                context::the_context_is_seen_everywhere_inside,
                context::a_call_is_dropped_within_its_context,
                context::the_attempt_is_seen_everywhere_inside,
                composition::it_works_inside_a_buffer,
                composition::it_works_around_a_buffer,
                composition::it_can_be_left_out,
                types::what_is_inside_decides_what_can_be_shared,
                types::it_works_around_a_box,
            }
            crate::types::types!($calls, $subject);
        }
    )*};
}

macro_rules! clauses {
    ($subject:expr, $($module:ident::$clause:ident,)*) => {$(
        #[tokio::test(start_paused = true)]
        async fn $clause() {
            // On a paused clock what waits for nothing fails at once, instead of hanging.
            const A_YEAR: Duration = Duration::from_secs(365 * 86_400);
            let kept = crate::$module::$clause(async || $subject);
            tokio::time::timeout(A_YEAR, kept).await.expect("it hangs");
        }
    )*};
}

contract! {
    circuit_breaker (once): Subject::new(CircuitBreakerLayer::new())
        .rejects_unready()
        .counts(|layer| layer.handle().snapshot().failures)
        .counts_panics()
        .shuts(|layer, on| if on { layer.handle().force_open() } else { layer.handle().reset() });
    circuit_breaker_half_open (once): half_open().await;
    retry (again): retry();
    bulkhead (once): Subject::new(BulkheadLayer::new(2))
        .holds(2, |layer| layer.handle().in_flight())
        .rejects_unready();
    bulkhead_queued (later): Subject::new(layers::queued())
        .holds(2, |layer| layer.handle().in_flight() + layer.handle().waiting())
        .queues();
    circuit_breaker_keyed (once): Subject::new(layers::circuits_by_key())
        .rejects_unready()
        .counts(|layer| layer.handle().snapshot().failures)
        .counts_panics();
    bulkhead_keyed (once): Subject::new(layers::bulkhead_by_key())
        .holds(2, |layer| layer.handle().in_flight())
        .unknowing()
        .rejects_unready();
    bulkhead_keyed_queued (later): Subject::new(layers::queue_by_key())
        .holds(2, |layer| layer.handle().in_flight() + layer.handle().waiting())
        .unknowing()
        .queues();
    load_shed_keyed (once): Subject::new(layers::load_shed_by_key())
        .holds(2, |layer| layer.handle().in_flight())
        .unknowing()
        .sheds();
    rate_limit_keyed (once): Subject::new(layers::rate_by_key()).rejects_unready();
    rate_limit_keyed_waiting (later): Subject::new(layers::rate_by_key_waiting());
    timeout (once): Subject::new(TimeoutLayer::new(Duration::from_secs(30)));
    load_shed_fixed (once): Subject::new(LoadShedLayer::new(Limit::fixed(2)))
        .holds(2, |layer| layer.handle().in_flight())
        .sheds();
    load_shed_adaptive (once): Subject::new(layers::adaptive())
        .holds(2, |layer| layer.handle().in_flight())
        .sheds();
    load_shed_scheduler_lag (once): Subject::new(LoadShedLayer::new(Limit::scheduler_lag())).sheds();
    load_shed_on_readiness (once): Subject::new(LoadShedLayer::on_readiness()).sheds();
    rate_limit (once): Subject::new(RateLimitLayer::per_second(1_000_000).unwrap()).rejects_unready();
    rate_limit_waiting (later): Subject::new(layers::rate_limited());
    admission (once): Subject::new(layers::two_at_a_time())
        .holds(2, |layer| layer.handle().snapshot().in_flight as u32)
        .rejects_unready();
    correlation_server (once): Subject::new(CorrelationLayer::server());
    correlation_consumer (once): Subject::new(CorrelationLayer::consumer());
    correlation_client (once): Subject::new(CorrelationLayer::client());
    stack (again): stack();
}
