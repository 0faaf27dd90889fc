use super::*;
use crate::call::admit::Admit as _;
use crate::call::ticket::Ticket;
use crate::policy::limit::Limit;

fn load(limit: Limit) -> Load {
    let settings = Settings {
        limit,
        ..Settings::default()
    };
    let emitter = Emitter::of_default(&super::super::layer::KIND);
    Load::new(settings, emitter, Latencies::new())
}

#[test]
fn the_count_of_admissions_wraps_and_touches_nothing_else() {
    let load = load(Limit::fixed(2));
    let used = MAX_ADMISSIONS - 100;
    load.word.store(used * ADMISSION, Ordering::Relaxed);
    assert!(load.try_admit().is_some());
    for _ in 0..200 {
        assert!(load.try_admit().is_some());
        load.release(&Ticket::NONE);
    }
    assert_eq!(load.in_flight(), 1);
    assert_eq!(load.books().outcomes.success, used + 200);
    load.release(&Ticket::NONE);
    assert_eq!(load.in_flight(), 0);
    assert_eq!(load.books().outcomes.total(), used + 201);
}

#[test]
fn a_window_has_enough_samples_and_not_too_many() {
    for (calls_a_second, at_most) in [(300, 30), (20_000, 200), (200_000, 200)] {
        let load = load(Limit::adaptive());
        let mut now = Moment::now();
        let mut samples = Vec::new();
        // The first second measures the rate of calls.
        for _ in 0..2 {
            samples.clear();
            for call in 0..calls_a_second {
                now = now.after(Duration::from_secs(1) / calls_a_second);
                let sample = load.try_admit().unwrap();
                if sample.is_taken() {
                    load.record_sample(sample, now, Duration::from_millis(5));
                    samples.push(call * 10 / calls_a_second);
                }
                load.release(&Ticket::NONE);
            }
        }
        for window in 0..10 {
            let samples = samples.iter().filter(|&&of| of == window).count();
            let least = at_most.min(64);
            assert!(
                (least..=at_most).contains(&samples),
                "{calls_a_second} a second: {samples}"
            );
        }
    }
}

#[test]
fn a_limit_moves_on_when_the_clock_goes_back() {
    let load = load(Limit::aimd().initial(50).min(1).max(100).build().unwrap());
    let drops = |mut now: Moment| {
        for _ in 0..100 {
            now = now.after(Duration::from_millis(20));
            load.record_drop(now);
        }
        load.limit()
    };
    let hour = Duration::from_secs(3_600);
    let before = drops(Moment::now().after(hour));
    assert!(before < 50, "{before}");
    let after = drops(Moment::now());
    assert!(after < before, "{after} after {before}");
    let call = load.try_admit().unwrap();
    load.record_sample(call, Moment::now().after(hour), Duration::from_millis(1));
    load.release(&Ticket::NONE);
    // The rate of calls is measured anew, too.
    let mut now = Moment::now();
    for _ in 0..20_000 {
        now = now.after(Duration::from_micros(100));
        let call = load.try_admit().unwrap();
        load.try_adapt_sampling(now);
        let _ = call;
        load.release(&Ticket::NONE);
    }
    assert_eq!(load.skip.load(Ordering::Relaxed), 7, "of 10 000 a second");
}
