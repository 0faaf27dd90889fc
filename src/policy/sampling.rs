//! Selects the calls whose latency is measured. Measuring every call costs more than the rest of a
//! layer, and a limit needs about 64 samples for each of its windows. So at high rates a call is a
//! sample if its number is a multiple of a power of two, and that power is the sample's weight.
//!
//! The power follows the rate of calls, once a second, or sooner at high rates.

use std::time::Duration;

/// Samples in a second: about 64 for each window of a limit, which lasts 100 ms at high rates.
/// Enough for a steady average, at no noticeable cost.
const SAMPLES: u32 = 640;

/// After this many calls and this much time, the rate is known before a second is over.
const MANY: u64 = 1_024;
const SOON: Duration = Duration::from_millis(5);

/// The largest weight of a sample.
const SPARSEST: u32 = 256;

/// How many calls to skip between samples: every call is a sample, one in two, one in four, ..., or
/// none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Skip(u32);

impl Skip {
    /// Every call is a sample.
    pub(crate) const ALL: Self = Self(0);
    /// No call is a sample.
    pub(crate) const NONE: Self = Self(u32::MAX);

    /// For an atomic: a power of two less one, or `u32::MAX`.
    #[inline]
    pub(crate) const fn to_bits(self) -> u32 {
        self.0
    }

    #[inline]
    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Whether the call with this number is a sample.
    #[inline]
    pub(crate) const fn sample(self, number: u32) -> Sample {
        if number & self.0 == 0 && self.0 != Self::NONE.0 {
            Sample(self.0.trailing_ones() as u8 + 1)
        } else {
            Sample::NO
        }
    }
}

/// Whether a call is a sample, and its weight: at most 256 calls. Each call stores its own, because
/// the rate of samples may change before the call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample(
    /// 0 for no sample, else one more than the logarithm of the weight.
    u8,
);

impl Sample {
    pub(crate) const NO: Self = Self(0);

    #[inline]
    pub(crate) const fn is_taken(self) -> bool {
        self.0 != 0
    }

    /// The number of calls that the sample represents; 1 for a call that is no sample.
    #[inline]
    pub(crate) const fn weight(self) -> u32 {
        1 << self.0.saturating_sub(1)
    }

    /// Four bits.
    #[inline]
    pub(crate) const fn to_bits(self) -> u8 {
        self.0
    }

    /// Ignores higher bits.
    #[inline]
    pub(crate) const fn from_bits(bits: u8) -> Self {
        Self(bits & 0xf)
    }
}

/// Chooses how many calls to skip.
#[derive(Debug, Clone)]
pub(crate) struct Sampler {
    /// The number of calls, and the time, at the last choice.
    counted: u64,
    since: Duration,
}

impl Sampler {
    /// `calls` is the number of calls before `now`.
    pub(crate) const fn new(now: Duration, calls: u64) -> Self {
        Self {
            counted: calls,
            since: now,
        }
    }

    /// The new choice, once a second, or after 5 ms and 1 024 calls; `None` if the last one stands.
    /// `calls` is the total number of calls.
    pub(crate) fn adapt(&mut self, now: Duration, calls: u64) -> Option<Skip> {
        let elapsed = now.saturating_sub(self.since);
        let came = calls.saturating_sub(self.counted);
        if elapsed < Duration::from_secs(1) && (came < MANY || elapsed < SOON) {
            return None;
        }
        self.since = now;
        self.counted = calls;
        let a_second = u128::from(came) * 1_000_000_000 / elapsed.as_nanos().max(1);
        let every = (a_second / u128::from(SAMPLES)).clamp(1, SPARSEST.into());
        // Rounded down to a power of two: a few samples too many rather than too few.
        Some(Skip((1 << every.ilog2()) - 1))
    }
}

#[cfg(test)]
#[path = "sampling_tests.rs"]
mod tests;
