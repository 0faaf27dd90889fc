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
                    // A change of the step may count its first sample for too much or too
                    // little.
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
