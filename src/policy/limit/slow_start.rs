//! How an adaptive limit begins: as TCP does (RFC 5681, slow start), by doubling until something goes wrong.
//!
//! What a doubling does shows late. The first calls to end after it are those that were under way before, and of the new ones the
//! quick ones. So a slow start goes by rounds, as `HyStart++` does (RFC 9406): in a round each place of the limit is used a few times.
//! The round after a change only settles things, and the next one is judged. A sign of trouble does not wait for the end of a round.

use std::time::Duration;

use super::samples::Sample;

/// How often each place of the limit is used in a round: a mean over fewer calls is too rough to be judged by.
const USES: u64 = 3;

/// The time in which nothing has gone wrong yet.
#[derive(Debug, Clone)]
pub(super) struct SlowStart {
    over: bool,
    /// The limit is new: this round settles things.
    settling: bool,
    round: Round,
}

/// Windows in which the limit was used.
#[derive(Debug, Clone, Default)]
struct Round {
    calls: u64,
    /// Nanoseconds.
    sum: u128,
    /// The most calls that were under way at once.
    in_flight: u32,
}

impl Round {
    /// The mean latency, once each place of the limit was used so often.
    fn after(&self, uses: u64) -> Option<Duration> {
        if self.calls < uses * u64::from(self.in_flight) {
            return None;
        }
        let mean = self.sum.checked_div(u128::from(self.calls))?;
        Some(u64::try_from(mean).map_or(Duration::MAX, Duration::from_nanos))
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

    /// Something went wrong.
    pub(super) const fn end(&mut self) {
        self.over = true;
    }

    /// Takes a window in which the limit was used.
    pub(super) fn add(&mut self, sample: &Sample) {
        let round = &mut self.round;
        round.in_flight = round.in_flight.max(sample.in_flight);
        if let Some(rtt) = sample.rtt {
            let time = rtt.as_nanos().saturating_mul(u128::from(sample.timed));
            round.sum = round.sum.saturating_add(time);
            round.calls = round.calls.saturating_add(sample.timed);
        }
    }

    /// The mean latency of the round so far: enough to see trouble, when it is too long.
    pub(super) fn so_far(&self) -> Option<Duration> {
        self.round.after(1)
    }

    /// A round that ended just now, and is to be judged: its mean latency, and its most calls at once.
    pub(super) fn ended(&mut self) -> Option<(Duration, u32)> {
        let mean = self.round.after(USES)?;
        let round = std::mem::take(&mut self.round);
        let judged = !self.settling;
        self.settling = false;
        judged.then_some((mean, round.in_flight))
    }

    /// The limit after a round without trouble: twice of what was used of it, which is no less than it was.
    pub(super) fn doubled(&mut self, limit: u32, in_flight: u32, max: u32) -> u32 {
        let doubled = in_flight.min(limit).saturating_mul(2).min(max);
        self.settling = doubled > limit;
        doubled.max(limit)
    }
}
