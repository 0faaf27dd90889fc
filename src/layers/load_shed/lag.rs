//! How the scheduler's lag moves the limit.

use std::sync::atomic::Ordering;

use super::load::{Load, Moving};
use crate::observe::emit::Emit;
use crate::observe::event::EventKind;
use crate::observe::snapshot::{MOST_CALLS, limited};
use crate::policy::limit::Tick;
use crate::runtime::{self, Lag, LagSubscriber, Moment, Need};
use crate::vocabulary::reason::Reason;

impl Load {
    /// Whether an admitted call takes a turn of the run queue first: while the scheduler's lag sets a limit, calls that wait for a worker
    /// must be in flight to be counted.
    #[inline]
    pub(super) fn has_lag_limit(&self) -> bool {
        self.limit() < MOST_CALLS && self.lags()
    }

    /// Looks after the lag of the runtime in which a sample is called.
    #[inline]
    pub(super) fn watch_lag(&self, now: Moment) {
        if self.lags() {
            runtime::subscribe_to_lag(&self.me, &self.subscribed, now);
        }
    }

    /// Moves the limit; what it was and is, if that made a difference.
    pub(super) fn change(
        &self,
        change: impl FnOnce(&mut Moving, u64) -> bool,
    ) -> Option<(u32, u32)> {
        let mut moving = self.lock();
        let word = self.word.load(Ordering::Relaxed);
        let from = moving.limit.limit().min(MOST_CALLS);
        if !change(&mut moving, word) {
            return None;
        }
        let to = moving.limit.limit().min(MOST_CALLS);
        self.limit.store(to, Ordering::Relaxed);
        (from != to).then_some((from, to))
    }

    pub(super) fn tell_change(&self, (from, to): (u32, u32)) {
        self.emit_and_log(|| EventKind::LimitChanged {
            from: limited(from),
            to: limited(to),
        });
    }
}

impl LagSubscriber for Load {
    fn lag(&self, lag: &Lag) -> Need {
        let changed = self.change(|moving, word| {
            let tick = Tick {
                runtime: lag.runtime,
                workers: lag.workers,
                lag: lag.lag,
                in_flight: self.working(word),
                admitted: self.admissions(moving, word),
                shed: self.emitter.rejected(Reason::Shed),
            };
            let now = moving.timeline.at(lag.now);
            moving.limit.tick(now, &tick)
        });
        if let Some(changed) = changed {
            self.tell_change(changed);
        }
        if self.limit() < MOST_CALLS {
            Need::Always
        } else {
            Need::WhileCalled
        }
    }

    fn unsubscribed(&self, runtime: u64) {
        if let Some(changed) = self.change(|moving, _| moving.limit.forget(runtime)) {
            self.tell_change(changed);
        }
    }
}
