//! What others offer for the same purpose.

use std::future;
use std::sync::Arc;
use std::time::Duration;

use tower::limit::ConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;
use tower::retry::budget::{Budget, TpsBudget};
use tower::retry::{Policy, RetryLayer};
use tower::timeout::TimeoutLayer;
use tower::{Layer, Service, ServiceBuilder};
use tower_resilience_circuitbreaker::{
    CircuitBreakerConfigBuilder, CircuitBreakerLayer, SlidingWindowType,
};

use crate::cases::{Case, LONG, SLOW, SPAN, WINDOW};
use crate::services::{Expect, Fails, Message, Ready, Work, Yields, calls};
use crate::six_layers::{LIMIT, MAX_IN_FLIGHT};

/// How many calls the peer's window of time holds when it is measured: it walks through all of them at
/// every call, so the more there are, the worse it looks.
pub(crate) const RECORDS: u64 = 1_000;

fn breaker() -> CircuitBreakerConfigBuilder<tower_resilience_circuitbreaker::DefaultClassifier> {
    CircuitBreakerLayer::builder()
        .sliding_window_size(WINDOW as usize)
        .wait_duration_in_open(LONG)
}

pub(crate) fn resilience_count() -> Case {
    let layer = breaker().build().expect("settings are valid");
    Case::new(
        "tower_resilience",
        calls(layer.layer(Ready), 1, Expect::Answers),
    )
}

pub(crate) fn resilience_time() -> Case {
    let work: Work = Box::new(|count| {
        let layer = breaker()
            .sliding_window_type(SlidingWindowType::TimeBased)
            .sliding_window_duration(SPAN)
            .build()
            .expect("settings are valid");
        calls(layer.layer(Ready), 1, Expect::Answers)(count);
    });
    Case::new("tower_resilience_time", work).at_most(RECORDS)
}

pub(crate) fn resilience_slow() -> Case {
    let layer = breaker()
        .slow_call_duration_threshold(SLOW)
        .slow_call_rate_threshold(0.5)
        .build()
        .expect("settings are valid");
    Case::new(
        "tower_resilience_slow",
        calls(layer.layer(Ready), 1, Expect::Answers),
    )
}

pub(crate) fn resilience_open() -> Case {
    let layer = breaker()
        .minimum_number_of_calls(1)
        .build()
        .expect("settings are valid");
    let service = layer.layer(Fails::one_in(1));
    Case::new("tower_resilience_open", calls(service, 1, Expect::Errors))
}

pub(crate) fn tower_limit() -> Case {
    let service = ConcurrencyLimitLayer::new(MAX_IN_FLIGHT as usize).layer(Ready);
    Case::new("tower_limit", calls(service, 1, Expect::Answers))
}

/// tower rejects what is over a limit only together with its load shedder.
pub(crate) fn tower_limit_shed() -> Case {
    let service = ServiceBuilder::new()
        .load_shed()
        .concurrency_limit(MAX_IN_FLIGHT as usize)
        .service(Ready);
    Case::new("tower_limit_shed", calls(service, 1, Expect::Answers))
}

pub(crate) fn tower_limit_shed_full() -> Case {
    let service = ServiceBuilder::new()
        .load_shed()
        .concurrency_limit(0)
        .service(Ready);
    Case::new("tower_limit_shed_full", calls(service, 1, Expect::Errors))
}

pub(crate) fn tower_timeout() -> Case {
    let service = TimeoutLayer::new(LIMIT).layer(Ready);
    Case::new("tower_timeout", calls(service, 1, Expect::Answers))
}

pub(crate) fn tower_load_shed() -> Case {
    let service = LoadShedLayer::new().layer(Ready);
    Case::new("tower_load_shed", calls(service, 1, Expect::Answers))
}

pub(crate) fn tower_retry() -> Case {
    let policy = Budgeted(Arc::new(TpsBudget::new(Duration::from_secs(10), 10, 0.2)));
    let service = RetryLayer::new(policy).layer(Ready);
    Case::new("tower_retry", calls(service, 1, Expect::Answers))
}

pub(crate) fn tower_three() -> Case {
    Case::new(
        "tower_three",
        calls(three(), Message::WITH_ID, Expect::Answers),
    )
}

pub(crate) fn three() -> impl Service<Message, Future: Send> + Clone + Send + 'static {
    ServiceBuilder::new()
        .timeout(LIMIT)
        .load_shed()
        .concurrency_limit(MAX_IN_FLIGHT as usize)
        .service(Ready)
}

pub(crate) fn tower_three_yields() -> Case {
    let service = ServiceBuilder::new()
        .timeout(LIMIT)
        .load_shed()
        .concurrency_limit(MAX_IN_FLIGHT as usize)
        .service(Yields);
    Case::new(
        "tower_three_yields",
        calls(service, Message::WITH_ID, Expect::Answers),
    )
}

/// The policy of the example in tower's documentation.
#[derive(Clone)]
struct Budgeted(Arc<TpsBudget>);

impl<Req: Clone, Res, E> Policy<Req, Res, E> for Budgeted {
    type Future = future::Ready<()>;

    fn retry(&mut self, _: &mut Req, result: &mut Result<Res, E>) -> Option<Self::Future> {
        if result.is_ok() {
            self.0.deposit();
            return None;
        }
        self.0.withdraw().then(|| future::ready(()))
    }

    fn clone_request(&mut self, request: &Req) -> Option<Req> {
        Some(request.clone())
    }
}
