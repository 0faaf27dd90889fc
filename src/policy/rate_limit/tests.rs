use std::sync::Barrier;
use std::thread;

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Any rate that is accepted.
fn rate() -> impl Strategy<Value = Rate> {
    let per = prop_oneof![
        Just(Duration::from_secs(1)),
        (1_000_000..3_000_000_000_u64).prop_map(Duration::from_nanos),
        (1_000_000..=86_400_000_000_000_u64).prop_map(Duration::from_nanos),
    ];
    let permits = prop_oneof![1..5_u32, 1..1_000_u32, 1..=u32::MAX];
    let burst = prop::option::of(prop_oneof![1..5_u32, 1..100_u32, 1..=u32::MAX]);
    (per, permits, burst)
        .prop_map(|(per, permits, burst)| Rate {
            permits: permits.min(saturated(nanos(per) / 1_000)),
            per,
            burst,
        })
        .prop_filter("a burst of more than a year", |rate| rate.check().is_ok())
}

/// One that is small enough to be used up.
fn small_rate() -> impl Strategy<Value = Rate> {
    (1..20_u32, 1_000_000..5_000_000_u64, 1..8_u32).prop_map(|(permits, per, burst)| Rate {
        permits,
        per: Duration::from_nanos(per),
        burst: Some(burst),
    })
}

/// The time between two calls in intervals of the rate, and some nanoseconds.
fn gaps() -> impl Strategy<Value = Vec<(u32, u32)>> {
    let intervals = prop_oneof![4 => Just(0), 2 => 0..3_u32, 1 => 0..20_u32];
    let nanos = prop_oneof![Just(0), 0..3_u32, any::<u32>()];
    prop::collection::vec((intervals, nanos), 0..200)
}

/// A bucket into which a token falls each interval, kept as the time that it took to fill.
struct Bucket {
    interval: u128,
    room: u128,
    level: u128,
    seen: u128,
}

impl Bucket {
    fn new(rate: &Rate, now: u64) -> Self {
        let interval = rate.per.as_nanos().div_ceil(u128::from(rate.permits));
        let room = interval * u128::from(rate.burst.unwrap_or(rate.permits));
        Self {
            interval,
            room,
            level: room,
            seen: now.into(),
        }
    }

    fn take(&mut self, now: u64) -> Result<(), u128> {
        self.fill(now);
        if self.level < self.interval {
            return Err(self.interval - self.level);
        }
        self.level -= self.interval;
        Ok(())
    }

    fn fill(&mut self, now: u64) {
        self.level = self.room.min(self.level + u128::from(now) - self.seen);
        self.seen = now.into();
    }
}

fn acquire(gcra: Gcra, tat: &mut u64, now: u64) -> Result<(), u128> {
    match gcra.check(*tat, now) {
        Checked::Admit { tat: next } => {
            assert!(next > *tat && next > now, "it moves on");
            *tat = next;
            Ok(())
        }
        Checked::Refuse { wait } => {
            assert!(!wait.is_zero());
            Err(wait.as_nanos())
        }
    }
}

