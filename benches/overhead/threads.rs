//! Two threads, each with a clone of one service: do they get more done than one?
//!
//! Each thread stays on a core of its own, and they begin together and run for the same time. Without that, two threads
//! that happen to take turns always look twice as fast.

use std::sync::Barrier;
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use core_affinity::CoreId;
use mainstay::bulkhead::Bulkhead;
use mainstay::{BulkheadLayer, CircuitBreakerLayer};
use tokio::runtime::Handle;
use tower::limit::ConcurrencyLimit;
use tower::{Layer, Service};
use tower_resilience_circuitbreaker::CircuitBreakerLayer as PeerLayer;

use crate::cases::{WINDOW, count_breaker};
use crate::common::median;
use crate::peers;
use crate::services::{Expect, Message, Ready, Work, calls};
use crate::six_layers::{self, MAX_IN_FLIGHT};

/// How long the threads run at a time.
const LAP: Duration = Duration::from_millis(4);
const SMOKE_LAP: Duration = Duration::from_micros(100);
/// Calls between two looks at the clock.
const BATCH: u64 = 200;

/// What two threads did together, over what one of them did.
pub(crate) struct Scaled {
    pub(crate) name: &'static str,
    /// One ratio for each round.
    pub(crate) rounds: Vec<f64>,
}

impl Scaled {
    pub(crate) fn ratio(&self) -> f64 {
        median(&self.rounds)
    }
}

struct Contest {
    name: &'static str,
    enter: Box<dyn Fn() -> Work>,
    rounds: Vec<f64>,
}

impl Contest {
    fn new<S, Req>(name: &'static str, service: S, request: Req) -> Self
    where
        S: Service<Req> + Clone + Send + 'static,
        Req: Clone + Send + 'static,
    {
        Self {
            name,
            enter: Box::new(move || calls(service.clone(), request.clone(), Expect::Answers)),
            rounds: Vec::new(),
        }
    }
}

fn contests() -> Vec<Contest> {
    let peer = PeerLayer::builder()
        .sliding_window_size(WINDOW as usize)
        .build()
        .expect("settings are valid");
    vec![
        Contest::new("bare_two_threads/one", Ready, 1),
        Contest::new("breaker_two_threads/one", count_breaker(Ready), 1),
        Contest::new(
            "breaker_default_two_threads/one",
            CircuitBreakerLayer::new().layer(Ready),
            1,
        ),
        Contest::new("tower_resilience_two_threads/one", peer.layer(Ready), 1),
        Contest::new(
            "six_layers_two_threads/one",
            six_layers::service(),
            Message::WITH_ID,
        ),
        Contest::new(
            "tower_three_two_threads/one",
            peers::three(),
            Message::WITH_ID,
        ),
        Contest::new("bulkhead_two_threads/one", bulkhead(), 1),
        Contest::new("tower_limit_two_threads/one", tower_limit(), 1),
        Contest::new(
            "bulkhead_cloned_two_threads/one",
            CloneACall::of(bulkhead()),
            1,
        ),
        Contest::new(
            "tower_limit_cloned_two_threads/one",
            CloneACall::of(tower_limit()),
            1,
        ),
        Contest::new(
            "six_layers_cloned_two_threads/one",
            CloneACall::of(six_layers::service()),
            Message::WITH_ID,
        ),
        Contest::new(
            "tower_three_cloned_two_threads/one",
            CloneACall::of(peers::three()),
            Message::WITH_ID,
        ),
    ]
}

fn bulkhead() -> Bulkhead<Ready> {
    BulkheadLayer::new(MAX_IN_FLIGHT).layer(Ready)
}

fn tower_limit() -> ConcurrencyLimit<Ready> {
    ConcurrencyLimit::new(Ready, MAX_IN_FLIGHT as usize)
}

/// Clones the service for each call, as servers do.
#[derive(Clone)]
struct CloneACall<S> {
    service: S,
    clone: S,
}

impl<S: Clone> CloneACall<S> {
    fn of(service: S) -> Self {
        let clone = service.clone();
        Self { service, clone }
    }
}

impl<S: Service<Req> + Clone, Req> Service<Req> for CloneACall<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.clone = self.service.clone();
        self.clone.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> S::Future {
        self.clone.call(request)
    }
}

/// Runs all contests in so many rounds; nothing where there are not two cores.
pub(crate) fn run(rounds: usize, smoke: bool, runtime: &Handle) -> Vec<Scaled> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let Some(&[first, second]) = cores.first_chunk::<2>() else {
        return Vec::new();
    };
    let lap = if smoke { SMOKE_LAP } else { LAP };
    let mut contests = contests();
    for round in 0..rounds {
        for Contest { enter, rounds, .. } in &mut contests {
            let alone = if round % 2 == 0 { first } else { second };
            let one = rate(vec![(alone, enter())], lap, runtime);
            let two = rate(vec![(first, enter()), (second, enter())], lap, runtime);
            rounds.push(two / one);
        }
    }
    contests
        .into_iter()
        .map(|Contest { name, rounds, .. }| Scaled { name, rounds })
        .collect()
}

/// Calls a nanosecond of all threads together.
fn rate(works: Vec<(CoreId, Work)>, lap: Duration, runtime: &Handle) -> f64 {
    let start = Barrier::new(works.len());
    thread::scope(|scope| {
        let threads: Vec<_> = works
            .into_iter()
            .map(|(core, mut work)| {
                let start = &start;
                scope.spawn(move || {
                    core_affinity::set_for_current(core);
                    let _entered = runtime.enter();
                    work(BATCH);
                    start.wait();
                    let (began, mut done) = (Instant::now(), 0);
                    while began.elapsed() < lap {
                        work(BATCH);
                        done += BATCH;
                    }
                    done as f64 / began.elapsed().as_nanos() as f64
                })
            })
            .collect();
        let rates = threads.into_iter().map(|thread| thread.join());
        rates.map(|rate| rate.expect("no call fails")).sum()
    })
}
