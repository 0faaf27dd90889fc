//! Laps of callers, in turn, on a machine that is never quiet.
//!
//! In every round each pair has a lap with the layers and one without, right after each other, in alternating order. What disturbs a round
//! disturbs both, and the median over the rounds leaves out what disturbed only one.

use std::time::{Duration, Instant};

use mainstay::BoxError;

use crate::callers::Caller;
use crate::cases::Pair;
use crate::common::median;
use crate::lane::Lane;

/// Lets the callers call for so long.
pub(crate) type Laps = Box<dyn FnMut(Duration) -> Result<Lap, BoxError> + Send>;

/// How many calls became what.
#[derive(Clone, Copy, Default)]
struct Calls {
    served: u32,
    refused: u32,
}

/// What a lap came to.
#[derive(Clone, Copy)]
pub(crate) struct Lap {
    calls: Calls,
    took: Duration,
    /// For how long of it what is measured had a processor.
    busy: Duration,
}

impl Lap {
    /// Calls a second that were served.
    pub(crate) fn throughput(&self) -> f64 {
        f64::from(self.calls.served) / self.took.as_secs_f64()
    }

    /// Microseconds of a processor for each call that was served.
    pub(crate) fn cpu(&self) -> f64 {
        self.busy.as_secs_f64() * 1e6 / f64::from(self.calls.served)
    }

    /// The part of the time in which it was busy.
    pub(crate) fn load(&self) -> f64 {
        self.busy.as_secs_f64() / self.took.as_secs_f64()
    }
}

/// Where callers run, and the lane whose work is measured.
pub(crate) struct Side {
    callers: Lane,
    measured: Lane,
}

impl Side {
    pub(crate) fn new(callers: &Lane, measured: &Lane) -> Self {
        let (callers, measured) = (callers.clone(), measured.clone());
        Self { callers, measured }
    }

    pub(crate) fn laps<C: Caller>(&self, callers: Vec<C>) -> Laps {
        let (lane, measured) = (self.callers.clone(), self.measured.clone());
        let mut callers = Some(callers);
        Box::new(move |time| {
            let before = measured.busy()?;
            let calling = lap(callers.take().unwrap_or_default(), time);
            let (back, calls, took) = lane.run(calling)??;
            let busy = measured.busy()?.saturating_sub(before);
            callers = Some(back);
            if calls.served == 0 {
                return Err("no call was served".into());
            }
            Ok(Lap { calls, took, busy })
        })
    }
}

/// All callers at once, each of which begins no call after this time. Gives them back, with how many calls were made and how long it took.
async fn lap<C: Caller>(
    callers: Vec<C>,
    time: Duration,
) -> Result<(Vec<C>, Calls, Duration), BoxError> {
    let began = Instant::now();
    let tasks: Vec<_> = callers
        .into_iter()
        .map(|mut caller| {
            tokio::spawn(async move {
                let mut calls = Calls::default();
                while began.elapsed() < time {
                    if caller.call().await? {
                        calls.served += 1;
                    } else {
                        calls.refused += 1;
                    }
                }
                Ok::<_, BoxError>((caller, calls))
            })
        })
        .collect();
    let (mut back, mut total) = (Vec::new(), Calls::default());
    for task in tasks {
        let (caller, calls) = task.await??;
        back.push(caller);
        total.served += calls.served;
        total.refused += calls.refused;
    }
    Ok((back, total, began.elapsed()))
}

/// What a pair came to, in each round.
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    pub(crate) bare: Vec<Lap>,
    pub(crate) wrapped: Vec<Lap>,
}

impl Measured {
    /// What is left of the throughput with the layers, in each round.
    pub(crate) fn by_throughput(&self) -> Vec<f64> {
        self.ratios(|bare, wrapped| wrapped.throughput() / bare.throughput())
    }

    /// What would be left of it if nothing but the measured lane's processor were short.
    pub(crate) fn by_cpu(&self) -> Vec<f64> {
        self.ratios(|bare, wrapped| bare.cpu() / wrapped.cpu())
    }

    fn ratios(&self, ratio: impl Fn(&Lap, &Lap) -> f64) -> Vec<f64> {
        let pairs = self.bare.iter().zip(&self.wrapped);
        pairs.map(|(bare, wrapped)| ratio(bare, wrapped)).collect()
    }

    /// Both under the names they are known by.
    pub(crate) fn cases(&self) -> [(String, &[Lap]); 2] {
        let Self { name, .. } = self;
        [
            (format!("{name}_bare"), &self.bare),
            (format!("{name}_wrapped"), &self.wrapped),
        ]
    }
}

/// The middle one of what the laps came to.
pub(crate) fn middle(laps: &[Lap], of: impl Fn(&Lap) -> f64) -> f64 {
    let values: Vec<_> = laps.iter().map(of).collect();
    median(&values)
}

/// The part of all calls that were refused: a median would know nothing of what happens in few laps.
pub(crate) fn refused(laps: &[Lap]) -> f64 {
    let sum = |of: fn(&Calls) -> u32| {
        laps.iter()
            .map(|lap| f64::from(of(&lap.calls)))
            .sum::<f64>()
    };
    let (served, refused) = (sum(|calls| calls.served), sum(|calls| calls.refused));
    refused / (served + refused)
}

/// Measures all pairs in so many rounds, after one that does not count.
pub(crate) fn run(
    mut pairs: Vec<Pair>,
    rounds: usize,
    time: Duration,
) -> Result<Vec<Measured>, BoxError> {
    let mut measured: Vec<_> = pairs
        .iter()
        .map(|pair| Measured {
            name: pair.name,
            bare: Vec::new(),
            wrapped: Vec::new(),
        })
        .collect();
    for round in 0..=rounds {
        for (pair, measured) in pairs.iter_mut().zip(&mut measured) {
            let Pair {
                name,
                bare,
                wrapped,
            } = pair;
            let (bare, wrapped) = if round % 2 == 0 {
                let wrapped = wrapped(time);
                (bare(time), wrapped)
            } else {
                (bare(time), wrapped(time))
            };
            let failed = |error| BoxError::from(format!("{name}: {error}"));
            let (bare, wrapped) = (bare.map_err(failed)?, wrapped.map_err(failed)?);
            if round > 0 {
                measured.bare.push(bare);
                measured.wrapped.push(wrapped);
            }
        }
    }
    Ok(measured)
}
