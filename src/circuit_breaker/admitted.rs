//! What a circuit keeps of a call that it let through.

use std::time::Duration;

use super::circuit::Circuit;
use crate::Verdict;
use crate::hold::{Keeper, Pack};
use crate::listeners::Listeners;
use crate::meter::{Handles, Meter};
use crate::observe::EventKind;
use crate::policy::breaker::Ticket;
use crate::runtime::Moment;
use crate::tells::{Tells, show_newest};
use crate::time::Time;
use crate::track::CANCELLED;

/// Under which ticket a call was let through, and what is known of its time.
#[derive(Debug, Clone, Copy)]
pub struct Admitted {
    pub(super) ticket: Ticket,
    pub(super) time: Time,
}

impl Pack for Admitted {
    fn pack(self) -> [u64; 3] {
        let [epoch, serial] = self.ticket.to_words();
        [epoch, serial, self.time.to_bits()]
    }

    fn unpack([epoch, serial, time]: [u64; 3]) -> Self {
        Self {
            ticket: Ticket::from_words([epoch, serial]),
            time: Time::from_bits(time),
        }
    }
}

impl Tells for Circuit {
    #[inline]
    fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    fn show(&self, handles: &Handles) {
        show_newest(|| self.state(), |state| handles.state(state));
    }
}

impl Keeper for Circuit {
    type Call = Admitted;

    const HOLDS: bool = false;

    #[inline]
    fn meter(&self, call: &Admitted, _: u64) -> Meter {
        self.meter_of(call.ticket.epoch())
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn settle(&self, call: &Admitted, _: u64, verdict: Verdict) {
        self.finish(call, verdict, None);
    }

    #[inline]
    fn wait(&self, call: &mut Admitted) {
        call.time = call.time.waiting();
        if !call.time.is_known() && self.measures() {
            call.time = Time::since(Moment::now());
        }
    }

    fn head(&self, call: &mut Admitted) {
        call.time = call.time.at_head();
        if call.ticket.is_probe() {
            self.answered(call.ticket, call.time.ran());
        }
    }

    fn cancel(&self, call: &Admitted, _: u64) {
        self.finish(call, CANCELLED, Some(call.time.if_it_waited()));
    }

    fn ran(&self, call: &Admitted) -> Duration {
        call.time.ran()
    }

    #[inline]
    fn release(&self, _: &Admitted, _: u64) {}
}

impl Circuit {
    /// `counts_as` is the time that the circuit hears of; told is the true one.
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn finish(&self, call: &Admitted, verdict: Verdict, counts_as: Option<Time>) {
        let (mut time, mut now) = (call.time, None);
        if time.has_waited() {
            let (ran, moment) = time.ran_until_now();
            (time, now) = (Time::took(ran), Some(moment));
            if self.listeners.is_theirs(call.ticket.epoch()) {
                self.latencies.record(moment, ran, 1);
            }
        }
        self.record(call.ticket, verdict, counts_as.unwrap_or(time), now);
        Tells::tell(self, call.ticket.epoch(), || EventKind::Settled {
            outcome: verdict.outcome(),
            latency: time.has_waited().then(|| time.ran()),
            slow: self.is_slow(counts_as.unwrap_or(time)),
        });
    }
}
