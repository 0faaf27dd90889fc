//! The probes of a half-open breaker. Each holds one of a few permits. A probe that hangs, or whose
//! outcome is ignored, must give its permit back, or the breaker would reject calls for ever.

use std::{collections::BTreeMap, time::Duration};

use super::rules::{Evaluation, Rules};
use crate::policy::window::Counts;

#[derive(Debug, Clone, Default)]
pub(super) struct Probes {
    /// By serial number, and so by expiry.
    in_flight: BTreeMap<u64, Probe>,
    next_serial: u64,
    /// The probes that settled or expired.
    settled: Counts,
    consecutive_failures: u64,
}

#[derive(Debug, Clone, Copy)]
struct Probe {
    expires: Duration,
    /// Whether its response head was slow; `None` before a successful head.
    answered: Option<bool>,
}

impl Probes {
    /// The serial number of a new probe; `None` if probes in flight or settled use all permits.
    pub(super) fn admit(&mut self, permits: u64, expires: Duration) -> Option<u64> {
        let used = self
            .settled
            .calls
            .saturating_add(self.in_flight.len() as u64);
        if used >= permits {
            return None;
        }
        let serial = self.next_serial;
        self.next_serial = serial.saturating_add(1);
        let answered = None;
        self.in_flight.insert(serial, Probe { expires, answered });
        Some(serial)
    }

    /// Releases a probe's permit; false if the probe expired before.
    pub(super) fn release(&mut self, serial: u64) -> bool {
        self.in_flight.remove(&serial).is_some()
    }

    /// The response head was successful. Its body may end after the probe expires.
    pub(super) fn answered(&mut self, serial: u64, slow: bool) {
        if let Some(probe) = self.in_flight.get_mut(&serial) {
            probe.answered = Some(slow);
        }
    }

    pub(super) fn settle(&mut self, failed: bool, slow: bool) {
        self.settled.add(Counts::of(failed, slow));
        self.consecutive_failures = if failed {
            self.consecutive_failures.saturating_add(1)
        } else {
            0
        };
    }

    /// Settles expired probes one by one, until that decides. A probe with a successful head is a
    /// success, because a stream may last for any time; any other is a failure.
    pub(super) fn expire(
        &mut self,
        now: Duration,
        life: Duration,
        rules: &Rules,
        permits: u64,
    ) -> Evaluation {
        while let Some(oldest) = self.in_flight.first_entry() {
            if now < oldest.get().expires {
                break;
            }
            match oldest.remove().answered {
                Some(slow) => self.settle(false, slow),
                None => self.settle(true, rules.is_slow(life)),
            }
            let evaluation = self.evaluate(rules, permits);
            if evaluation != Evaluation::Undecided {
                return evaluation;
            }
        }
        Evaluation::Undecided
    }

    pub(super) fn evaluate(&self, rules: &Rules, permits: u64) -> Evaluation {
        rules.evaluate(&self.settled, self.consecutive_failures, permits)
    }

    pub(super) const fn settled(&self) -> Counts {
        self.settled
    }

    pub(super) const fn consecutive_failures(&self) -> u64 {
        self.consecutive_failures
    }

    pub(super) fn in_flight(&self, now: Duration) -> u64 {
        self.in_flight
            .values()
            .filter(|probe| now < probe.expires)
            .count() as u64
    }
}
