//! Each layer alone and six layers by hand, over a service that is ready at once; and tower's.

use std::future;
use std::sync::Arc;
use std::time::Duration;

use mainstay::{
    BoxError, BulkheadLayer, CircuitBreakerLayer, CorrelationLayer, Limit, LoadShedLayer,
    RateLimitLayer, RetryLayer, TimeoutLayer, Window,
};
use tower::limit::ConcurrencyLimitLayer;
use tower::retry::Policy;
use tower::retry::budget::{Budget, TpsBudget};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::cases::Case;
use crate::services::{Expect, Message, Ready, Work, Yields, calls};
use crate::six_layers::{self, LIMIT, MAX_IN_FLIGHT};

/// The calls in a count window.
const WINDOW: u32 = 100;
/// The span of a time window.
const SPAN: Duration = Duration::from_secs(10);
/// More calls a second than are ever made.
const RATE: u32 = 1_000_000;

/// The bare services: one that gets a number, two that get a message.
const BARE: &str = "bare";
const MESSAGE: &str = "bare_message";
const YIELDS: &str = "bare_yields";

type Built = Result<Work, BoxError>;

pub(crate) fn all() -> Vec<Case> {
    vec![
        Case::bare(BARE, || number(Ready)),
        Case::bare(MESSAGE, || message(Ready)),
        Case::bare(YIELDS, || message(Yields)),
        Case::over(BARE, "bulkhead", || {
            number(BulkheadLayer::new(MAX_IN_FLIGHT).layer(Ready))
        }),
        Case::over(BARE, "bulkhead_queued", || {
            let layer = BulkheadLayer::builder().limit(MAX_IN_FLIGHT);
            number(layer.queue(MAX_IN_FLIGHT, LIMIT).build()?.layer(Ready))
        }),
        Case::over(BARE, "circuit_breaker_count", || {
            breaker(Window::count(WINDOW))
        }),
        Case::over(BARE, "circuit_breaker_time", || breaker(Window::time(SPAN))),
        Case::over(BARE, "circuit_breaker_keyed", || {
            let layer = CircuitBreakerLayer::builder().window(Window::count(WINDOW));
            let layer = layer.keyed(|_: &u32| "api.example.com".into());
            number(layer.build()?.layer(Ready))
        }),
        Case::over(BARE, "bulkhead_keyed", || {
            let layer = BulkheadLayer::builder().limit(MAX_IN_FLIGHT);
            let layer = layer.keyed(|_: &u32| "api.example.com".into());
            number(layer.build()?.layer(Ready))
        }),
        Case::over(BARE, "circuit_breaker_cloned", || {
            let layer = CircuitBreakerLayer::builder().window(Window::count(WINDOW));
            number(cloned(layer.build()?.layer(Ready)))
        }),
        Case::over(BARE, "circuit_breaker_keyed_cloned", || {
            let layer = CircuitBreakerLayer::builder().window(Window::count(WINDOW));
            let layer = layer.keyed(|_: &u32| "api.example.com".into());
            number(cloned(layer.build()?.layer(Ready)))
        }),
        Case::over(BARE, "load_shed_keyed", || {
            let layer = LoadShedLayer::builder().limit(Limit::fixed(MAX_IN_FLIGHT));
            let layer = layer.keyed(|_: &u32| "api.example.com".into());
            number(layer.build()?.layer(Ready))
        }),
        Case::over(BARE, "retry_keyed", || {
            let layer = RetryLayer::builder().keyed(|_: &u32| "api.example.com".into());
            number(layer.build()?.layer(Ready))
        }),
        Case::over(MESSAGE, "correlation", || {
            message(CorrelationLayer::consumer().layer(Ready))
        }),
        Case::over(BARE, "load_shed_readiness", || {
            number(LoadShedLayer::on_readiness().layer(Ready))
        }),
        Case::over(BARE, "load_shed_fixed", || {
            number(LoadShedLayer::new(Limit::fixed(MAX_IN_FLIGHT)).layer(Ready))
        }),
        Case::over(BARE, "load_shed_adaptive", || {
            number(LoadShedLayer::new(Limit::adaptive()).layer(Ready))
        }),
        Case::over(BARE, "rate_limit", || {
            number(RateLimitLayer::per_second(RATE)?.layer(Ready))
        }),
        Case::over(BARE, "retry", || number(RetryLayer::new().layer(Ready))),
        Case::over(BARE, "timeout", || {
            number(TimeoutLayer::new(LIMIT).layer(Ready))
        }),
        Case::over(MESSAGE, "six_layers", || Ok(six_layers::ready())),
        Case::over(YIELDS, "six_layers_yields", || Ok(six_layers::yields())),
        Case::over(BARE, "tower_concurrency_limit", || {
            number(ConcurrencyLimitLayer::new(MAX_IN_FLIGHT as usize).layer(Ready))
        }),
        Case::over(BARE, "tower_load_shed", || {
            number(tower::load_shed::LoadShedLayer::new().layer(Ready))
        }),
        Case::over(BARE, "tower_retry", || {
            let policy = Budgeted(Arc::new(TpsBudget::new(SPAN, 10, 0.2)));
            number(tower::retry::RetryLayer::new(policy).layer(Ready))
        }),
        Case::over(BARE, "tower_timeout", || {
            number(tower::timeout::TimeoutLayer::new(LIMIT).layer(Ready))
        }),
        Case::over(MESSAGE, "tower_three", || message(tower_three(Ready))),
        Case::over(YIELDS, "tower_three_yields", || {
            message(tower_three(Yields))
        }),
    ]
}

fn number<S>(service: S) -> Built
where
    S: Service<u32, Future: Send> + Send + 'static,
{
    Ok(calls(service, 1, Expect::Answers))
}

/// Cloned for each call, as most clients are.
fn cloned<S>(service: S) -> impl Service<u32, Future: Send> + Send + 'static
where
    S: Service<u32, Future: Send> + Clone + Send + 'static,
{
    service_fn(move |number| service.clone().oneshot(number))
}

fn message<S>(service: S) -> Built
where
    S: Service<Message, Future: Send> + Send + 'static,
{
    Ok(calls(service, Message::WITH_ID, Expect::Answers))
}

fn breaker(window: Window) -> Built {
    let layer = CircuitBreakerLayer::builder().window(window).build()?;
    number(layer.layer(Ready))
}

fn tower_three<S>(
    inner: S,
) -> impl Service<Message, Response = u64, Error = BoxError, Future: Send> + Send + 'static
where
    S: Service<Message, Response = u64, Error: Into<BoxError>, Future: Send> + Send + 'static,
{
    ServiceBuilder::new()
        .timeout(LIMIT)
        .load_shed()
        .concurrency_limit(MAX_IN_FLIGHT as usize)
        .service(inner)
}

/// A policy with a budget that retries every error.
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