proptest! {
    #[test]
    fn agrees_with_a_token_bucket(rate in rate(), gaps in gaps(), start in 0..u64::MAX / 4) {
        let gcra = Gcra::new(&rate);
        let (mut now, mut tat) = (start, 0);
        let mut bucket = Bucket::new(&rate, now);
        for (intervals, nanos) in gaps {
            now += u64::from(intervals) * gcra.interval + u64::from(nanos) % gcra.interval;
            bucket.fill(now);
            let whole = bucket.level / bucket.interval;
            prop_assert_eq!(u128::from(gcra.available(tat, now)), whole);
            prop_assert_eq!(acquire(gcra, &mut tat, now), bucket.take(now));
        }
    }

    #[test]
    fn no_interval_sees_more_than_the_burst_and_the_rate(
        rate in small_rate(),
        gaps in gaps(),
    ) {
        let gcra = Gcra::new(&rate);
        let (mut now, mut tat) = (7, 0);
        let mut admitted = Vec::new();
        for (intervals, nanos) in gaps {
            now += u64::from(intervals) * gcra.interval + u64::from(nanos) % gcra.interval;
            if acquire(gcra, &mut tat, now).is_ok() {
                admitted.push(now);
            }
        }
        let (permits, per) = (u128::from(rate.permits), rate.per.as_nanos());
        for (n, first) in admitted.iter().enumerate() {
            for (m, last) in admitted.iter().enumerate().skip(n) {
                let calls = (m - n + 1) as u128;
                let over_burst = calls.saturating_sub(rate.burst().into());
                prop_assert!(over_burst * per <= u128::from(last - first) * permits);
            }
        }
    }

    #[test]
    fn a_call_is_admitted_after_the_exact_wait_and_not_before(
        rate in rate(),
        start in 0..u64::MAX / 4,
        calls in 1..100_u32,
    ) {
        let gcra = Gcra::new(&rate);
        let (mut now, mut tat) = (start, 0);
        // All but the last few of the burst are used up, which may be very many.
        let few = rate.burst().min(50);
        tat = tat.max(now) + gcra.interval * u64::from(rate.burst() - few);
        let mut admitted = 0;
        for _ in 0..calls {
            if let Err(wait) = acquire(gcra, &mut tat, now) {
                let wait = u64::try_from(wait).unwrap();
                prop_assert_eq!(acquire(gcra, &mut tat, now + wait - 1), Err(1));
                now += wait;
                prop_assert_eq!(acquire(gcra, &mut tat, now), Ok(()));
            }
            admitted += 1;
        }
        let beyond = u64::from(admitted.max(few) - few);
        prop_assert_eq!(now, start + beyond * gcra.interval, "no permit is lost");
    }

    #[test]
    fn the_wait_behind_others_is_as_if_they_had_come(
        rate in small_rate(),
        before in 0..20_u32,
        ahead in 0..20_u32,
        now in 0..1_000_000_000_u64,
    ) {
        let limit = RateLimit::new(&rate);
        for _ in 0..before {
            let _ = limit.try_acquire(now);
        }
        let wait = limit.wait(now, ahead);
        let mut then = now;
        for _ in 0..=ahead {
            while let Err(wait) = limit.try_acquire(then) {
                then += u64::try_from(wait.as_nanos()).unwrap();
            }
        }
        prop_assert_eq!(wait, Duration::from_nanos(then - now));
    }

    #[test]
    fn available_permits_are_admitted_and_grow_at_the_given_time(
        rate in small_rate(),
        used in 0..10_u32,
        passed in 0..2_000_000_u64,
    ) {
        let gcra = Gcra::new(&rate);
        let (now, mut tat) = (1_000, 0);
        for _ in 0..used {
            let _ = acquire(gcra, &mut tat, now);
        }
        let now = now + passed;
        let available = gcra.available(tat, now);
        prop_assert!(available <= rate.burst());
        match gcra.until_more(tat, now) {
            None => prop_assert_eq!(available, rate.burst()),
            Some(until) => {
                let then = now + u64::try_from(until.as_nanos()).unwrap();
                prop_assert_eq!(gcra.available(tat, then), available + 1);
                prop_assert_eq!(gcra.available(tat, then - 1), available);
            }
        }
        let mut admitted = 0;
        while acquire(gcra, &mut tat, now).is_ok() {
            admitted += 1;
        }
        prop_assert_eq!(admitted, available);
    }

    /// Two threads may read the clock in one order and come here in the other.
    #[test]
    fn a_clock_that_goes_back_gives_nothing_away(
        rate in small_rate(),
        times in prop::collection::vec(0..20_000_000_u64, 0..100),
    ) {
        let gcra = Gcra::new(&rate);
        let mut tat = 0;
        let mut admitted = 0_u64;
        for now in &times {
            admitted += u64::from(acquire(gcra, &mut tat, *now).is_ok());
        }
        let first = times.iter().min().copied().unwrap_or(0);
        let last = times.iter().max().copied().unwrap_or(0);
        let most = u64::from(rate.burst()) + (last - first) / gcra.interval;
        prop_assert!(admitted <= most);
    }

    #[test]
    fn no_value_overflows(
        permits in any::<u32>(),
        per in any::<Duration>(),
        burst in any::<Option<u32>>(),
        tat in prop_oneof![Just(u64::MAX), any::<u64>()],
        now in prop_oneof![Just(u64::MAX), any::<u64>()],
        ahead in any::<u32>(),
    ) {
        let rate = Rate { permits, per, burst };
        let _ = (rate.check(), rate.in_whole_seconds(), rate.to_string());
        let gcra = Gcra::new(&rate);
        let _ = gcra.check(tat, now);
        let _ = (gcra.available(tat, now), gcra.until_more(tat, now));
        let _ = gcra.wait(tat, now, ahead);
    }

    #[test]
    fn a_window_of_whole_seconds_says_no_more_than_the_rate(rate in rate()) {
        let (permits, seconds) = rate.in_whole_seconds();
        prop_assert!(Duration::from_secs(seconds) >= rate.per);
        prop_assert!(Duration::from_secs(seconds - 1) < rate.per);
        let allowed = u128::from(rate.permits) * u128::from(seconds) * SECOND;
        prop_assert!(u128::from(permits) * rate.per.as_nanos() <= allowed);
        prop_assert!(u128::from(permits + 1) * rate.per.as_nanos() > allowed);
    }
}

