use super::*;
use proptest::prelude::*;

fn at(seconds: u64) -> Moment {
    Moment::from_bits(seconds * 1_000_000_000)
}

proptest! {
    /// Compares with HdrHistogram itself.
    #[test]
    fn quantiles_are_those_of_the_whole_histogram(micros in prop::collection::vec(0..70_000_000_u64, 1..300)) {
        let latencies = Latencies::new();
        let mut model = Histogram::<u64>::new_with_bounds(SHORTEST, LONGEST, FIGURES).unwrap();
        for &micros in &micros {
            latencies.record(at(1_000), Duration::from_micros(micros), 1);
            model.record(micros.clamp(SHORTEST, LONGEST)).unwrap();
        }
        let latency = latencies.last_minute(at(1_000)).unwrap();
        let of = |quantile| Duration::from_micros(model.value_at_quantile(quantile).min(LONGEST));
        let max = Duration::from_micros(model.max().min(LONGEST));
        prop_assert_eq!(latency, Latency { calls: micros.len() as u64, p50: of(0.5), p90: of(0.9), p99: of(0.99), max });
    }

    #[test]
    fn only_the_last_minute_counts(calls in prop::collection::vec((0..90_u64, 1..1_000_u64), 1..50)) {
        let latencies = Latencies::new();
        let (mut now, mut all) = (1_000, Vec::new());
        for (pause, millis) in calls {
            now += pause;
            latencies.record(at(now), Duration::from_millis(millis), 1);
            all.push((now / SLOT_SECONDS, millis));
            let recent: Vec<_> = all.iter().filter(|(slot, _)| slot + SLOTS as u64 > now / SLOT_SECONDS).collect();
            let latency = latencies.last_minute(at(now)).unwrap();
            prop_assert_eq!(latency.calls, recent.len() as u64);
            let max = recent.iter().map(|(_, millis)| *millis).max().unwrap();
            let max = Duration::from_millis(max);
            prop_assert!(latency.max >= max && latency.max <= max + max / 16, "{:?} {:?}", latency.max, max);
        }
        prop_assert_eq!(latencies.last_minute(at(now + 70)), None);
    }
}

#[test]
fn what_is_a_minute_old_or_yet_to_come_does_not_count() {
    let latencies = Latencies::new();
    latencies.record(at(1_200), Duration::from_millis(1), 1);
    assert!(latencies.last_minute(at(1_259)).is_some());
    assert_eq!(latencies.last_minute(at(1_260)), None);
    // By the clock of another runtime, which is behind.
    assert_eq!(latencies.last_minute(at(1_190)), None);
}

#[test]
fn what_is_recorded_after_the_clock_went_back_counts() {
    let latencies = Latencies::new();
    let begun = 20 * 60;
    for second in begun + 3_600..begun + 3_660 {
        latencies.record(at(second), Duration::from_millis(1), 1);
    }
    for second in begun..begun + 60 {
        latencies.record(at(second), Duration::from_millis(7), 1);
    }
    let latency = latencies.last_minute(at(begun + 59)).unwrap();
    assert_eq!(latency.calls, 60);
    assert!(latency.p50 > Duration::from_millis(6), "{latency}");
}

#[test]
fn nothing_is_lost_where_many_threads_turn_a_slot_at_once() {
    let (latencies, together) = (Latencies::new(), std::sync::Barrier::new(4));
    let turns = |each: &dyn Fn(u64)| {
        for turn in 0..500 {
            together.wait();
            latencies.record(at(1_200 + SLOT_SECONDS * turn), Duration::from_millis(1), 1);
            together.wait();
            each(turn);
        }
    };
    // No assertions in there: the other threads would wait for one that panicked.
    let seen = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| turns(&|_| {}));
        }
        turns(&|turn| {
            let latency = latencies.last_minute(at(1_200 + SLOT_SECONDS * turn));
            seen.lock()
                .unwrap()
                .push(latency.map(|latency| latency.calls));
        });
    });
    for (turn, calls) in seen.into_inner().unwrap().into_iter().enumerate() {
        assert_eq!(calls, Some(4 * (turn + 1).min(SLOTS) as u64), "turn {turn}");
    }
}
