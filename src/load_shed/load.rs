//! The calls in flight under a limit that moves.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::policy::limit::{Adaptive, Limit};

/// One call in flight, in the lower half of the word; one admission, in the upper half.
const CALL: u64 = 1;
const ADMISSION: u64 = 1 << 32;

/// How many samples a window should have: enough for a steady average, few enough to cost nothing.
const SAMPLES: u32 = 64;
/// At most every so many calls are skipped between two samples.
const SPARSEST: u32 = 256;

pub(crate) struct Load {
    /// How many calls were ever admitted (above, wrapping) and are in flight (below). The number of an
    /// admission decides whether the call is a sample, which makes sampling free.
    word: AtomicU64,
    limit: AtomicU32,
    /// A power of two less one: a call is a sample when its number has none of these bits.
    skip: AtomicU32,
    moving: Option<Mutex<Moving>>,
}

struct Moving {
    limit: Adaptive,
    /// The number of the newest admission, and when it was, as the limit last changed its mind.
    counted: u32,
    since: Duration,
}

/// How a call was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// Its latency is wanted.
    Sample,
    Plain,
}

impl Load {
    pub(crate) fn new(limit: &Limit, now: Duration) -> Self {
        let adaptive = Adaptive::new(limit, now);
        Self {
            word: AtomicU64::new(0),
            limit: AtomicU32::new(adaptive.limit()),
            skip: AtomicU32::new(0),
            moving: limit.is_adaptive().then(|| {
                Mutex::new(Moving {
                    limit: adaptive,
                    counted: 0,
                    since: now,
                })
            }),
        }
    }

    #[inline]
    pub(crate) fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn in_flight(&self) -> u32 {
        in_flight(self.word.load(Ordering::Relaxed))
    }

    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.in_flight() >= self.limit()
    }

    #[inline]
    pub(crate) fn moves(&self) -> bool {
        self.moving.is_some()
    }

    #[inline]
    pub(crate) fn try_admit(&self) -> Option<Admitted> {
        let limit = self.limit();
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if in_flight(word) >= limit {
                return None;
            }
            let next = word.wrapping_add(ADMISSION + CALL);
            match self
                .word
                .compare_exchange_weak(word, next, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => {
                    let sample =
                        self.moves() && number(next) & self.skip.load(Ordering::Relaxed) == 0;
                    return Some(if sample {
                        Admitted::Sample
                    } else {
                        Admitted::Plain
                    });
                }
                Err(current) => word = current,
            }
        }
    }

    #[inline]
    pub(crate) fn release(&self) {
        self.word.fetch_sub(CALL, Ordering::Release);
    }

    /// Takes the latency of a sample; the old and the new limit if that moved it.
    #[cold]
    pub(crate) fn sample(&self, now: Duration, latency: Duration) -> Option<(u32, u32)> {
        let weight = self.skip.load(Ordering::Relaxed).saturating_add(1);
        self.adjust(now, |limit, in_flight| {
            limit.sample(now, latency, in_flight, weight)
        })
    }

    /// Takes note of a call that was dropped for overload.
    #[cold]
    pub(crate) fn dropped(&self, now: Duration) -> Option<(u32, u32)> {
        self.adjust(now, |limit, in_flight| limit.dropped(now, in_flight))
    }

    fn adjust(
        &self,
        now: Duration,
        take: impl FnOnce(&mut Adaptive, u32) -> bool,
    ) -> Option<(u32, u32)> {
        let mut moving = self
            .moving
            .as_ref()?
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let word = self.word.load(Ordering::Relaxed);
        let from = moving.limit.limit();
        let changed = take(&mut moving.limit, in_flight(word));
        let to = moving.limit.limit();
        self.adapt_sampling(&mut moving, now, number(word));
        if changed {
            self.limit.store(to, Ordering::Relaxed);
        }
        (from != to).then_some((from, to))
    }

    /// Once a second, chooses how many calls to skip from how many there were.
    fn adapt_sampling(&self, moving: &mut Moving, now: Duration, number: u32) {
        if now.saturating_sub(moving.since) >= Duration::from_secs(1) {
            let calls = number.wrapping_sub(moving.counted);
            let every = (calls / SAMPLES).clamp(1, SPARSEST);
            // Rounded down to a power of two: rather a few samples too many.
            self.skip.store((1 << every.ilog2()) - 1, Ordering::Relaxed);
            moving.since = now;
            moving.counted = number;
        }
    }
}

const fn in_flight(word: u64) -> u32 {
    (word & 0xffff_ffff) as u32
}

const fn number(word: u64) -> u32 {
    (word >> 32) as u32
}
