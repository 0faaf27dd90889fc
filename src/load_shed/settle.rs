//! What a call in flight tells the limit when its outcome is known.

use std::time::Duration;

use super::admitted::Admitted;
use super::load::Load;
use crate::context;
use crate::hold::{Keeper, Pack};
use crate::listeners::Listeners;
use crate::meter::{Handles, Meter};
use crate::observe::EventKind;
use crate::policy::evidence::FLOOR;
use crate::runtime::Moment;
use crate::snapshot::limited;
use crate::tells::{Tells, show_newest};
use crate::time::Time;
use crate::track::CANCELLED;
use crate::{Outcome, Verdict};

impl Pack for Time {
    fn pack(self) -> [u64; 3] {
        [self.to_bits(), 0, 0]
    }

    fn unpack([bits, ..]: [u64; 3]) -> Self {
        Self::from_bits(bits)
    }
}

impl Tells for Load {
    #[inline]
    fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    fn show(&self, handles: &Handles) {
        show_newest(|| self.limit(), |limit| handles.limit(limited(limit)));
    }
}

impl Keeper for Load {
    type Call = Time;

    const QUEUES_UP: bool = true;

    #[inline]
    fn meter(&self, _: &Time, admitted: u64) -> Meter {
        self.meter_of(Admitted::from_bits(admitted).stamp())
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn settle(&self, time: &Time, admitted: u64, verdict: Verdict) {
        self.finish(*time, admitted, verdict, *time);
    }

    #[inline]
    fn wait(&self, time: &mut Time) {
        *time = time.waiting();
        if !time.is_known() && (self.moves() || self.listeners.any()) {
            *time = Time::since(Moment::now());
        }
    }

    fn head(&self, time: &mut Time) {
        *time = time.at_head();
    }

    fn ended(&self, admitted: u64, outcome: Outcome) {
        if self
            .listeners
            .is_theirs(Admitted::from_bits(admitted).stamp())
        {
            self.tally.told(outcome);
        }
    }

    fn ran(&self, time: &Time) -> Duration {
        time.ran()
    }

    fn cancel(&self, time: &Time, admitted: u64) {
        self.finish(*time, admitted, CANCELLED, time.if_it_waited());
    }

    fn leaves_at_head(&self, admitted: u64) -> bool {
        self.streams(Admitted::from_bits(admitted))
    }

    fn stream_ended(&self, admitted: u64) {
        self.stream_is_over(Admitted::from_bits(admitted));
    }

    #[inline]
    fn release(&self, _: &Time, admitted: u64) {
        self.give_back(Admitted::from_bits(admitted));
    }
}

impl Load {
    /// `counts_as` is the time that the limit hears of; told is the true one.
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn finish(&self, time: Time, admitted: u64, verdict: Verdict, counts_as: Time) {
        let admitted = Admitted::from_bits(admitted);
        let tells = admitted.is_sample()
            || verdict.is_overload()
            || verdict.outcome() == Outcome::Cancelled
            || self.is_long(time);
        if tells {
            self.report(admitted, time, verdict, counts_as);
        }
        self.tell(admitted.stamp(), || EventKind::Settled {
            outcome: verdict.outcome(),
            latency: time.has_waited().then(|| time.ran()),
            slow: false,
        });
    }

    /// Whether it took so long that a limit which adapts has to know.
    #[inline]
    fn is_long(&self, time: Time) -> bool {
        time.has_waited() && self.moves() && time.ran() >= FLOOR
    }

    /// The latency of a sample is taken, or a drop is noted.
    #[cold]
    fn report(&self, admitted: Admitted, time: Time, verdict: Verdict, counts_as: Time) {
        let outcome = verdict.outcome();
        let (ran, moment) = time.ran_until_now();
        let now = moment.since_beginning();
        let latency = counts_as.is_known().then_some(ran);
        if admitted.is_sample() && time.has_waited() && self.listeners.is_theirs(admitted.stamp()) {
            self.latencies.record(moment, ran, admitted.weight());
        }
        if !self.moves() {
            if admitted.is_sample() {
                self.think_over_sampling(admitted, now);
            }
            return;
        }
        let is_failure = match (outcome, latency) {
            (Outcome::Cancelled, Some(ran)) => self.evidence(admitted, |evidence| {
                evidence.is_failure(now, context::answerable(ran), context::own_limit())
            }),
            (Outcome::Success, Some(ran)) if ran >= FLOOR => self.evidence(admitted, |evidence| {
                evidence.succeeded(now, context::answerable(ran));
                false
            }),
            _ => None,
        };
        let moved = match latency {
            _ if verdict.is_overload() || is_failure == Some(true) => self.dropped(admitted, now),
            Some(latency) if admitted.is_sample() && outcome == Outcome::Success => {
                self.sample(admitted, now, latency)
            }
            _ => None,
        };
        if let Some((from, to)) = moved {
            self.tell_change(admitted.stamp(), (from, to));
        }
    }
}
