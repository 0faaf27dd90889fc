//! The growing share of calls that a recovering breaker admits. The share is exact, not random: the
//! remainder of each call is added to the share of the next one (error diffusion).

use std::time::Duration;

#[derive(Debug, Clone, Copy)]
pub(super) struct Ramp {
    since: Duration,
    steps: u32,
    over: Duration,
    /// In `steps + 1`ths of a call.
    remainder: u64,
}

impl Ramp {
    pub(super) const fn new(since: Duration, steps: u32, over: Duration) -> Self {
        Self {
            since,
            steps,
            over,
            // All but one part, so that the first call is admitted.
            remainder: steps as u64,
        }
    }

    pub(super) fn is_over(&self, now: Duration) -> bool {
        now.saturating_sub(self.since) >= self.over
    }

    pub(super) fn admit(&mut self, now: Duration) -> bool {
        let whole = u64::from(self.steps).saturating_add(1);
        let share = self.remainder.saturating_add(self.parts(now));
        let admitted = share >= whole;
        self.remainder = if admitted {
            share.saturating_sub(whole)
        } else {
            share
        };
        admitted
    }

    /// The share of calls to admit, in `steps + 1`ths: the number of the current step, from 1.
    fn parts(&self, now: Duration) -> u64 {
        let steps = u128::from(self.steps);
        let elapsed = now.saturating_sub(self.since).as_nanos();
        let past = elapsed.saturating_mul(steps) / self.over.as_nanos().max(1);
        u64::try_from(past.saturating_add(1).min(steps)).unwrap_or(u64::MAX)
    }
}
