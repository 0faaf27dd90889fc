//! How a circuit admits and settles calls.

use std::time::Duration;

use super::circuit::Circuit;
use crate::call::admit::{Admit, Refusal};
use crate::call::call_time::CallTime;
use crate::call::entry::Entry;
use crate::call::ticket::Ticket;
use crate::layers::handle::Adjust;
use crate::observe::emit::Emit;
use crate::observe::emitter::Emitter;
use crate::observe::event::EventKind;
use crate::observe::meter::Handles;
use crate::policy::breaker::{self, Config, Decision};
use crate::vocabulary::outcome::CANCELLED;
use crate::vocabulary::{outcome::Verdict, reason::Reason};

impl Ticket {
    /// The ticket of the state machine, and the time of the call.
    #[inline]
    fn of(ticket: breaker::Ticket, time: CallTime) -> Self {
        let [number, serial] = ticket.to_words();
        Self {
            number,
            serial,
            time,
        }
    }

    #[inline]
    fn of_breaker(&self) -> breaker::Ticket {
        breaker::Ticket::from_words([self.number, self.serial])
    }
}

impl Emit for Circuit {
    #[inline]
    fn emitter(&self) -> &Emitter {
        &self.emitter
    }

    fn set_gauges(&self, handles: &Handles) {
        self.count_in_gauges(handles);
    }
}

impl Admit for Circuit {
    const HOLDS_PERMIT: bool = false;

    #[inline]
    fn refuses(&self) -> Option<Reason> {
        self.rejects().then_some(Reason::CircuitOpen)
    }

    #[inline]
    fn admit(&self, entry: &mut Entry) -> Result<Ticket, Refusal> {
        let ticket = match self.try_admit() {
            Some(ticket) => ticket,
            None => self.decide_and_report()?,
        };
        let time = if self.is_on() {
            CallTime::begun(entry.now())
        } else {
            CallTime::UNKNOWN
        };
        Ok(Ticket::of(ticket, time))
    }

    fn retry_after(&self) -> Option<Duration> {
        self.time_left_if_open()
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn settle(&self, ticket: &Ticket, verdict: Verdict) {
        self.finish(ticket, verdict, None);
    }

    #[inline]
    fn wait(&self, ticket: &mut Ticket) {
        ticket.time = ticket.time.waiting();
    }

    fn head(&self, ticket: &mut Ticket) {
        ticket.time = ticket.time.at_head();
        let of_breaker = ticket.of_breaker();
        if of_breaker.is_probe() {
            self.record_head(of_breaker, ticket.time.ran());
        }
    }

    fn cancel(&self, ticket: &Ticket) {
        self.finish(ticket, CANCELLED, Some(ticket.time.if_it_waited()));
    }

    #[inline]
    fn release(&self, _: &Ticket) {}
}

impl Adjust for Circuit {
    type Settings = Config;

    fn settings(&self) -> Config {
        self.config()
    }

    fn in_force(settings: Config) -> Config {
        settings.in_force()
    }

    fn put(&self, before: &Config, new: &Config) -> bool {
        self.adjust(before, new)
    }
}

impl Circuit {
    /// Decides under the lock, and reports the calls that only shadow mode admits.
    #[cold]
    fn decide_and_report(&self) -> Result<breaker::Ticket, Refusal> {
        match self.decide() {
            Decision::Admit(ticket) => {
                if ticket.would_reject() {
                    self.would_reject(Reason::CircuitOpen, self.open_time_left());
                }
                Ok(ticket)
            }
            Decision::Reject { retry_after } => Err(Refusal {
                reason: Reason::CircuitOpen,
                retry_after,
            }),
        }
    }

    /// Settles a call. `counts_as` is its time for the circuit, if that is not the real one.
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn finish(&self, ticket: &Ticket, verdict: Verdict, counts_as: Option<CallTime>) {
        let (mut time, mut now) = (ticket.time, None);
        let mut real_time = time;
        if time.has_waited() {
            let (ran, moment) = time.ran_until_now();
            (time, now) = (time.took(ran), Some(moment));
            real_time = time;
            self.latencies.record(moment, ran, 1);
        } else if self.times_all() {
            let (ran, moment) = time.ran_until_now();
            (real_time, now) = (time.took(ran), Some(moment));
        }
        let counts_as = counts_as.unwrap_or(real_time);
        self.record(ticket.of_breaker(), verdict, counts_as, now);
        Emit::emit(self, || EventKind::Settled {
            outcome: verdict.outcome(),
            latency: time.has_waited().then(|| time.ran()),
            slow: self.is_slow(counts_as),
        });
    }
}
