//! What a call in flight tells the limit when its outcome is known.

use super::load::Load;
use crate::call::admit::{Admit, Refusal};
use crate::call::call_time::CallTime;
use crate::call::entry::Entry;
use crate::call::ticket::Ticket;
use crate::observe::emit::{Emit, set_newest};
use crate::observe::emitter::Emitter;
use crate::observe::event::EventKind;
use crate::observe::meter::Handles;
use crate::observe::snapshot::limited;
use crate::policy::evidence::FLOOR;
use crate::policy::sampling::Sample;
use crate::vocabulary::context;
use crate::vocabulary::outcome::CANCELLED;
use crate::vocabulary::{
    outcome::{Outcome, Verdict},
    reason::Reason,
};

impl Emit for Load {
    #[inline]
    fn emitter(&self) -> &Emitter {
        &self.emitter
    }

    fn set_gauges(&self, handles: &Handles) {
        set_newest(|| self.limit(), |limit| handles.limit(limited(limit)));
    }
}

impl Admit for Load {
    const YIELDS_FIRST: bool = true;

    #[inline]
    fn refuses(&self) -> Option<Reason> {
        self.is_full().then_some(Reason::Shed)
    }

    #[inline]
    fn admit(&self, entry: &mut Entry) -> Result<Ticket, Refusal> {
        let sample = self.try_admit().ok_or(Reason::Shed)?;
        if sample.is_taken() {
            self.watch_lag(entry.now());
        }
        // Not for a call whose time nobody wants.
        let time = if sample.is_taken() || self.moves() || self.emitter.has_sinks() {
            CallTime::begun(entry.now())
        } else {
            CallTime::UNKNOWN
        };
        Ok(Ticket {
            number: sample.to_bits().into(),
            serial: 0,
            time,
        })
    }

    #[inline]
    fn refused(&self, reason: Reason) {
        if reason == Reason::Shed {
            self.shed();
        }
    }

    #[inline]
    fn yields_first(&self) -> bool {
        self.has_lag_limit()
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn settle(&self, ticket: &Ticket, verdict: Verdict) {
        self.finish(ticket, verdict, ticket.time);
    }

    #[inline]
    fn wait(&self, ticket: &mut Ticket) {
        ticket.time = ticket.time.waiting();
    }

    fn head(&self, ticket: &mut Ticket) {
        ticket.time = ticket.time.at_head();
    }

    fn ended(&self, outcome: Outcome) {
        self.tally.record(outcome);
    }

    fn cancel(&self, ticket: &Ticket) {
        self.finish(ticket, CANCELLED, ticket.time.if_it_waited());
    }

    fn leaves_at_head(&self) -> bool {
        self.streams()
    }

    fn stream_ended(&self) {
        self.stream_is_over();
    }

    #[inline]
    fn release(&self, _: &Ticket) {
        self.give_back();
    }
}

impl Load {
    /// `counts_as` is the time that the limit hears of; told is the true one.
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn finish(&self, ticket: &Ticket, verdict: Verdict, counts_as: CallTime) {
        let (time, sample) = (ticket.time, Sample::from_bits(ticket.number as u8));
        let tells = sample.is_taken()
            || verdict.is_overload()
            || verdict.outcome() == Outcome::Cancelled
            || self.is_long(time);
        if tells {
            self.report(sample, time, verdict, counts_as);
        }
        self.emit(|| EventKind::Settled {
            outcome: verdict.outcome(),
            latency: time.has_waited().then(|| time.ran()),
            slow: false,
        });
    }

    /// Whether it took so long that a limit which adapts has to know.
    #[inline]
    fn is_long(&self, time: CallTime) -> bool {
        time.has_waited() && self.moves() && time.ran() >= FLOOR
    }

    /// The latency of a sample is taken, or a drop is noted.
    #[cold]
    fn report(&self, sample: Sample, time: CallTime, verdict: Verdict, counts_as: CallTime) {
        let outcome = verdict.outcome();
        let (ran, now) = time.ran_until_now();
        let latency = counts_as.is_known().then_some(ran);
        if sample.is_taken() && time.has_waited() {
            self.latencies.record(now, ran, sample.weight());
        }
        if !self.moves() {
            if sample.is_taken() {
                self.think_over_sampling(now);
            }
            return;
        }
        let is_failure = match (outcome, latency) {
            (Outcome::Cancelled, Some(ran)) => self.evidence(now, |evidence, now| {
                evidence.is_failure(now, context::answerable(ran), context::own_limit())
            }),
            (Outcome::Success, Some(ran)) if ran >= FLOOR => self.evidence(now, |evidence, now| {
                evidence.record_success(now, context::answerable(ran));
                false
            }),
            _ => false,
        };
        let moved = match latency {
            _ if verdict.is_overload() || is_failure => self.dropped(now),
            Some(latency) if sample.is_taken() && outcome == Outcome::Success => {
                self.sample(sample, now, latency)
            }
            _ => None,
        };
        if let Some((from, to)) = moved {
            self.tell_change((from, to));
        }
    }
}