#[test]
fn threads_share_each_permit_once() {
    const THREADS: u64 = 4;
    const CALLS: u64 = 20_000;
    let mut rate = Rate::new(1_000, Duration::from_secs(1));
    rate.burst = Some(5_000);
    let limit = RateLimit::new(&rate);
    let clock = AtomicU64::new(1);
    let start = Barrier::new(4);
    let admitted: u64 = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    let calls = (0..CALLS).filter(|_| {
                        let now = clock.fetch_add(1_000, Ordering::Relaxed);
                        limit.try_acquire(now).is_ok()
                    });
                    calls.count() as u64
                })
            })
            .collect();
        let counts = threads.into_iter().map(|thread| thread.join().unwrap());
        counts.sum()
    });
    // 80 ms in all, of which the clock's last reading may not be the last to come.
    let refilled = THREADS * CALLS * 1_000 / 1_000_000;
    assert!(
        (5_000 + refilled - 1..=5_000 + refilled).contains(&admitted),
        "{admitted}"
    );
}

#[test]
fn settings_that_are_refused() {
    let field = |permits, per, burst| {
        let refused = Rate {
            permits,
            per,
            burst,
        };
        refused.check().unwrap_err().field().to_owned()
    };
    let second = Duration::from_secs(1);
    for per in [
        Duration::ZERO,
        Duration::from_nanos(999_999),
        DAY + MS,
        Duration::MAX,
    ] {
        assert_eq!(field(1, per, None), "per");
    }
    for (permits, per) in [
        (0, second),
        (1_000_001, second),
        (u32::MAX, DAY / 100),
        (1_001, MS),
    ] {
        assert_eq!(field(permits, per, None), "permits");
    }
    for (per, burst) in [(second, 0), (DAY, 366), (DAY, u32::MAX)] {
        assert_eq!(field(1, per, Some(burst)), "burst");
    }
    for rate in [
        Rate::new(1, DAY),
        Rate::new(1_000_000, second),
        Rate::new(1_000, MS),
        Rate::new(u32::MAX, DAY),
    ] {
        assert_eq!(rate.check(), Ok(()), "{rate}");
    }
    let error = Rate::new(0, second).check().unwrap_err();
    assert_eq!(
        error.to_string(),
        "rate_limit: permits = 0 is refused: must be from 1 to 1000000 in 1s"
    );
}

#[test]
fn a_rate_in_words_and_in_whole_seconds() {
    let mut rate = Rate::new(100, Duration::from_secs(60));
    assert_eq!(rate.to_string(), "100 per 60s");
    assert_eq!(rate.in_whole_seconds(), (100, 60));
    rate.burst = Some(20);
    assert_eq!(rate.to_string(), "100 per 60s, burst 20");
    assert_eq!(Rate::new(10, MS * 100).in_whole_seconds(), (100, 1));
    assert_eq!(Rate::new(1, MS * 1_500).in_whole_seconds(), (1, 2));
}
