//! The calls in flight under a limit that moves.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::layer::Settings;
use crate::observe::emitter::Emitter;
use crate::observe::snapshot::{Latencies, MOST_CALLS, Outcomes, Tally};
use crate::policy::breaker::OnCancel;
use crate::policy::evidence::Evidence;
use crate::policy::limit::{Adaptive, Limit};
use crate::policy::sampling::{Sample, Sampler, Skip};
use crate::runtime::{Moment, Subscribed, Timeline};

/// One call in flight, in the lowest 24 bits of the word.
const CALL: u64 = 1;
/// One admission, in the 40 above, where the count wraps.
const ADMISSION: u64 = 1 << 24;

/// The most that are counted before the count begins again.
const ADMISSIONS: u64 = (1 << 40) - 1;

#[allow(
    missing_debug_implementations,
    reason = "nobody outside can get hold of one"
)]
pub struct Load {
    /// Itself, for whoever must find it later without keeping it.
    pub(super) me: Weak<Self>,
    /// How many calls were ever admitted, and how many are in flight. The number of an
    /// admission decides whether the call is a sample, which makes sampling free.
    pub(super) word: AtomicU64,
    /// How many of the calls in flight only stream their body. Those do not count against a limit that adapts: they say
    /// nothing of the load, and must not take what others need.
    streaming: AtomicU32,
    pub(super) limit: AtomicU32,
    /// Whether the limit adapts to latencies.
    moves: bool,
    /// Whether it adapts to the scheduler's lag.
    lags: bool,
    /// Where it last subscribed to the lag.
    pub(super) subscribed: Subscribed,
    /// A power of two less one: a call is a sample when its number has none of these bits.
    skip: AtomicU32,
    moving: Mutex<Moving>,
    pub(crate) emitter: Emitter,
    pub(super) tally: Tally,
    pub(super) latencies: Latencies,
}

pub(super) struct Moving {
    pub(super) timeline: Timeline,
    pub(super) limit: Adaptive,
    evidence: Evidence,
    /// The number of the newest admission, and when it was, as the sampling was last thought over.
    sampler: Sampler,
    /// How often the count of admissions began again.
    begun_again: u64,
}

impl Moving {
    fn new(limit: &Limit, on_cancel: OnCancel) -> Self {
        let now = Moment::now();
        let since = now.since_origin();
        Self {
            timeline: Timeline::new(now),
            limit: Adaptive::new(limit, since),
            evidence: Evidence::new(on_cancel, None, since),
            sampler: Sampler::new(since, 0),
            begun_again: 0,
        }
    }
}

impl Load {
    pub(super) fn new(settings: Settings, me: Weak<Self>) -> Self {
        let moving = Moving::new(&settings.limit, settings.on_cancel);
        let limit = moving.limit.limit().min(MOST_CALLS);
        let (adapts, lags) = (settings.limit.is_adaptive(), settings.limit.is_by_lag());
        let is_on = adapts || limit < MOST_CALLS;
        let skip = if is_on { Skip::ALL } else { Skip::NONE };
        Self {
            me,
            word: AtomicU64::new(0),
            streaming: AtomicU32::new(0),
            limit: AtomicU32::new(limit),
            moves: adapts && !lags,
            lags,
            subscribed: Subscribed::default(),
            skip: AtomicU32::new(skip.to_bits()),
            moving: Mutex::new(moving),
            emitter: Emitter::measured(
                &super::layer::KIND,
                settings.instance,
                settings.observer,
                is_on,
            ),
            tally: Tally::new(),
            latencies: Latencies::new(),
        }
    }

    #[inline]
    pub(crate) fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn in_flight(&self) -> u32 {
        self.working(self.word.load(Ordering::Relaxed))
    }

    /// How many calls only stream their body.
    pub(super) fn streaming(&self) -> u32 {
        self.streaming.load(Ordering::Relaxed)
    }

