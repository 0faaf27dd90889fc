use super::*;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

fn evidence(rule: OnCancel, slow: Option<Duration>) -> Evidence {
    Evidence::new(rule, slow, Duration::ZERO)
}

#[test]
fn without_settings_the_slowest_success_of_the_last_minute_decides() {
    let mut evidence = evidence(OnCancel::FailureIfSlow, None);
    let mut cut = |now: u32, ran: Duration| evidence.is_failure(SECOND * now, ran, None);
    assert!(!cut(1, 3 * MS));
    assert!(!cut(1, SECOND - MS));
    assert!(cut(1, SECOND));
    evidence.record_success(SECOND * 5, SECOND * 3);
    let mut cut = |now: u32, ran: Duration| evidence.is_failure(SECOND * now, ran, None);
    assert!(!cut(6, SECOND * 3));
    assert!(cut(6, SECOND * 3 + MS));
    assert!(!cut(64, SECOND * 3));
    assert!(cut(80, SECOND * 3));
}

#[test]
fn the_shortest_of_what_somebody_set_decides() {
    let after = OnCancel::FailureAfter;
    for (rule, slow, limit, threshold) in [
        (after(SECOND * 5), None, None, SECOND * 5),
        (after(SECOND * 5), Some(SECOND * 2), None, SECOND * 2 + MS),
        (after(SECOND), Some(SECOND * 2), None, SECOND),
        (after(SECOND * 5), None, Some(SECOND * 2), MS * 1_800),
        (
            OnCancel::FailureIfSlow,
            Some(SECOND * 5),
            None,
            SECOND * 5 + MS,
        ),
        (
            OnCancel::FailureIfSlow,
            Some(SECOND * 5),
            Some(SECOND),
            MS * 900,
        ),
        (OnCancel::FailureIfSlow, None, Some(MS * 500), MS * 450),
        // The floor is shorter, and decides.
        (OnCancel::FailureIfSlow, None, Some(SECOND * 30), SECOND),
    ] {
        let mut evidence = evidence(rule, slow);
        let shown = format!("{rule:?}, {slow:?}, {limit:?}");
        assert!(
            !evidence.is_failure(SECOND, threshold - MS, limit),
            "{shown}"
        );
        assert!(evidence.is_failure(SECOND, threshold, limit), "{shown}");
    }
}

#[test]
fn ignore_ignores_every_cancelled_call() {
    let mut evidence = evidence(OnCancel::Ignore, Some(MS));
    assert!(!evidence.is_failure(SECOND, SECOND * 3_600, Some(MS)));
}

#[test]
fn successes_do_not_age_while_no_call_is_admitted() {
    let mut evidence = evidence(OnCancel::FailureIfSlow, None);
    evidence.record_success(SECOND * 5, SECOND * 3);
    evidence.pause(SECOND * 600);
    assert!(!evidence.is_failure(SECOND * 620, SECOND * 2, None));
    assert!(evidence.is_failure(SECOND * 700, SECOND * 2, None));
}

#[derive(Debug, Clone)]
enum Step {
    Passes(u32),
    /// The clock was read before another thread's reading.
    Back(u32),
    Succeeds(u32),
    Cut(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..30_000_u32).prop_map(Step::Passes),
        (0..3_000_u32).prop_map(Step::Back),
        (0..8_000_u32).prop_map(Step::Succeeds),
        (0..8_000_u32).prop_map(Step::Cut),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    /// The model keeps all successes. Those between 60 and 70 seconds old may count or not.
    #[test]
    fn agrees_with_a_model_that_keeps_everything(steps in steps()) {
        let mut evidence = evidence(OnCancel::FailureIfSlow, None);
        let mut all: Vec<(Duration, Duration)> = Vec::new();
        // `newest` is the latest time given to the policy.
        let (mut now, mut newest) = (Duration::ZERO, Duration::ZERO);
        for step in steps {
            match step {
                Step::Passes(ms) => now = newest.max(now) + MS * ms,
                Step::Back(ms) => now = newest.saturating_sub(MS * ms),
                Step::Succeeds(ms) => {
                    evidence.record_success(now, MS * ms);
                    newest = newest.max(now);
                    all.push((newest, MS * ms));
                }
                Step::Cut(ms) => {
                    newest = newest.max(now);
                    let time = newest;
                    let within = |span: Duration| {
                        let recent = all.iter().filter(|(at, _)| *at + span > time);
                        recent.map(|(_, ran)| *ran).max().unwrap_or_default().max(SECOND - MS)
                    };
                    let failed = evidence.is_failure(now, MS * ms, None);
                    if MS * ms <= within(SECOND * 60) {
                        prop_assert!(!failed);
                    }
                    if MS * ms > within(SECOND * 70) {
                        prop_assert!(failed);
                    }
                }
            }
        }
    }

    #[test]
    fn survives_any_numbers(now in any::<u64>(), ran in any::<u64>(), limit in any::<Option<u64>>()) {
        let nanos = Duration::from_nanos;
        for rule in [OnCancel::Ignore, OnCancel::FailureIfSlow, OnCancel::FailureAfter(Duration::MAX)] {
            let mut evidence = Evidence::new(rule, Some(Duration::MAX), nanos(now));
            evidence.pause(Duration::MAX);
            evidence.record_success(nanos(now), Duration::MAX);
            evidence.is_failure(nanos(now), nanos(ran), limit.map(nanos));
        }
    }
}
