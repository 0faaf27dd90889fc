//! Slow start of a limit by latency, as in TCP (RFC 5681): it doubles until there is trouble.
//!
//! The effect of a doubling shows late, because the first calls to end after it were in flight
//! before, or are the fastest. So slow start uses rounds, as `HyStart++` does (RFC 9406), in which
//! each permit is used a few times. The first round after a doubling lets latencies settle; the
//! second decides on the next doubling. Trouble ends slow start at any time.

use std::time::Duration;

use super::samples::{Sample, mean};

/// The uses of each permit in a round. A mean over fewer calls varies too much.
const USES: u64 = 3;

#[derive(Debug, Clone)]
pub(super) struct SlowStart {
    over: bool,
    /// The limit has just changed: this round decides nothing.
    settling: bool,
    round: Round,
}

/// The sum of windows in which the limit was used.
#[derive(Debug, Clone, Default)]
struct Round {
    calls: u64,
    /// Nanoseconds.
    sum: u128,
    /// The most calls in flight at once.
    in_flight: u32,
}

impl Round {
    /// The mean latency, once each permit was used `uses` times.
    fn after(&self, uses: u64) -> Option<Duration> {
        if self.calls < uses * u64::from(self.in_flight) {
            return None;
        }
        mean(self.sum, self.calls)
    }
}

impl SlowStart {
    pub(super) fn new() -> Self {
        Self {
            over: false,
            settling: true,
            round: Round::default(),
        }
    }

    pub(super) const fn is_over(&self) -> bool {
        self.over
    }

    pub(super) const fn end(&mut self) {
        self.over = true;
    }

    /// Adds a window in which the limit was used.
    pub(super) fn add(&mut self, sample: &Sample) {
        let round = &mut self.round;
        round.in_flight = round.in_flight.max(sample.in_flight);
        if let Some(rtt) = sample.rtt {
            let time = rtt.as_nanos().saturating_mul(u128::from(sample.timed));
            round.sum = round.sum.saturating_add(time);
            round.calls = round.calls.saturating_add(sample.timed);
        }
    }

    /// The mean latency of the round so far, which is enough to detect trouble.
    pub(super) fn so_far(&self) -> Option<Duration> {
        self.round.after(1)
    }

    /// The mean latency and the most calls in flight of a round that has just ended, unless it was
    /// a settling one.
    pub(super) fn ended(&mut self) -> Option<(Duration, u32)> {
        let mean = self.round.after(USES)?;
        let round = std::mem::take(&mut self.round);
        let decides = !self.settling;
        self.settling = false;
        decides.then_some((mean, round.in_flight))
    }

    /// The limit after a round without trouble: twice the calls in flight, and no lower than
    /// before.
    pub(super) fn doubled(&mut self, limit: u32, in_flight: u32, max: u32) -> u32 {
        let doubled = in_flight.min(limit).saturating_mul(2).min(max);
        self.settling = doubled > limit;
        doubled.max(limit)
    }
}
