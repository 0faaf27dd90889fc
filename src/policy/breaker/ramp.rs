//! The growing share of calls that a recovering breaker lets through. Shares are exact, not drawn: what
//! one call leaves over of its share is added to the next one's (error diffusion).

use std::time::Duration;

#[derive(Debug, Clone, Copy)]
pub(super) struct Ramp {
    since: Duration,
    steps: u32,
    over: Duration,
    /// What earlier calls left over, in `steps + 1`ths of a call.
    left_over: u64,
}

impl Ramp {
    pub(super) const fn new(since: Duration, steps: u32, over: Duration) -> Self {
        Self {
            since,
            steps,
            over,
            // All but one part, so that the very first call is let through.
            left_over: steps as u64,
        }
    }

    pub(super) fn is_over(&self, now: Duration) -> bool {
        now.saturating_sub(self.since) >= self.over
    }

    pub(super) fn admit(&mut self, now: Duration) -> bool {
        let whole = u64::from(self.steps).saturating_add(1);
        let share = self.left_over.saturating_add(self.parts(now));
        let admitted = share >= whole;
        self.left_over = if admitted {
            share.saturating_sub(whole)
        } else {
            share
        };
        admitted
    }

    /// How many `steps + 1`ths of the calls are let through now: the number of the step, from 1.
    fn parts(&self, now: Duration) -> u64 {
        let steps = u128::from(self.steps);
        let elapsed = now.saturating_sub(self.since).as_nanos();
        let past = elapsed.saturating_mul(steps) / self.over.as_nanos().max(1);
        u64::try_from(past.saturating_add(1).min(steps)).unwrap_or(u64::MAX)
    }
}
