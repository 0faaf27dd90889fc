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
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Calls at one pace for a while: the nanoseconds between two, and their number.
    fn paces() -> impl Strategy<Value = Vec<(u64, u32)>> {
        let pace = prop_oneof![
            0..20_u64,
            100..3_000_u64,
            1_000..100_000_u64,
            100_000..30_000_000_u64
        ];
        prop::collection::vec((pace, 1..4_000_u32), 1..8)
    }

    /// Of calls that came in this time: one in so many.
    fn naive(calls: usize, elapsed: Duration) -> u32 {
        [256, 128, 64, 32, 16, 8, 4, 2]
            .into_iter()
            .find(|every| {
                calls as u128 * 1_000_000_000 >= u128::from(*every) * 640 * elapsed.as_nanos()
            })
            .unwrap_or(1)
    }

    proptest! {
        /// The model keeps the time of every call, and counts those since the last choice.
        #[test]
        fn agrees_with_a_model_that_keeps_every_call(paces in paces()) {
            let mut now = Duration::from_secs(5);
            let mut sampler = Sampler::new(now, 0);
            let mut skip = Skip::ALL;
            let mut since = now;
            let mut recent = Vec::new();
            let (mut calls, mut weights) = (0_u64, 0_u64);
            let mut off_by = 1;
            for (pace, count) in paces {
                for _ in 0..count {
                    now += Duration::from_nanos(pace);
                    calls += 1;
                    recent.push(now);
                    let sample = skip.sample(calls as u32);
                    if !sample.is_taken() {
                        continue;
                    }
                    prop_assert_eq!(Sample::from_bits(sample.to_bits()), sample);
                    prop_assert!(sample.weight() <= 256);
                    weights += u64::from(sample.weight());
                    let elapsed = now - since;
                    let chosen = sampler.adapt(now, calls);
                    let is_due = elapsed >= Duration::from_secs(1)
                        || (recent.len() >= 1_024 && elapsed >= Duration::from_millis(5));
                    prop_assert_eq!(chosen.is_some(), is_due);
                    if let Some(chosen) = chosen {
                        prop_assert_eq!(chosen.to_bits() + 1, naive(recent.len(), elapsed));
                        prop_assert_eq!(Skip::from_bits(chosen.to_bits()), chosen);
                        // A change of the step may count its first sample for too much or too little.
                        off_by += u64::from(skip.to_bits().max(chosen.to_bits())) + 1;
                        skip = chosen;
                        since = now;
                        recent.clear();
                    }
                }
            }
            prop_assert!(weights.abs_diff(calls) <= off_by + u64::from(skip.to_bits()));
        }

        #[test]
        fn no_value_overflows(
            now in any::<Duration>(),
            then in any::<Duration>(),
            calls in any::<u64>(),
            more in any::<u64>(),
            bits in any::<u8>(),
        ) {
            let mut sampler = Sampler::new(now, calls);
            for (now, calls) in [(then, more), (now, calls), (Duration::MAX, u64::MAX)] {
                if let Some(skip) = sampler.adapt(now, calls) {
                    prop_assert!((skip.to_bits() + 1).is_power_of_two());
                    prop_assert!(skip.to_bits() < 256);
                }
            }
            prop_assert!(Sample::from_bits(bits).weight() >= 1);
        }
    }

    #[test]
    fn one_in_so_many_is_a_sample_and_stands_for_so_many() {
        for log in 0..=8 {
            let every = 1_u32 << log;
            let skip = Skip::from_bits(every - 1);
            let samples = (0..1_024).map(|number| skip.sample(number));
            let taken: Vec<_> = samples.filter(|sample| sample.is_taken()).collect();
            assert_eq!(taken.len() as u32, 1_024 / every);
            assert!(taken.iter().all(|sample| sample.weight() == every));
        }
        assert!((0..1_024).all(|number| !Skip::NONE.sample(number).is_taken()));
        assert_eq!(Sample::NO.weight(), 1);
    }

    #[test]
    fn some_640_samples_a_second_are_taken_at_any_steady_rate() {
        for rate in [1, 10, 639, 1_279, 1_280, 5_000, 100_000, 163_840, 2_000_000] {
            let mut sampler = Sampler::new(Duration::ZERO, 0);
            let skip = sampler.adapt(Duration::from_secs(1), rate).unwrap();
            let samples = rate / u64::from(skip.to_bits() + 1);
            let expected = match rate {
                0..640 => rate..rate + 1,
                640..327_680 => 640..1_280,
                _ => rate / 256..rate / 256 + 1,
            };
            assert!(expected.contains(&samples), "{rate}: {samples}");
        }
    }
}
