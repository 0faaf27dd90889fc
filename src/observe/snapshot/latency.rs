//! The latencies of the last minute.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

#[cfg(feature = "serde")]
use super::seconds;
use super::{InWords, RECORDED};
use crate::runtime::{Moment, nanos};

/// The last minute, in slots of 15 seconds.
const SLOTS: usize = 4;
const SLOT_SECONDS: u64 = 15;
const SLOT: u64 = SLOT_SECONDS * 1_000_000_000;

/// Microseconds.
const SHORTEST: u64 = 1;
const LONGEST: u64 = 60_000_000;
const FIGURES: u8 = 1;

/// Buckets for each doubling of the latency, as HdrHistogram has them for one significant figure: a
/// bucket is at most a sixteenth of its latency wide. More would take more memory than the rest of
/// an instance.
const HALF: usize = 16;
const HALF_BITS: u32 = HALF.ilog2();
const BUCKETS: usize = bucket(LONGEST) + 1;

/// Latencies of the last minute, up to the head of the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Latency {
    /// Number of calls: all that were pending. Above some 640 calls a second a load shedder takes
    /// samples, and each stands for several calls.
    pub calls: u64,
    /// Median.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "p50_seconds", serialize_with = "seconds")
    )]
    pub p50: Duration,
    /// 90th percentile.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "p90_seconds", serialize_with = "seconds")
    )]
    pub p90: Duration,
    /// 99th percentile.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "p99_seconds", serialize_with = "seconds")
    )]
    pub p99: Duration,
    /// Maximum, at most a minute.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "max_seconds", serialize_with = "seconds")
    )]
    pub max: Duration,
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "p50 {}, p90 {}, p99 {}, max {} of {}",
            InWords(self.p50),
            InWords(self.p90),
            InWords(self.p99),
            InWords(self.max),
            self.calls
        )
    }
}

/// Records latencies from any thread, without a lock.
#[derive(Default)]
pub(crate) struct Latencies(OnceLock<Arc<Minute>>);

struct Minute {
    slots: [Slot; SLOTS],
    /// Held by the thread that reuses a slot.
    turning: Mutex<()>,
}

struct Slot {
    /// The number of its fifteen seconds; 0 for none.
    number: AtomicU64,
    counts: Box<[AtomicU32]>,
}

impl Slot {
    fn new() -> Self {
        Self {
            number: AtomicU64::new(0),
            counts: (0..BUCKETS).map(|_| AtomicU32::new(0)).collect(),
        }
    }
}

/// The number of the fifteen seconds that contain a moment.
const fn slot(now: Moment) -> u64 {
    now.to_bits() / SLOT + 1
}

impl Latencies {
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// Records into the same histogram, which is made now.
    pub(crate) fn share(&self) -> Self {
        Self(OnceLock::from(Arc::clone(self.0.get_or_init(Minute::new))))
    }

    /// Records a latency that stands for `weight` calls.
    pub(crate) fn record(&self, now: Moment, latency: Duration, weight: u32) {
        if !RECORDED {
            return;
        }
        let minute = self.0.get_or_init(Minute::new);
        let number = slot(now);
        let Some(slot) = minute.slots.get(number as usize % SLOTS) else {
            return;
        };
        // Also if the slot's number is higher: the clock went back by a minute or more.
        if slot.number.load(Ordering::Acquire) != number {
            minute.turn(slot, number);
        }
        let micros = (nanos(latency) / 1_000).clamp(SHORTEST, LONGEST);
        if let Some(count) = slot.counts.get(bucket(micros)) {
            count.fetch_add(weight, Ordering::Relaxed);
        }
    }

    /// The latencies of the last minute, if any.
    pub(crate) fn last_minute(&self, now: Moment) -> Option<Latency> {
        let minute = self.0.get()?;
        let now = slot(now);
        let mut histogram = Histogram::<u64>::new_with_bounds(SHORTEST, LONGEST, FIGURES).ok()?;
        for slot in &minute.slots {
            let number = slot.number.load(Ordering::Acquire);
            if number > now || number + SLOTS as u64 <= now {
                continue;
            }
            for (bucket, count) in slot.counts.iter().enumerate() {
                let count = count.load(Ordering::Relaxed).into();
                if count > 0 {
                    // Never fails: each bucket begins within the bounds.
                    let _ = histogram.record_n(beginning(bucket).max(SHORTEST), count);
                }
            }
        }
        let quantile = |of| Duration::from_micros(histogram.value_at_quantile(of).min(LONGEST));
        (!histogram.is_empty()).then(|| Latency {
            calls: histogram.len(),
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            max: Duration::from_micros(histogram.max().min(LONGEST)),
        })
    }
}

impl Minute {
    #[cold]
    fn new() -> Arc<Self> {
        Arc::new(Self {
            slots: std::array::from_fn(|_| Slot::new()),
            turning: Mutex::new(()),
        })
    }

    /// Reuses a slot of a minute ago, once in fifteen seconds.
    #[cold]
    fn turn(&self, slot: &Slot, number: u64) {
        let _turning = self.turning.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.number.load(Ordering::Relaxed) != number {
            for count in &slot.counts {
                count.store(0, Ordering::Relaxed);
            }
            slot.number.store(number, Ordering::Release);
        }
    }
}

/// The bucket of a latency: exact up to 31 microseconds, then 16 buckets for each doubling.
const fn bucket(micros: u64) -> usize {
    let shift = (micros | HALF as u64).ilog2() - HALF_BITS;
    shift as usize * HALF + (micros >> shift) as usize
}

/// The shortest latency of a bucket.
const fn beginning(bucket: usize) -> u64 {
    let shift = (bucket / HALF).saturating_sub(1);
    ((bucket - shift * HALF) as u64) << shift
}

#[cfg(test)]
mod tests;
