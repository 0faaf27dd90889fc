//! Whether a cancelled call is evidence against the service.
//!
//! The caller dropped the call, or a deadline of the caller's passed. That alone says nothing about
//! the service; the time that the call ran without an answer does. So a service that hangs is found
//! even if every caller gives up before the program's own limits, and a caller with a very short
//! deadline proves nothing (gRPC proposal A50 makes the same distinction).

use std::time::Duration;

use super::breaker::OnCancel;
use super::buckets::Buckets;

/// By default, a shorter call is never evidence.
pub(crate) const FLOOR: Duration = Duration::from_secs(1);
/// A call has reached a time limit once it ran for all but a tenth of it, because the call's own
/// time begins a little later.
const SHARE: u32 = 10;

/// Decides which cancelled calls are failures.
#[derive(Debug, Clone)]
pub(crate) struct Evidence {
    rule: OnCancel,
    slow_after: Option<Duration>,
    slowest: SlowestSuccess,
}

impl Evidence {
    pub(crate) fn new(rule: OnCancel, slow_after: Option<Duration>, now: Duration) -> Self {
        Self {
            rule,
            slow_after,
            slowest: SlowestSuccess::new(now),
        }
    }

    /// Changes the rules. The recorded successes stay.
    pub(crate) fn adjust(&mut self, rule: OnCancel, slow_after: Option<Duration>) {
        (self.rule, self.slow_after) = (rule, slow_after);
    }

    /// Records a success after `ran`. Calls shorter than [`FLOOR`] need not be recorded.
    pub(crate) fn record_success(&mut self, now: Duration, ran: Duration) {
        self.slowest.record(now, ran);
    }

    #[cfg(test)]
    fn pause(&mut self, time: Duration) {
        self.slowest.pause(time);
    }

    /// Whether a call that ran for `ran` without an answer is a failure. `limit` is the length of
    /// the program's own time limit that would end the call first.
    pub(crate) fn is_failure(
        &mut self,
        now: Duration,
        ran: Duration,
        limit: Option<Duration>,
    ) -> bool {
        let rules = (self.rule, self.slow_after);
        self.slowest.is_failure(rules, now, ran, limit)
    }
}

/// The time of the slowest success of the last minute, in buckets of ten seconds. A success between
/// 60 and 70 seconds old may still count.
#[derive(Debug, Clone)]
pub(crate) struct SlowestSuccess {
    buckets: Buckets<Duration>,
    paused: Duration,
}

const BUCKETS: u32 = 7;
const WIDTH: Duration = Duration::from_secs(10);

impl SlowestSuccess {
    pub(crate) fn new(now: Duration) -> Self {
        Self {
            buckets: Buckets::new(WIDTH * BUCKETS, BUCKETS, now),
            paused: Duration::ZERO,
        }
    }

    /// No call was admitted for `time`: recorded successes do not age by it.
    pub(crate) fn pause(&mut self, time: Duration) {
        self.paused = self.paused.saturating_add(time);
    }

    fn roll(&mut self, now: Duration) {
        self.buckets.roll(now.saturating_sub(self.paused), drop);
    }

    pub(crate) fn record(&mut self, now: Duration, ran: Duration) {
        self.roll(now);
        let current = self.buckets.current();
        if let Some(slowest) = self.buckets.get_mut(current) {
            *slowest = ran.max(*slowest);
        }
    }

    /// [`Evidence::is_failure`], with the rule and the threshold for slow calls.
    pub(crate) fn is_failure(
        &mut self,
        (rule, slow_after): (OnCancel, Option<Duration>),
        now: Duration,
        ran: Duration,
        limit: Option<Duration>,
    ) -> bool {
        if limit.is_some_and(|limit| ran >= limit - limit / SHARE) {
            return rule != OnCancel::Ignore;
        }
        match (rule, slow_after) {
            (OnCancel::Ignore, _) => false,
            (OnCancel::FailureAfter(after), slow) => {
                ran >= after || slow.is_some_and(|slow| ran > slow)
            }
            (OnCancel::FailureIfSlow, Some(slow)) => ran > slow,
            (OnCancel::FailureIfSlow, None) => ran >= FLOOR && ran > self.get(now),
        }
    }

    fn get(&mut self, now: Duration) -> Duration {
        self.roll(now);
        let newest = self.buckets.current();
        let numbers = (0..u64::from(BUCKETS)).filter_map(|age| newest.checked_sub(age));
        let all = numbers.filter_map(|number| self.buckets.get_mut(number).copied());
        all.max().unwrap_or_default()
    }
}

#[cfg(test)]
#[path = "evidence_tests.rs"]
mod tests;
