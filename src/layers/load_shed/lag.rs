//! How the scheduler's lag moves the limit.

use std::sync::atomic::Ordering;

use super::load::{Adaptation, Load};
use crate::observe::emit::Emit;
use crate::observe::event::EventKind;
use crate::observe::snapshot::{MOST_CALLS, limited};
use crate::policy::limit::Tick;
use crate::runtime::{self, Lag, LagSubscriber, Moment, Need};
use crate::vocabulary::reason::Reason;

impl Load {
    /// Whether an admitted call yields to the run queue first. While lag sets a limit, calls that
    /// wait for a worker must be in flight to be counted.
    #[inline]
    pub(super) fn has_lag_limit(&self) -> bool {
        self.limit() < MOST_CALLS && self.is_by_lag()
    }

    /// Subscribes to the lag of the current runtime.
    #[inline]
    pub(super) fn watch_lag(&self, now: Moment) {
        if self.is_by_lag()
            && let Some(weak_self) = self.weak_self.get()
        {
            runtime::subscribe_to_lag(weak_self, &self.subscribed, now);
        }
    }

    /// Changes the limit. Returns the old and the new limit if they differ.
    pub(super) fn change(
        &self,
        change: impl FnOnce(&mut Adaptation, u64) -> bool,
    ) -> Option<(u32, u32)> {
        let mut adaptation = self.lock();
        let word = self.word.load(Ordering::Relaxed);
        if !(self.is_by_lag() || self.is_by_latency()) {
            return None;
        }
        let from = adaptation.limit.limit().min(MOST_CALLS);
        if !change(&mut adaptation, word) {
            return None;
        }
        let to = adaptation.limit.limit().min(MOST_CALLS);
        self.limit.store(to, Ordering::Relaxed);
        (from != to).then_some((from, to))
    }

    pub(super) fn emit_change(&self, (from, to): (u32, u32)) {
        self.emit_and_log(|| EventKind::LimitChanged {
            from: limited(from),
            to: limited(to),
        });
    }
}

impl LagSubscriber for Load {
    fn lag(&self, lag: &Lag) -> Need {
        let changed = self.change(|adaptation, word| {
            let tick = Tick {
                runtime: lag.runtime,
                workers: lag.workers,
                lag: lag.lag,
                in_flight: self.active(word),
                admitted: self.admissions(adaptation, word),
                shed: self.emitter.rejected(Reason::Shed)
                    + self.emitter.would_have_rejected(Reason::Shed),
            };
            let now = adaptation.timeline.at(lag.now);
            adaptation.limit.tick(now, &tick)
        });
        if let Some(changed) = changed {
            self.emit_change(changed);
        }
        if self.has_lag_limit() {
            Need::Always
        } else {
            Need::WhileCalled
        }
    }

    fn unsubscribed(&self, runtime: u64) {
        if let Some(changed) = self.change(|adaptation, _| adaptation.limit.forget(runtime)) {
            self.emit_change(changed);
        }
    }
}
