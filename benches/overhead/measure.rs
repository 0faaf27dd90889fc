//! Times the cases on a machine that is never quiet.
//!
//! All cases are measured in every round, those that are compared right after each other, in alternating order. What
//! disturbs a round disturbs both, and the median over the rounds leaves out what disturbed only one.

use std::time::Duration;

use crate::cases::Case;
use crate::common::median;

/// How long a case runs at a time.
const SAMPLE: Duration = Duration::from_micros(400);
/// Calls over which allocations are counted, and the first ones, over which they are not: what a service allocates once is
/// not a cost of every call.
const COUNTED: u64 = 200;
const FIRST: u64 = 10;

/// What a case came to.
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    pub(crate) peers: Vec<&'static str>,
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
pub(crate) fn run(mut cases: Vec<Case>, rounds: usize, smoke: bool) -> Vec<Measured> {
    cases.retain_mut(|case| match case.work.prepare() {
        Ok(()) => true,
        Err(error) => {
            eprintln!("{} is not measured: {error}", case.name);
            false
        }
    });
    // All on one, and so are the processes that are started from here: another one may be busier, and slower.
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    if let Some(&core) = cores.last() {
        core_affinity::set_for_current(core);
    }
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
        let took = self.case.work.time(self.calls);
        self.rounds.push(took.as_nanos() as f64 / self.calls as f64);
    }

    /// Counts the allocations, apart from the timed runs.
    fn finish(mut self) -> Measured {
        let work = &mut self.case.work;
        work.count(FIRST);
        Measured {
            name: self.case.name,
            peers: self.case.peers,
            rounds: self.rounds,
            allocs: work.count(COUNTED) as f64 / COUNTED as f64,
        }
    }
}

/// Warms a case up, and finds how many calls fill a sample.
fn calibrate(case: &mut Case) -> u64 {
    let mut calls = 64;
    while calls < case.most {
        let took = case.work.time(calls);
        if took >= SAMPLE / 2 {
            let per_call = took.as_nanos() as u64 / calls;
            return SAMPLE.as_nanos() as u64 / per_call.max(1);
        }
        calls *= 2;
    }
    case.most
}

/// The ratio of two cases in each round.
pub(crate) fn paired<'a>(
    ours: &'a Measured,
    peer: &'a Measured,
) -> impl Iterator<Item = (f64, f64)> + 'a {
    ours.rounds.iter().copied().zip(peer.rounds.iter().copied())
}
