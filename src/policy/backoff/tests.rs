use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);
const KINDS: [Jitter; 4] = [
    Jitter::None,
    Jitter::Full,
    Jitter::Equal,
    Jitter::Decorrelated,
];

fn close(a: Duration, b: Duration) -> bool {
    a.abs_diff(b) <= Duration::from_micros(1)
}

proptest! {
    /// The model multiplies or adds its way up, attempt by attempt, and knows each kind of jitter
    /// as the two ends that it lies between.
    #[test]
    fn agrees_with_a_model_that_walks_up_to_the_attempt(
        growth in 0..3,
        base in 1..3_000_u32,
        factor in 1.0..5.0,
        cap in 0..20_000_u32,
        attempt in 1..40_u32,
        previous in prop::option::of(0..20_000_u32),
        random in 0.0..1.0,
    ) {
        let cap = MS * (base + cap);
        let base = MS * base;
        let backoff = match growth {
            0 => Backoff::constant(base),
            1 => Backoff::linear(base),
            _ => Backoff::exponential(base).factor(factor),
        }
        .cap(cap);
        prop_assert_eq!(backoff.check(), Ok(()));
        let mut whole = base;
        for _ in 1..attempt {
            whole = match growth {
                0 => whole,
                1 => (whole + base).min(cap),
                _ => whole.mul_f64(factor).min(cap),
            };
        }
        let previous = previous.map(|ms| MS * ms);
        let three = (previous.unwrap_or(base).max(base) * 3).min(LONGEST);
        for jitter in KINDS {
            let (from, to) = match jitter {
                Jitter::None => (whole, whole),
                Jitter::Full => (Duration::ZERO, whole),
                Jitter::Equal => (whole / 2, whole),
                Jitter::Decorrelated => (base, three),
            };
            let expected = (from + (to - from).mul_f64(random)).min(cap);
            let delay = backoff.jitter(jitter).delay(attempt, previous, random);
            prop_assert!(close(delay, expected), "{jitter:?}: {delay:?}, not {expected:?}");
        }
    }

    #[test]
    fn no_numbers_panic_or_lead_over_the_cap(
        base in any::<Duration>(),
        factor in any::<f64>(),
        cap in any::<Duration>(),
        attempt in any::<u32>(),
        previous in any::<Option<Duration>>(),
        random in any::<f64>(),
    ) {
        for jitter in KINDS {
            for backoff in [
                Backoff::constant(base),
                Backoff::linear(base),
                Backoff::exponential(base).factor(factor),
                Backoff::exponential(Duration::MAX),
            ] {
                let backoff = backoff.cap(cap).jitter(jitter);
                prop_assert!(backoff.delay(attempt, previous, random) <= cap);
            }
        }
    }
}

#[test]
fn the_cap_holds_at_attempt_twenty_and_at_the_last_one() {
    for attempt in [20, 64, 1_024, u32::MAX] {
        let backoff = Backoff::default();
        assert_eq!(
            backoff.jitter(Jitter::None).delay(attempt, None, 0.0),
            MS * 2_000
        );
        assert!(backoff.delay(attempt, None, 0.999) <= MS * 2_000);
    }
}

#[test]
fn the_cap_holds_after_jitter() {
    let backoff = Backoff::exponential(MS * 100)
        .cap(MS * 150)
        .jitter(Jitter::Decorrelated);
    assert_eq!(backoff.delay(5, Some(MS * 150), 0.99), MS * 150);
}

#[test]
fn there_is_jitter_unless_it_is_turned_off() {
    for backoff in [
        Backoff::default(),
        Backoff::constant(MS * 100),
        Backoff::linear(MS * 100),
    ] {
        assert_ne!(backoff.delay(1, None, 0.1), backoff.delay(1, None, 0.9));
    }
}

#[test]
fn the_first_waits_are_as_documented() {
    let waits = |backoff: Backoff| {
        [1, 2, 3, 4].map(|n| backoff.jitter(Jitter::None).delay(n, None, 0.5).as_millis())
    };
    assert_eq!(waits(Backoff::default()), [50, 100, 200, 400]);
    assert_eq!(waits(Backoff::linear(MS * 50)), [50, 100, 150, 200]);
    assert_eq!(waits(Backoff::constant(MS * 5_000)), [5_000; 4]);
    assert_eq!(Backoff::default().delay(0, None, 1.0), MS * 50);
}

#[test]
fn invalid_backoffs_are_refused() {
    let refused = |backoff: Backoff| backoff.check().expect_err("refused").field().to_owned();
    for base in [Duration::ZERO, Duration::MAX] {
        assert_eq!(refused(Backoff::exponential(base)), "base");
        assert_eq!(refused(Backoff::linear(base)), "base");
    }
    assert_eq!(refused(Backoff::constant(Duration::MAX)), "base");
    for factor in [0.5, 0.0, -1.0, 1_001.0, f64::NAN, f64::INFINITY] {
        assert_eq!(refused(Backoff::default().factor(factor)), "factor");
    }
    assert_eq!(refused(Backoff::linear(MS).factor(2.0)), "factor");
    for cap in [Duration::ZERO, MS * 49, Duration::MAX] {
        assert_eq!(refused(Backoff::default().cap(cap)), "cap");
    }
    assert_eq!(
        refused(Backoff::constant(MS).jitter(Jitter::Decorrelated)),
        "jitter"
    );
    let twice = Backoff::default().factor(2.0);
    assert_eq!(refused(twice.jitter(Jitter::Decorrelated)), "jitter");
    for accepted in [
        Backoff::default(),
        Backoff::constant(Duration::ZERO),
        Backoff::constant(MS * 10_000),
        Backoff::exponential(MS * 10_000),
        Backoff::default().jitter(Jitter::Decorrelated),
    ] {
        assert_eq!(accepted.check(), Ok(()));
    }
}