    /// How many calls are in flight without those that only stream their body.
    #[inline]
    pub(super) fn working(&self, word: u64) -> u32 {
        in_flight(word).saturating_sub(self.streaming())
    }

    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.is_over(self.word.load(Ordering::Relaxed), self.limit())
    }

    /// Whether one more would be too many.
    #[inline]
    fn is_over(&self, word: u64, limit: u32) -> bool {
        in_flight(word) >= limit && (in_flight(word) == MOST_CALLS || self.working(word) >= limit)
    }

    /// The head of a call is out, and its body goes on: whether it leaves the count of calls in flight for the limit.
    pub(super) fn streams(&self) -> bool {
        let leaves = self.moves || self.lags;
        if leaves {
            self.streaming.fetch_add(1, Ordering::Relaxed);
        }
        leaves
    }

    /// The body of a call that left the count has ended.
    pub(super) fn stream_is_over(&self) {
        self.streaming.fetch_sub(1, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn moves(&self) -> bool {
        self.moves
    }

    /// The evidence of the calls of this load shedder.
    pub(super) fn evidence<R>(
        &self,
        now: Moment,
        with: impl FnOnce(&mut Evidence, Duration) -> R,
    ) -> R {
        let mut moving = self.lock();
        let now = moving.timeline.at(now);
        with(&mut moving.evidence, now)
    }

    #[inline]
    pub(super) fn lags(&self) -> bool {
        self.lags
    }

    /// How many calls were ever admitted.
    pub(super) fn admissions(&self, moving: &Moving, word: u64) -> u64 {
        moving.begun_again * (ADMISSIONS + 1) + number(word)
    }

    #[inline]
    pub(crate) fn try_admit(&self) -> Option<Sample> {
        let limit = self.limit();
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if self.is_over(word, limit) {
                return None;
            }
            if number(word) == ADMISSIONS {
                return self.admit_anew();
            }
            let next = word + ADMISSION + CALL;
            match self
                .word
                .compare_exchange_weak(word, next, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => return Some(self.sampled(next)),
                Err(current) => word = current,
            }
        }
    }

    #[inline]
    fn sampled(&self, word: u64) -> Sample {
        Skip::from_bits(self.skip.load(Ordering::Relaxed)).sample(number(word) as u32)
    }

    /// The count of admissions begins again: once in a trillion calls.
    #[cold]
    fn admit_anew(&self) -> Option<Sample> {
        let mut moving = self.lock();
        let mut word = self.word.load(Ordering::Relaxed);
        // Meanwhile somebody else may have begun it again.
        let (next, begins) = loop {
            if self.is_over(word, self.limit()) {
                return None;
            }
            let begins = number(word) == ADMISSIONS;
            let next = if begins {
                word - ADMISSIONS * ADMISSION + CALL
            } else {
                word + ADMISSION + CALL
            };
            match self
                .word
                .compare_exchange_weak(word, next, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => break (next, begins),
                Err(current) => word = current,
            }
        };
        moving.begun_again += u64::from(begins);
        Some(self.sampled(next))
    }

    /// How the calls went that are over.
    pub(super) fn outcomes(&self) -> Outcomes {
        let moving = self.lock();
        let word = self.word.load(Ordering::Relaxed);
        let admitted = self.admissions(&moving, word);
        drop(moving);
        self.tally
            .of_all(admitted.saturating_sub(in_flight(word).into()))
    }

    /// The call is no longer in flight.
    #[inline]
    pub(crate) fn give_back(&self) {
        self.word.fetch_sub(CALL, Ordering::Release);
    }

    /// Thinks over how many calls to skip, where nothing else is asked of a sample.
    pub(crate) fn think_over_sampling(&self, now: Moment) {
        // No call waits for another one here: whoever has the lock thinks it over.
        if let Ok(mut moving) = self.moving.try_lock() {
            let word = self.word.load(Ordering::Relaxed);
            let now = moving.timeline.at(now);
            self.adapt_sampling(&mut moving, now, word);
        }
    }

    /// Takes the latency of a sample; the old and the new limit if that moved it.
    #[cold]
    pub(crate) fn sample(
        &self,
        sample: Sample,
        now: Moment,
        latency: Duration,
    ) -> Option<(u32, u32)> {
        let weight = sample.weight();
        self.adjust(now, |limit, now, in_flight| {
            limit.sample(now, latency, in_flight, weight)
        })
    }

    /// Takes note of a call that was dropped for overload.
    #[cold]
    pub(crate) fn dropped(&self, now: Moment) -> Option<(u32, u32)> {
        self.adjust(now, |limit, now, in_flight| limit.dropped(now, in_flight))
    }

    /// A call is shed. A limit by latency whose samples have stopped grows now and then.
    #[cold]
    pub(super) fn shed(&self) {
        if !self.moves() {
            return;
        }
        let now = Moment::now();
        let shed = |moving: &mut Moving, _| {
            let now = moving.timeline.at(now);
            moving.limit.shed(now)
        };
        if let Some(changed) = self.change(shed) {
            self.tell_change(changed);
        }
    }

    fn adjust(
        &self,
        now: Moment,
        take: impl FnOnce(&mut Adaptive, Duration, u32) -> bool,
    ) -> Option<(u32, u32)> {
        let mut moving = self.lock();
        let now = moving.timeline.at(now);
        let word = self.word.load(Ordering::Relaxed);
        if !self.moves() {
            return None;
        }
        let from = moving.limit.limit();
        let changed = take(&mut moving.limit, now, self.working(word));
        let to = moving.limit.limit();
        self.adapt_sampling(&mut moving, now, word);
        if changed {
            self.limit.store(to.min(MOST_CALLS), Ordering::Relaxed);
        }
        (from != to).then_some((from, to))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Moving> {
        self.moving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn adapt_sampling(&self, moving: &mut Moving, now: Duration, word: u64) {
        let calls = self.admissions(moving, word);
        if let Some(skip) = moving.sampler.adapt(now, calls) {
            self.skip.store(skip.to_bits(), Ordering::Relaxed);
        }
    }
}

const fn in_flight(word: u64) -> u32 {
    (word & (ADMISSION - 1)) as u32
}

const fn number(word: u64) -> u64 {
    word >> 24
}

#[cfg(test)]
mod tests;
