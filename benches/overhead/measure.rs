//! Times the cases on a machine that is never quiet.
//!
//! All cases are measured in every round, those that are compared right after each other, in alternating order. What
//! disturbs a round disturbs both, and the median over the rounds leaves out what disturbed only one.

use std::time::{Duration, Instant};

use crate::cases::Case;
use crate::common::median;
use crate::services::Work;

/// How long a case runs at a time.
const SAMPLE: Duration = Duration::from_micros(400);
/// A case runs so many times in a round, and the fastest counts.
const SAMPLES: usize = 2;
/// Calls over which allocations are counted, and the first ones, over which they are not: what a service allocates once is
/// not a cost of every call.
const COUNTED: u64 = 200;
const FIRST: u64 = 10;

/// What a case came to.
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    pub(crate) peer: Option<&'static str>,
    /// Nanoseconds a call, for each round.
    pub(crate) rounds: Vec<f64>,
    pub(crate) allocs: f64,
}

impl Measured {
    pub(crate) fn ns(&self) -> f64 {
        median(&self.rounds)
    }
}

/// Measures all cases in so many rounds.
pub(crate) fn run(cases: Vec<Case>, rounds: usize, smoke: bool) -> Vec<Measured> {
    let mut timed: Vec<_> = cases
        .into_iter()
        .map(|case| Timed::new(case, smoke))
        .collect();
    for round in 0..rounds {
        if round % 2 == 0 {
            timed.iter_mut().for_each(Timed::sample);
        } else {
            timed.iter_mut().rev().for_each(Timed::sample);
        }
    }
    timed.into_iter().map(Timed::finish).collect()
}

struct Timed {
    case: Case,
    /// Calls in a sample.
    calls: u64,
    rounds: Vec<f64>,
}

impl Timed {
    fn new(mut case: Case, smoke: bool) -> Self {
        let calls = if smoke { 20 } else { calibrate(&mut case) };
        Self {
            calls: calls.min(case.most),
            case,
            rounds: Vec::new(),
        }
    }

    fn sample(&mut self) {
        let times = (0..SAMPLES).map(|_| time(&mut self.case.work, self.calls));
        let fastest = times.min().unwrap_or_default();
        self.rounds
            .push(fastest.as_nanos() as f64 / self.calls as f64);
    }

    /// Counts the allocations, apart from the timed runs.
    fn finish(mut self) -> Measured {
        let work = &mut self.case.work;
        work(FIRST);
        let counted = allocation_counter::measure(|| work(COUNTED));
        Measured {
            name: self.case.name,
            peer: self.case.peer,
            rounds: self.rounds,
            allocs: counted.count_total as f64 / COUNTED as f64,
        }
    }
}

/// Warms a case up, and finds how many calls fill a sample.
fn calibrate(case: &mut Case) -> u64 {
    let mut calls = 64;
    while calls < case.most {
        let took = time(&mut case.work, calls);
        if took >= SAMPLE / 2 {
            let per_call = took.as_nanos() as u64 / calls;
            return SAMPLE.as_nanos() as u64 / per_call.max(1);
        }
        calls *= 2;
    }
    case.most
}

/// The counter of allocations looks away, so that it costs those who allocate as little as can be. It cannot be left out of
/// a program that also counts.
fn time(work: &mut Work, calls: u64) -> Duration {
    let mut took = Duration::ZERO;
    allocation_counter::opt_out(|| {
        let began = Instant::now();
        work(calls);
        took = began.elapsed();
    });
    took
}

/// The ratio of two cases in each round.
pub(crate) fn paired<'a>(
    ours: &'a Measured,
    peer: &'a Measured,
) -> impl Iterator<Item = (f64, f64)> + 'a {
    ours.rounds.iter().copied().zip(peer.rounds.iter().copied())
}
