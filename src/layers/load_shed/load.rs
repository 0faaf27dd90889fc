//! The calls in flight, and their limit.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use super::classes::Classes;
use super::keyed::check_keys;
use super::settings::Settings;
use crate::layers::handle::Adjust;
use crate::observe::emit::Emit as _;
use crate::observe::emitter::Emitter;
use crate::observe::snapshot::{Latencies, LockedTally, MOST_CALLS, Outcomes};
use crate::policy::evidence::Evidence;
use crate::policy::limit::{Adaptive, Limit};
use crate::policy::sampling::{Sample, Sampler, Skip};
use crate::runtime::{Moment, Subscribed, Timeline};
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::mode::Mode;
use crate::vocabulary::reason::Reason;

/// One call in flight, in bits 0 to 23 of the word.
pub(super) const CALL: u64 = 1;
/// One admission, in bits 24 to 63, where the count wraps.
const ADMISSION: u64 = 1 << 24;

/// The highest count of admissions before it wraps.
const MAX_ADMISSIONS: u64 = (1 << 40) - 1;

pub(crate) struct Load {
    /// For the ticker, which must not keep the state alive. The instance of a key has none.
    pub(super) weak_self: OnceLock<Weak<Self>>,
    /// The counts of admissions and of calls in flight. The number of an admission decides whether
    /// the call is a sample, so sampling costs nothing.
    pub(super) word: AtomicU64,
    /// Calls in flight that only stream their body. They do not count against an adaptive limit.
    streaming: AtomicU32,
    pub(super) limit: AtomicU32,
    pub(super) classes: Classes,
    mode: AtomicU32,
    is_by_latency: AtomicBool,
    is_by_lag: AtomicBool,
    /// The latest subscription to the lag.
    pub(super) subscribed: Subscribed,
    /// A power of two minus one. A call is a sample if its number has none of these bits.
    skip: AtomicU32,
    adaptation: Mutex<Adaptation>,
    pub(crate) emitter: Emitter,
    pub(super) tally: LockedTally,
    pub(super) latencies: Latencies,
}

pub(super) struct Adaptation {
    settings: Settings,
    pub(super) timeline: Timeline,
    pub(super) limit: Adaptive,
    evidence: Evidence,
    sampler: Sampler,
    /// How often the count of admissions wrapped.
    wraps: u64,
}

impl Adaptation {
    fn new(settings: Settings) -> Self {
        let now = Moment::now();
        let since = now.since_origin();
        Self {
            timeline: Timeline::new(now),
            limit: Adaptive::new(&settings.limit, since),
            evidence: Evidence::new(settings.on_cancel, None, since),
            settings,
            sampler: Sampler::new(since, 0),
            wraps: 0,
        }
    }
}

/// The counts of all calls of a load shedder.
pub(super) struct Books {
    pub(super) in_flight: u32,
    pub(super) streaming: u32,
    pub(super) outcomes: Outcomes,
}

impl Load {
    pub(super) fn new(settings: Settings, emitter: Emitter, latencies: Latencies) -> Self {
        let load = Self {
            weak_self: OnceLock::new(),
            word: AtomicU64::new(0),
            streaming: AtomicU32::new(0),
            limit: AtomicU32::new(0),
            classes: Classes::new(),
            mode: AtomicU32::new(0),
            is_by_latency: AtomicBool::new(false),
            is_by_lag: AtomicBool::new(false),
            subscribed: Subscribed::default(),
            skip: AtomicU32::new(0),
            adaptation: Mutex::new(Adaptation::new(settings)),
            emitter,
            tally: LockedTally::new(),
            latencies,
        };
        load.publish(&load.lock());
        load
    }

