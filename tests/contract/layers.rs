//! The layers whose making takes more than a line.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mainstay::admission::{Admission, AdmissionLayer, Refusal, Ticket};
use mainstay::bulkhead::{Queued, Rejecting};
use mainstay::correlation::Server;
use mainstay::keyed::{Key, PerKey};
use mainstay::load_shed::Limited;
use mainstay::{
    AtResponse, Backoff, BulkheadLayer, CircuitBreakerLayer, CorrelationLayer, Jitter, Limit,
    LoadShedLayer, OnCancel, RateLimitLayer, Reason, RetryLayer, State, TimeoutLayer,
};
use tokio::time::advance;
use tower::layer::util::Stack;
use tower::{Layer, Service, ServiceExt as _};

use crate::hand::poll;
use crate::probe::{End, Plan, Probe};
use crate::subject::Subject;

pub(crate) fn queued() -> BulkheadLayer<Queued> {
    BulkheadLayer::builder()
        .limit(2)
        .queue(8, Duration::from_secs(10))
        .build()
        .unwrap()
}

/// The same key for every request.
#[derive(Clone, Copy)]
pub(crate) struct OneTenant;

impl<Req> Key<Req> for OneTenant {
    fn key<'a>(&'a self, _: &'a Req) -> Option<Cow<'a, str>> {
        Some("tenant".into())
    }
}

pub(crate) fn circuits_by_key() -> CircuitBreakerLayer<AtResponse, PerKey<OneTenant>> {
    let builder = CircuitBreakerLayer::builder().keyed_by(OneTenant);
    builder.build().unwrap()
}

pub(crate) fn bulkhead_by_key() -> BulkheadLayer<Rejecting, AtResponse, PerKey<OneTenant>> {
    let builder = BulkheadLayer::builder().limit(2).keyed_by(OneTenant);
    builder.build().unwrap()
}

pub(crate) fn queue_by_key() -> BulkheadLayer<Queued, AtResponse, PerKey<OneTenant>> {
    let builder = BulkheadLayer::builder().limit(2).keyed_by(OneTenant);
    let builder = builder.queue(8, Duration::from_secs(10));
    builder.build().unwrap()
}

pub(crate) fn load_shed_by_key() -> LoadShedLayer<Limited<AtResponse, PerKey<OneTenant>>> {
    let builder = LoadShedLayer::builder().limit(Limit::fixed(2));
    builder.keyed_by(OneTenant).build().unwrap()
}

pub(crate) fn rate_by_key() -> RateLimitLayer<Rejecting, AtResponse, PerKey<OneTenant>> {
    let builder = RateLimitLayer::builder().per(1_000_000, Duration::from_secs(1));
    builder.keyed_by(OneTenant).build().unwrap()
}

/// It waits for nothing: there is always a permit.
pub(crate) fn rate_by_key_waiting() -> RateLimitLayer<Queued, AtResponse, PerKey<OneTenant>> {
    let builder = RateLimitLayer::builder().per(1_000_000, Duration::from_secs(1));
    let builder = builder.keyed_by(OneTenant);
    builder.max_wait(Duration::from_secs(10)).build().unwrap()
}

/// It waits for nothing: there is always a permit.
pub(crate) fn rate_limited() -> RateLimitLayer<Queued> {
    let builder = RateLimitLayer::builder().per(1_000_000, Duration::from_secs(1));
    builder.max_wait(Duration::from_secs(10)).build().unwrap()
}

/// A policy of a user's own.
#[derive(Default)]
pub(crate) struct TwoAtATime(AtomicU32);

impl Admission for TwoAtATime {
    fn refuses(&self) -> Option<Refusal> {
        (self.0.load(Ordering::Relaxed) >= 2).then_some(Refusal::new(Reason::Refused))
    }

    fn admit(&self) -> Result<Ticket, Refusal> {
        let more = |calls| (calls < 2).then_some(calls + 1);
        let admitted = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        admitted.map_or(Err(Refusal::new(Reason::Refused)), |_| Ok(Ticket::new()))
    }

    fn release(&self, _: &Ticket) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(crate) fn two_at_a_time() -> AdmissionLayer<TwoAtATime> {
    let policy = TwoAtATime::default();
    AdmissionLayer::builder("two_at_a_time", policy)
        .build()
        .unwrap()
}

/// It measures and adapts like any other, and has nowhere to go.
pub(crate) fn adaptive() -> LoadShedLayer {
    let limit = Limit::gradient2().initial(2).min(2).max(2);
    LoadShedLayer::new(limit.build().unwrap())
}

fn retry_layer() -> RetryLayer {
    RetryLayer::builder()
        .attempts(2)
        .backoff(Backoff::constant(Duration::from_millis(100)).jitter(Jitter::None))
        .build()
        .unwrap()
}

/// What it shares is the budget: a call that failed has spent a retry.
pub(crate) fn retry() -> Subject<RetryLayer> {
    let layer = retry_layer();
    let all = layer.handle().budget().unwrap().balance();
    Subject::new(layer)
        .retries()
        .counts(move |layer| all - layer.handle().budget().unwrap().balance())
}

/// A circuit that has been open: now it has three places, for its probes.
pub(crate) async fn half_open() -> Subject<CircuitBreakerLayer> {
    let layer = CircuitBreakerLayer::builder()
        .without_failure_rate()
        .consecutive_failures(3)
        .open_for(Duration::from_millis(1))
        .jitter(0.0)
        .probes(3)
        .probe_life(Duration::from_secs(86_400))
        .on_cancel(OnCancel::Ignore)
        .build()
        .unwrap();
    let probe = Probe::default();
    let log = probe.get_ref().log();
    log.plan([Plan::after(0, End::Fault); 3]);
    for _ in 0..3 {
        let failed = layer.layer(probe.clone()).oneshot(log.message(0)).await;
        assert!(failed.is_err());
    }
    assert_eq!(layer.handle().state(), State::Open);
    advance(Duration::from_millis(1)).await;
    log.plan([Plan::after(0, End::Never)]);
    let mut service = layer.layer(probe);
    let mut call = Box::pin(service.ready().await.unwrap().call(log.message(0)));
    assert!(poll(call.as_mut()).is_pending());
    drop(call);
    assert_eq!(layer.handle().state(), State::HalfOpen);
    Subject::new(layer)
        .holds(3, |layer| layer.handle().snapshot().probes_in_flight as u32)
        .unknowing()
        .rejects_unready()
        .counts(|layer| layer.handle().snapshot().failures)
        .counts_panics()
}

type Six = Stack<
    BulkheadLayer,
    Stack<
        CircuitBreakerLayer,
        Stack<RetryLayer, Stack<LoadShedLayer, Stack<TimeoutLayer, CorrelationLayer<Server>>>>,
    >,
>;

/// All six, in the order in which they make sense.
pub(crate) fn stack() -> Subject<Six> {
    let shed = LoadShedLayer::new(Limit::fixed(4));
    let bulkhead = BulkheadLayer::new(2);
    let outermost = CorrelationLayer::server();
    let layer = Stack::new(TimeoutLayer::new(Duration::from_secs(30)), outermost);
    let layer = Stack::new(shed.clone(), layer);
    let layer = Stack::new(retry_layer(), layer);
    let layer = Stack::new(CircuitBreakerLayer::new(), layer);
    let layer = Stack::new(bulkhead.clone(), layer);
    Subject::new(layer)
        .holds(2, move |_| {
            shed.handle().in_flight() + bulkhead.handle().in_flight()
        })
        .sheds()
        .retries()
}
