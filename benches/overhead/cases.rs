//! What is measured: each of our cases next to its peer.

use std::time::Duration;

use mainstay::{
    BulkheadLayer, CircuitBreakerLayer, Context, CorrelationLayer, Limit, LoadShedLayer,
    RetryLayer, TimeoutLayer, Window,
};
use tower::Layer;

use crate::sample::Sampled;
use crate::services::{Expect, Fails, Message, Ready, Work, calls};
use crate::six_layers::{self, LIMIT, MAX_IN_FLIGHT};
use crate::{elsewhere, keyed, peers, recorded, seatbelt, stacks};

/// The calls in a small count window.
pub(crate) const WINDOW: u32 = 100;
/// The calls in a large one.
const LARGE: u32 = 100_000;
/// What a window of time spans.
pub(crate) const SPAN: Duration = Duration::from_secs(10);
/// A call that takes longer is slow; none does.
pub(crate) const SLOW: Duration = Duration::from_secs(1);
/// Longer than any run.
pub(crate) const LONG: Duration = Duration::from_secs(3600);

/// Something that is called in a loop.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) work: Box<dyn Sampled>,
    /// How many calls may be made in a row.
    pub(crate) most: u64,
    /// The cases that it is compared with.
    pub(crate) peers: Vec<&'static str>,
}

impl Case {
    pub(crate) fn new(name: &'static str, work: impl Sampled + 'static) -> Self {
        Self {
            name,
            work: Box::new(work),
            most: u64::MAX,
            peers: Vec::new(),
        }
    }

    /// It is compared with the case of this name, too.
    pub(crate) fn next_to(mut self, peer: &'static str) -> Self {
        self.peers.push(peer);
        self
    }

    /// It is another case after more calls in a row than these.
    pub(crate) fn at_most(mut self, calls: u64) -> Self {
        self.most = calls;
        self
    }
}

/// All cases. Those that are compared stand next to each other, so that they are measured under the same conditions.
/// A smoke run builds no other programs.
pub(crate) fn all(smoke: bool) -> Vec<Case> {
    let mut cases = vec![Case::new("bare", calls(Ready, 1, Expect::Answers))];
    let pairs = [
        pair(breaker_count(), peers::resilience_count()),
        pair(breaker_slow(), peers::resilience_slow()),
        pair(breaker_open(), peers::resilience_open()),
        pair(breaker_large(true), breaker_large(false)),
        pair(bulkhead(), peers::tower_limit()),
        pair(bulkhead_full(), peers::tower_limit_shed_full()),
        pair(load_shed_readiness(), peers::tower_load_shed()),
        pair(load_shed_fixed(), peers::tower_limit_shed()),
        [recorded::alone("prometheus"), six_layers_recorded()],
        pair(six_layers(), peers::tower_three()),
        pair(six_layers_yields(), peers::tower_three_yields()),
    ];
    cases.extend(pairs.into_iter().flatten());
    let groups = [
        group(
            breaker_default(),
            peers::resilience_time(),
            seatbelt::breaker(),
        ),
        group(timeout(), peers::tower_timeout(), seatbelt::timeout()),
        group(retry(), peers::tower_retry(), seatbelt::retry()),
    ];
    cases.extend(groups.into_iter().flatten());
    cases.extend(stacks::all().expect("settings are valid"));
    cases.extend(keyed::all());
    if !smoke {
        cases.extend(elsewhere::pairs());
    }
    cases.extend([
        load_shed_adaptive(),
        correlation_consumer(),
        correlation_consumer_new(),
        correlation_client(),
        six_layers_client(),
    ]);
    cases
}

/// One of ours, and what it is compared with.
pub(crate) fn pair(ours: Case, peer: Case) -> [Case; 2] {
    [ours.next_to(peer.name), peer]
}

/// One of ours in the midst of the three that it is compared with.
fn group(ours: Case, first: Case, [second, third]: [Case; 2]) -> [Case; 4] {
    let ours = ours.next_to(first.name);
    let ours = ours.next_to(second.name).next_to(third.name);
    [first, ours, second, third]
}

fn breaker_count() -> Case {
    Case::new(
        "circuit_breaker",
        calls(count_breaker(Ready), 1, Expect::Answers),
    )
}

pub(crate) fn count_breaker<S>(inner: S) -> mainstay::circuit_breaker::CircuitBreaker<S> {
    CircuitBreakerLayer::builder()
        .window(Window::count(WINDOW))
        .build()
        .expect("settings are valid")
        .layer(inner)
}

fn breaker_default() -> Case {
    let service = CircuitBreakerLayer::new().layer(Ready);
    Case::new(
        "circuit_breaker_default",
        calls(service, 1, Expect::Answers),
    )
}