    /// Puts the settings of the adaptation in force.
    fn publish(&self, adaptation: &Adaptation) {
        let Settings { mode, limit, .. } = &adaptation.settings;
        let adapts = *mode != Mode::Off && limit.is_adaptive();
        let now = match mode {
            Mode::Off => MOST_CALLS,
            Mode::Enforce | Mode::Shadow => adaptation.limit.limit().min(MOST_CALLS),
        };
        let skip = if adapts || now < MOST_CALLS {
            Skip::ALL
        } else {
            Skip::NONE
        };
        self.mode.store(*mode as u32, Ordering::Relaxed);
        self.limit.store(now, Ordering::Relaxed);
        let is_by_lag = adapts && limit.is_by_lag();
        self.is_by_lag.store(is_by_lag, Ordering::Relaxed);
        self.is_by_latency
            .store(adapts && !is_by_lag, Ordering::Relaxed);
        self.skip.store(skip.to_bits(), Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn mode(&self) -> Mode {
        Mode::from_bits(self.mode.load(Ordering::Relaxed))
    }

    #[inline]
    pub(super) fn is_by_latency(&self) -> bool {
        self.is_by_latency.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn is_by_lag(&self) -> bool {
        self.is_by_lag.load(Ordering::Relaxed)
    }

    /// Whether a new call is rejected now.
    #[inline]
    pub(super) fn rejects(&self) -> bool {
        self.is_full() && self.mode() == Mode::Enforce
    }

    /// Admits a call over the limit, unless the mode is to enforce it.
    #[cold]
    pub(super) fn admit_over_limit(&self) -> Option<Sample> {
        let mode = self.mode();
        if mode == Mode::Enforce {
            return None;
        }
        let sample = self.admit_up_to(MOST_CALLS)?;
        if mode == Mode::Shadow {
            self.record_shed();
            self.would_reject(Reason::Shed, None);
        }
        Some(sample)
    }

    #[inline]
    pub(crate) fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn in_flight(&self) -> u32 {
        self.active(self.word.load(Ordering::Relaxed))
    }

    /// Whether the limit is still the first one.
    pub(super) fn has_first_limit(&self) -> bool {
        let adaptation = self.lock();
        adaptation.limit.limit() == first_limit(&adaptation.settings.limit)
    }

    /// Calls that only stream their body.
    pub(super) fn streaming(&self) -> u32 {
        self.streaming.load(Ordering::Relaxed)
    }

    /// Calls in flight that do more than stream their body.
    #[inline]
    pub(super) fn active(&self, word: u64) -> u32 {
        in_flight(word).saturating_sub(self.streaming())
    }

    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.would_exceed(self.word.load(Ordering::Relaxed), self.limit())
    }

    /// Whether one more call would exceed the limit.
    #[inline]
    fn would_exceed(&self, word: u64, limit: u32) -> bool {
        in_flight(word) >= limit && (in_flight(word) == MOST_CALLS || self.active(word) >= limit)
    }

    /// Counts a call as streaming, if the limit adapts. Returns whether it does.
    pub(super) fn start_streaming(&self) -> bool {
        let adapts = self.is_by_latency() || self.is_by_lag();
        if adapts {
            self.streaming.fetch_add(1, Ordering::Relaxed);
        }
        adapts
    }

    pub(super) fn stop_streaming(&self) {
        self.streaming.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn with_evidence<R>(
        &self,
        now: Moment,
        act: impl FnOnce(&mut Evidence, Duration) -> R,
    ) -> R {
        let mut adaptation = self.lock();
        let now = adaptation.timeline.at(now);
        act(&mut adaptation.evidence, now)
    }

    /// The calls admitted since the layer was built.
    pub(super) fn admissions(&self, adaptation: &Adaptation, word: u64) -> u64 {
        adaptation.wraps * (MAX_ADMISSIONS + 1) + number(word)
    }

    #[inline]
    pub(crate) fn try_admit(&self) -> Option<Sample> {
        self.admit_up_to(self.limit_of_call())
    }

    #[inline]
    fn admit_up_to(&self, limit: u32) -> Option<Sample> {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if self.would_exceed(word, limit) {
                return None;
            }
            if number(word) == MAX_ADMISSIONS {
                return self.admit_and_wrap(limit);
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

    /// Admits a call and wraps the count of admissions, once in a trillion calls.
    #[cold]
    fn admit_and_wrap(&self, limit: u32) -> Option<Sample> {
        let mut adaptation = self.lock();
        let mut word = self.word.load(Ordering::Relaxed);
        // Another thread may have wrapped it meanwhile.
        let (next, wraps) = loop {
            if self.would_exceed(word, limit) {
                return None;
            }
            let is_wrap = number(word) == MAX_ADMISSIONS;
            let next = if is_wrap {
                word - MAX_ADMISSIONS * ADMISSION + CALL
            } else {
                word + ADMISSION + CALL
            };
            match self
                .word
                .compare_exchange_weak(word, next, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => break (next, is_wrap),
                Err(current) => word = current,
            }
        };
        adaptation.wraps += u64::from(wraps);
        Some(self.sampled(next))
    }

    /// The counts of all calls at one moment.
    pub(super) fn books(&self) -> Books {
        let (outcomes, (in_flight, streaming)) = self.tally.of_all(|| {
            let adaptation = self.lock();
            let word = self.word.load(Ordering::Relaxed);
            let all = in_flight(word);
            let streaming = self.streaming().min(all);
            let over = self
                .admissions(&adaptation, word)
                .saturating_sub(all.into());
            (over, (all - streaming, streaming))
        });
        Books {
            in_flight,
            streaming,
            outcomes,
        }
    }

    /// Adapts the sampling if the lock is free: no call waits here.
    pub(super) fn try_adapt_sampling(&self, now: Moment) {
        if let Ok(mut adaptation) = self.adaptation.try_lock() {
            let word = self.word.load(Ordering::Relaxed);
            let now = adaptation.timeline.at(now);
            self.adapt_sampling(&mut adaptation, now, word);
        }
    }

    /// Records the latency of a sample. Returns the old and the new limit if they differ.
    #[cold]
    pub(super) fn record_sample(
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

    /// Records a call dropped for overload. Returns the old and the new limit if they differ.
    #[cold]
    pub(super) fn record_drop(&self, now: Moment) -> Option<(u32, u32)> {
        self.adjust(now, |limit, now, in_flight| limit.dropped(now, in_flight))
    }

    /// Records a shed call. A limit by latency that gets no samples any more grows now and then.
    #[cold]
    pub(super) fn record_shed(&self) {
        if !self.is_by_latency() {
            return;
        }
        let now = Moment::now();
        let shed = |adaptation: &mut Adaptation, _| {
            let now = adaptation.timeline.at(now);
            adaptation.limit.shed(now)
        };
        if let Some(changed) = self.change(shed) {
            self.emit_change(changed);
        }
    }

    fn adjust(
        &self,
        now: Moment,
        act: impl FnOnce(&mut Adaptive, Duration, u32) -> bool,
    ) -> Option<(u32, u32)> {
        let mut adaptation = self.lock();
        let now = adaptation.timeline.at(now);
        let word = self.word.load(Ordering::Relaxed);
        if !self.is_by_latency() {
            return None;
        }
        let from = adaptation.limit.limit();
        let changed = act(&mut adaptation.limit, now, self.active(word));
        let to = adaptation.limit.limit();
        self.adapt_sampling(&mut adaptation, now, word);
        if changed {
            self.limit.store(to.min(MOST_CALLS), Ordering::Relaxed);
        }
        (from != to).then_some((from, to))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Adaptation> {
        self.adaptation
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn adapt_sampling(&self, adaptation: &mut Adaptation, now: Duration, word: u64) {
        let calls = self.admissions(adaptation, word);
        if let Some(skip) = adaptation.sampler.adapt(now, calls) {
            self.skip.store(skip.to_bits(), Ordering::Relaxed);
        }
    }
}

impl Adjust for Load {
    type Settings = Settings;

    fn settings(&self) -> Settings {
        self.lock().settings.clone()
    }

    fn check(&self, settings: &Settings) -> Result<(), ConfigError> {
        check_keys(self.emitter.group().is_some(), settings)
    }

    fn put(&self, before: &Settings, new: &Settings) -> bool {
        let now = Moment::now();
        let mut adaptation = self.lock();
        if adaptation.settings != *before {
            return false;
        }
        let now = adaptation.timeline.at(now);
        // The measurements of an adaptive limit are useless to another algorithm, and old when
        // it was off.
        if new.limit != before.limit || !before.is_on() {
            adaptation.limit = Adaptive::new(&new.limit, now);
        }
        adaptation.evidence.adjust(new.on_cancel, None);
        adaptation.settings.clone_from(new);
        self.publish(&adaptation);
        self.emitter.set_measured(new.is_on());
        true
    }
}

/// The limit of a new instance.
pub(super) fn first_limit(limit: &Limit) -> u32 {
    Adaptive::new(limit, Duration::ZERO).limit()
}

const fn in_flight(word: u64) -> u32 {
    (word & (ADMISSION - 1)) as u32
}

/// The number of the newest admission.
const fn number(word: u64) -> u64 {
    word >> 24
}

#[cfg(test)]
mod tests;
