use super::*;
use crate::name::unnamed::LOAD_SHED;

fn settings(limit: Limit) -> Settings {
    Settings {
        limit,
        on_cancel: OnCancel::default(),
        origin: &LOAD_SHED,
        observer: None,
    }
}

#[test]
fn the_count_of_admissions_begins_again_and_touches_nothing_else() {
    let load = Load::vacant();
    load.move_in(settings(Limit::fixed(2)));
    let stays = load.try_admit().unwrap();
    for _ in 0..ADMISSIONS + 10 {
        let admitted = load.try_admit().unwrap();
        assert_eq!(admitted.stamp(), stays.stamp());
        load.give_back(admitted);
    }
    assert_eq!(load.in_flight(), 1);
    assert_eq!(load.outcomes().success, u64::from(ADMISSIONS) + 10);
    load.give_back(stays);
    assert_eq!(load.in_flight(), 0);
    assert_eq!(load.outcomes().total(), u64::from(ADMISSIONS) + 11);
}

#[test]
fn a_call_of_an_earlier_tenant_changes_nothing() {
    let load = Load::vacant();
    load.move_in(settings(Limit::adaptive()));
    let old = load.try_admit().unwrap();
    assert!(load.move_out());
    load.move_in(settings(Limit::adaptive()));
    let new = load.try_admit().unwrap();
    for _ in 0..1_000 {
        let now = Moment::now().since_beginning() + Duration::from_secs(3600);
        assert_eq!(load.dropped(old, now), None);
    }
    load.give_back(old);
    assert_eq!(load.in_flight(), 1);
    load.give_back(new);
    assert_eq!(load.in_flight(), 0);
}
#[test]
fn a_window_has_enough_samples_and_not_too_many() {
    for (calls_a_second, at_most) in [(300, 30), (20_000, 200), (200_000, 200)] {
        let load = Load::vacant();
        load.move_in(settings(Limit::adaptive()));
        let mut now = Moment::now().since_beginning();
        let mut samples = Vec::new();
        // The first second says how many come.
        for _ in 0..2 {
            samples.clear();
            for call in 0..calls_a_second {
                now += Duration::from_secs(1) / calls_a_second;
                let admitted = load.try_admit().unwrap();
                if admitted.is_sample() {
                    load.sample(admitted, now, Duration::from_millis(5));
                    samples.push(call * 10 / calls_a_second);
                }
                load.give_back(admitted);
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
