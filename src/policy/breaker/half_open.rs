//! The probes of a half-open breaker. Each takes one of a few places; if one of them could keep its
//! place for ever, or an outcome that says nothing could, the breaker would reject for ever.

use std::{collections::BTreeMap, time::Duration};

use super::rules::{Rules, Verdict};
use crate::policy::window::Counts;

#[derive(Debug, Clone, Default)]
pub(super) struct Probes {
    /// By serial number. Serials and times rise together.
    in_flight: BTreeMap<u64, Probe>,
    next_serial: u64,
    /// The probes that reported, or had a failure recorded for them when their time was over.
    reported: Counts,
    consecutive_failures: u64,
}

#[derive(Debug, Clone, Copy)]
struct Probe {
    /// Until when it may report.
    until: Duration,
    /// Whether it was slow, once its response has begun well.
    answered: Option<bool>,
}

impl Probes {
    /// A place for a probe, unless all are taken by probes on their way or ones that have reported.
    pub(super) fn admit(&mut self, places: u64, until: Duration) -> Option<u64> {
        if self.taken() >= places {
            return None;
        }
        let serial = self.next_serial;
        self.next_serial = serial.saturating_add(1);
        let answered = None;
        self.in_flight.insert(serial, Probe { until, answered });
        Some(serial)
    }

    fn taken(&self) -> u64 {
        self.reported
            .calls
            .saturating_add(self.in_flight.len() as u64)
    }

    /// Gives a probe's place up. Whether it still had one: it has not after its time was over.
    pub(super) fn leave(&mut self, serial: u64) -> bool {
        self.in_flight.remove(&serial).is_some()
    }

    /// The response has begun well: its end may be later than the end of the probe's time.
    pub(super) fn answered(&mut self, serial: u64, slow: bool) {
        if let Some(probe) = self.in_flight.get_mut(&serial) {
            probe.answered = Some(slow);
        }
    }

    pub(super) fn report(&mut self, failed: bool, slow: bool) {
        self.reported.add(Counts::of(failed, slow));
        self.consecutive_failures = if failed {
            self.consecutive_failures.saturating_add(1)
        } else {
            0
        };
    }

    /// Reports for the probes whose time is over, one by one, until that decides: a failure, or a success where the response has begun
    /// well. A stream that has gone well for so long is well, and nobody knows when it will end.
    pub(super) fn expire(
        &mut self,
        now: Duration,
        life: Duration,
        rules: &Rules,
        places: u64,
    ) -> Verdict {
        while let Some(oldest) = self.in_flight.first_entry() {
            if now < oldest.get().until {
                break;
            }
            match oldest.remove().answered {
                Some(slow) => self.report(false, slow),
                None => self.report(true, rules.is_slow(life)),
            }
            let verdict = self.judge(rules, places);
            if verdict != Verdict::Unknown {
                return verdict;
            }
        }
        Verdict::Unknown
    }

    pub(super) fn judge(&self, rules: &Rules, places: u64) -> Verdict {
        rules.judge(&self.reported, self.consecutive_failures, places)
    }

    pub(super) const fn reported(&self) -> Counts {
        self.reported
    }

    pub(super) const fn consecutive_failures(&self) -> u64 {
        self.consecutive_failures
    }

    pub(super) fn in_flight(&self, now: Duration) -> u64 {
        self.in_flight
            .values()
            .filter(|probe| now < probe.until)
            .count() as u64
    }
}
