//! How the outcomes and latencies of calls reach the limit.

use std::sync::atomic::Ordering;

use super::load::{CALL, Load};
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
        // The limit of one key is not that of the others.
        if self.emitter.shares_metrics()
            && (self.is_by_latency() || self.emitter.has_own_settings())
        {
            return;
        }
        set_newest(|| self.limit(), |limit| handles.limit(limited(limit)));
    }
}

impl Admit for Load {
    const YIELDS_FIRST: bool = true;

    #[inline]
    fn refuses(&self) -> Option<Reason> {
        self.rejects().then_some(Reason::Shed)
    }

    #[inline]
    fn admit(&self, entry: &mut Entry) -> Result<Ticket, Refusal> {
        let sample = match self.try_admit() {
            Some(sample) => sample,
            None => self.admit_over_limit().ok_or(Reason::Shed)?,
        };
        if sample.is_taken() {
            self.watch_lag(entry.now());
        }
        // Read the clock only if the time is used.
        let time = if sample.is_taken() || self.is_by_latency() || self.emitter.has_sinks() {
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
            self.record_class(context::priority());
            self.record_shed();
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

    fn cancel(&self, ticket: &Ticket) {
        self.finish(ticket, CANCELLED, ticket.time.if_it_waited());
    }

    fn leaves_at_head(&self) -> bool {
        self.start_streaming()
    }

    fn stream_ended(&self) {
        self.stop_streaming();
    }

    #[inline]
    fn release(&self, _: &Ticket) {
        self.word.fetch_sub(CALL, Ordering::Release);
    }

    #[cold]
    fn release_as(&self, ticket: &Ticket, outcome: Outcome) {
        self.tally.record_end(outcome, || self.release(ticket));
    }
}

impl Load {
    /// Settles a call. `counts_as` is its time for the limit. Latencies and events use the real
    /// one.
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn finish(&self, ticket: &Ticket, verdict: Verdict, counts_as: CallTime) {
        let (time, sample) = (ticket.time, Sample::from_bits(ticket.number as u8));
        let reports = sample.is_taken()
            || verdict.is_overload()
            || verdict.outcome() == Outcome::Cancelled
            || self.is_long(time);
        if reports {
            self.report(sample, time, verdict, counts_as);
        }
        self.emit(|| EventKind::Settled {
            outcome: verdict.outcome(),
            latency: time.has_waited().then(|| time.ran()),
            slow: false,
        });
    }

    /// Whether a call took so long that it is evidence for an adaptive limit.
    #[inline]
    fn is_long(&self, time: CallTime) -> bool {
        time.has_waited() && self.is_by_latency() && time.ran() >= FLOOR
    }

    /// Records the latency of a sample, or a drop.
    #[cold]
    fn report(&self, sample: Sample, time: CallTime, verdict: Verdict, counts_as: CallTime) {
        let outcome = verdict.outcome();
        let (ran, now) = time.ran_until_now();
        self.classes.forget(now);
        let latency = counts_as.is_known().then_some(ran);
        if sample.is_taken() && time.has_waited() {
            self.latencies.record(now, ran, sample.weight());
        }
        if !self.is_by_latency() {
            if sample.is_taken() {
                self.try_adapt_sampling(now);
            }
            return;
        }
        let is_failure = match (outcome, latency) {
            (Outcome::Cancelled, Some(ran)) => self.with_evidence(now, |evidence, now| {
                evidence.is_failure(now, context::answerable(ran), context::own_limit())
            }),
            (Outcome::Success, Some(ran)) if ran >= FLOOR => {
                self.with_evidence(now, |evidence, now| {
                    evidence.record_success(now, context::answerable(ran));
                    false
                })
            }
            _ => false,
        };
        let changed = match latency {
            _ if verdict.is_overload() || is_failure => self.record_drop(now),
            Some(latency) if sample.is_taken() && outcome == Outcome::Success => {
                self.record_sample(sample, now, latency)
            }
            _ => None,
        };
        if let Some(changed) = changed {
            self.emit_change(changed);
        }
    }
}