fn breaker_slow() -> Case {
    let layer = CircuitBreakerLayer::builder()
        .window(Window::count(WINDOW))
        .slow_calls(SLOW, 0.5)
        .build()
        .expect("settings are valid");
    Case::new(
        "circuit_breaker_slow",
        calls(layer.layer(Ready), 1, Expect::Answers),
    )
}

fn breaker_open() -> Case {
    let layer = CircuitBreakerLayer::builder()
        .min_calls(1)
        .open_for(LONG)
        .open_max(LONG)
        .build()
        .expect("settings are valid");
    let mut failing = calls(layer.layer(Fails::one_in(1)), 1, Expect::Errors);
    failing(1);
    // All further calls would be answered, were they let through.
    Case::new(
        "circuit_breaker_open",
        calls(layer.layer(Ready), 1, Expect::Errors),
    )
}

/// One call in ten fails, because only failures take memory in the window. The full one is filled before,
/// the empty one is emptied again and again.
fn breaker_large(full: bool) -> Case {
    let layer = CircuitBreakerLayer::builder()
        .window(Window::count(LARGE))
        .min_calls(10_000)
        .build()
        .expect("settings are valid");
    let handle = layer.handle();
    let mut work = calls(layer.layer(Fails::one_in(10)), 1, Expect::Either);
    if full {
        work(u64::from(LARGE) * 11 / 10);
        return Case::new("circuit_breaker_100k_full", work).at_most(1_000);
    }
    let work: Work = Box::new(move |calls| {
        handle.reset();
        work(calls);
    });
    Case::new("circuit_breaker_100k_empty", work).at_most(1_000)
}

fn bulkhead() -> Case {
    let service = BulkheadLayer::new(MAX_IN_FLIGHT).layer(Ready);
    Case::new("bulkhead", calls(service, 1, Expect::Answers))
}

fn bulkhead_full() -> Case {
    let service = BulkheadLayer::new(0).layer(Ready);
    Case::new("bulkhead_full", calls(service, 1, Expect::Errors))
}

fn timeout() -> Case {
    let service = TimeoutLayer::new(LIMIT).layer(Ready);
    Case::new("timeout", calls(service, 1, Expect::Answers))
}

fn load_shed_readiness() -> Case {
    let service = LoadShedLayer::on_readiness().layer(Ready);
    Case::new("load_shed", calls(service, 1, Expect::Answers))
}

fn load_shed_fixed() -> Case {
    let service = LoadShedLayer::new(Limit::fixed(MAX_IN_FLIGHT)).layer(Ready);
    Case::new("load_shed_fixed", calls(service, 1, Expect::Answers))
}

fn load_shed_adaptive() -> Case {
    let service = LoadShedLayer::new(Limit::adaptive()).layer(Ready);
    Case::new("load_shed_adaptive", calls(service, 1, Expect::Answers))
}

fn retry() -> Case {
    let service = RetryLayer::new().layer(Ready);
    Case::new("retry", calls(service, 1, Expect::Answers))
}

/// The request brings an ID that is checked and taken over.
fn correlation_consumer() -> Case {
    let service = CorrelationLayer::consumer().layer(Ready);
    let work = calls(service, Message::WITH_ID, Expect::Answers);
    Case::new("correlation_consumer", work)
}

/// The request brings none: one is made.
fn correlation_consumer_new() -> Case {
    let service = CorrelationLayer::consumer().layer(Ready);
    let work = calls(service, Message::WITHOUT_ID, Expect::Answers);
    Case::new("correlation_consumer_new", work)
}

fn correlation_client() -> Case {
    let service = CorrelationLayer::client().layer(Ready);
    let work = calls(service, Message::WITHOUT_ID, Expect::Answers);
    Case::new("correlation_client", within_context(work))
}

/// Runs it on behalf of a request that has an ID.
fn within_context(mut work: Work) -> Work {
    let id = "0190d3a5-7c1e-7bb2-9f63-2a51d0c4e8f7".parse();
    let context = Context::current().with_correlation_id(id.expect("the ID is valid"));
    Box::new(move |calls| context.sync_scope(|| work(calls)))
}

fn six_layers() -> Case {
    Case::new("six_layers", six_layers::ready())
}

fn six_layers_recorded() -> Case {
    let work = || Ok(six_layers::ready());
    recorded::case("six_layers_recorded", "six_layers", work).expect("settings are valid")
}

fn six_layers_yields() -> Case {
    Case::new("six_layers_yields", six_layers::yields())
}

fn six_layers_client() -> Case {
    Case::new("six_layers_client", within_context(six_layers::client()))
}
