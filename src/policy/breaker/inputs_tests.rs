//! Random settings and steps for the tests of the breaker.

use proptest::prelude::*;

use super::*;
use crate::policy::window::Window;

pub(super) const MS: Duration = Duration::from_millis(1);

#[derive(Debug, Clone)]
pub(super) enum Step {
    Pass(Duration),
    /// The clock as read by a thread that waits for the lock meanwhile.
    Back(Duration),
    Admit,
    Finish {
        which: prop::sample::Index,
        outcome: Outcome,
        elapsed: Duration,
        retry_after: Option<Duration>,
    },
    /// A successful response head.
    Answer {
        which: prop::sample::Index,
        elapsed: Duration,
    },
    /// An admitted call that succeeds and is not slow.
    Succeed,
    /// An admitted call that fails.
    Fail,
    Look,
    Force(State),
}

pub(super) fn steps(back: bool) -> impl Strategy<Value = Vec<Step>> {
    let outcome = prop_oneof![
        3 => Just(Outcome::Success),
        3 => Just(Outcome::Failure),
        1 => Just(Outcome::Ignored),
        2 => Just(Outcome::Cancelled),
    ];
    let elapsed = prop_oneof![Just(0), Just(20), Just(21), 0..50_u32, Just(1_500)];
    let step = prop_oneof![
        8 => (0..12_u32).prop_map(|ms| Step::Pass(MS * ms)),
        2 => (0..400_u32).prop_map(|ms| Step::Pass(MS * ms)),
        1 => (0..u32::from(back) * 3 + 1).prop_map(|ms| Step::Back(MS * ms)),
        6 => Just(Step::Admit),
        8 => (any::<prop::sample::Index>(), outcome, elapsed, prop::option::weighted(0.2, 0..300_u32))
            .prop_map(|(which, outcome, elapsed, retry_after)| Step::Finish {
                which,
                outcome,
                elapsed: MS * elapsed,
                retry_after: retry_after.map(|ms| MS * ms),
            }),
        4 => (any::<prop::sample::Index>(), 0..50_u32)
            .prop_map(|(which, elapsed)| Step::Answer { which, elapsed: MS * elapsed }),
        12 => Just(Step::Succeed),
        5 => Just(Step::Fail),
        1 => Just(Step::Look),
    ];
    let rare = prop_oneof![
        Just(State::ForcedOpen),
        Just(State::ForcedClosed),
        Just(State::Closed)
    ];
    let step = prop_oneof![200 => step, 1 => rare.prop_map(Step::Force)];
    prop::collection::vec(step, 1..300)
}

pub(super) fn config() -> impl Strategy<Value = Config> {
    let window = prop_oneof![
        (6..12_u32).prop_map(Window::count),
        (1..8_u32, 1..40_u32)
            .prop_map(|(buckets, each)| Window::time(MS * buckets * each).buckets(buckets)),
    ];
    let rate = || prop_oneof![0.05..=1.0, Just(0.5), Just(1.0)];
    let rules = (
        prop::option::weighted(0.8, rate()),
        1..7_u32,
        prop::option::weighted(0.3, 1..6_u32),
        prop::option::weighted(0.3, rate()),
    );
    let open = (
        0.0..0.9,
        prop_oneof![Just(1.0), Just(2.0), Just(4.0)],
        1..5_u32,
    );
    let recovery = prop_oneof![
        Just(Recovery::AtOnce),
        (1..5_u32, 5..200_u32).prop_map(|(steps, over)| Recovery::Stepwise {
            steps,
            over: MS * over
        }),
    ];
    let on_cancel = prop_oneof![
        Just(None),
        Just(Some(OnCancel::Ignore)),
        (0..40_u32).prop_map(|ms| Some(OnCancel::FailureAfter(MS * ms))),
    ];
    let mode = prop_oneof![8 => Just(Mode::Enforce), 2 => Just(Mode::Shadow), 1 => Just(Mode::Off)];
    (
        window,
        rules,
        open,
        1..5_u32,
        25..80_u32,
        recovery,
        on_cancel,
        mode,
    )
        .prop_map(
            |(window, rules, open, probes, life, recovery, on_cancel, mode)| {
                let (failure_rate, min_calls, consecutive_failures, slow_rate) = rules;
                let (jitter, open_factor, cap) = open;
                let none = failure_rate.is_none() && slow_rate.is_none();
                Config {
                    failure_rate,
                    min_calls,
                    consecutive_failures: consecutive_failures.or(none.then_some(2)),
                    slow_calls: slow_rate.map(|rate| SlowCalls::new(MS * 20, rate)),
                    window,
                    open_for: MS * 50,
                    open_factor,
                    open_max: MS * 50 * cap,
                    jitter,
                    probes,
                    probe_life: Some(MS * life),
                    recovery,
                    mode,
                    on_cancel,
                }
            },
        )
}
