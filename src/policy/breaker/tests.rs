//! The breaker against its model: with each outcome recorded singly, and with successes credited in
//! bulk where [`Front`] permits it. It also closes again from any state.

use proptest::prelude::*;

use super::{
    model::{Model, change},
    report::Front,
    *,
};
use crate::policy::window::Window;

const MS: Duration = Duration::from_millis(1);

#[derive(Debug, Clone)]
enum Step {
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

fn steps(back: bool) -> impl Strategy<Value = Vec<Step>> {
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

fn config() -> impl Strategy<Value = Config> {
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
                    slow_calls: slow_rate.map(|rate| (MS * 20, rate)),
                    window,
                    open_for: MS * 50,
                    open_factor,
                    open_max: MS * 50 * cap,
                    jitter,
                    probes,
                    probe_life: MS * life,
                    recovery,
                    mode,
                    on_cancel,
                }
            },
        )
}

/// A breaker that is used through its [`Front`] where possible.
struct Fronted {
    breaker: Breaker,
    front: Front,
    successes: u64,
}

impl Fronted {
    fn new(breaker: Breaker) -> Self {
        let front = breaker.front();
        Self {
            breaker,
            front,
            successes: 0,
        }
    }

    fn slowly<T>(&mut self, f: impl FnOnce(&mut Breaker) -> T) -> T {
        self.breaker.credit(std::mem::take(&mut self.successes));
        let result = f(&mut self.breaker);
        self.front = self.breaker.front();
        result
    }

    fn admit(&mut self, now: Duration, random: f64) -> (Decision, Option<Transition>) {
        match self.front.state {
            State::Closed => (Decision::Admit(Ticket::counted(self.front.epoch)), None),
            State::Open if now < self.front.open_until && self.front.mode == Mode::Enforce => {
                let retry_after = Some(self.front.open_until - now);
                (Decision::Reject { retry_after }, None)
            }
            _ => self.slowly(|breaker| breaker.admit(now, random)),
        }
    }

    fn record(
        &mut self,
        now: Duration,
        ticket: Ticket,
        outcome: Outcome,
        elapsed: Duration,
        retry_after: Option<Duration>,
        random: f64,
    ) -> Option<Transition> {
        let plain = outcome == Outcome::Success && elapsed <= MS * 20;
        let free = self.front.counts_free && now < self.front.bucket_ends;
        if plain && free && ticket == Ticket::counted(self.front.epoch) {
            self.successes += 1;
            return None;
        }
        self.slowly(|breaker| breaker.record(now, ticket, outcome, elapsed, retry_after, random))
    }
}

/// Drives the breaker, its model, and the breaker behind its front together.
struct Run {
    now: Duration,
    exact: Breaker,
    fronted: Option<Fronted>,
    model: Model,
    pending: Vec<Ticket>,
    random: f64,
    trips_on_success: u32,
}

impl Run {
    fn new(config: Config, fronted: bool) -> Self {
        let now = MS * 7;
        assert_eq!(config.check(), Ok(()), "{config:?}");
        Self {
            now,
            exact: Breaker::new(config, now),
            fronted: fronted.then(|| Fronted::new(Breaker::new(config, now))),
            model: Model::new(config, now),
            pending: Vec::new(),
            random: 0.0,
            trips_on_success: 0,
        }
    }

    fn admit(&mut self) -> Option<Ticket> {
        let (decision, transition) = self.exact.admit(self.now, self.random);
        let (expected, expected_change) = self.model.admit(self.now, transition.as_ref());
        assert_eq!(
            (decision, change(transition.as_ref())),
            (expected, expected_change)
        );
        if let Some(fronted) = &mut self.fronted {
            assert_eq!(fronted.admit(self.now, self.random), (decision, transition));
        }
        match decision {
            Decision::Admit(ticket) => Some(ticket),
            Decision::Reject { retry_after } => {
                assert_ne!(retry_after, Some(Duration::ZERO));
                None
            }
        }
    }

    fn record(
        &mut self,
        ticket: Ticket,
        outcome: Outcome,
        elapsed: Duration,
        ask: Option<Duration>,
    ) {
        let (now, random) = (self.now, self.random);
        let transition = self
            .exact
            .record(now, ticket, outcome, elapsed, ask, random);
        let expected = self
            .model
            .record(now, ticket, outcome, elapsed, ask, transition.as_ref());
        assert_eq!(change(transition.as_ref()), expected);
        let from_closed = expected.is_some_and(|(from, ..)| from == State::Closed);
        self.trips_on_success += u32::from(from_closed && outcome == Outcome::Success);
        if let Some(fronted) = &mut self.fronted {
            let other = fronted.record(now, ticket, outcome, elapsed, ask, random);
            assert_eq!(other, transition);
        }
    }

    fn answer(&mut self, ticket: Ticket, elapsed: Duration) {
        let (now, random) = (self.now, self.random);
        let transition = self.exact.answered(now, ticket, elapsed, random);
        let expected = self
            .model
            .answered(now, ticket, elapsed, transition.as_ref());
        assert_eq!(change(transition.as_ref()), expected);
        if let Some(fronted) = &mut self.fronted {
            let other = fronted.slowly(|breaker| breaker.answered(now, ticket, elapsed, random));
            assert_eq!(other, transition);
        }
    }

    fn step(&mut self, step: Step) {
        self.random = (self.random + 0.618_033_988_75).fract();
        match step {
            Step::Pass(time) => self.now += time,
            Step::Back(time) => self.now = self.now.saturating_sub(time),
            Step::Admit => {
                let ticket = self.admit();
                self.pending.extend(ticket);
            }
            Step::Finish {
                which,
                outcome,
                elapsed,
                retry_after,
            } => {
                if !self.pending.is_empty() {
                    let ticket = self.pending.swap_remove(which.index(self.pending.len()));
                    self.record(ticket, outcome, elapsed, retry_after);
                }
            }
            Step::Answer { which, elapsed } => {
                if !self.pending.is_empty() {
                    let ticket = self.pending[which.index(self.pending.len())];
                    self.answer(ticket, elapsed);
                }
            }
            Step::Succeed => {
                if let Some(ticket) = self.admit() {
                    self.record(ticket, Outcome::Success, MS, None);
                }
            }
            Step::Fail => {
                if let Some(ticket) = self.admit() {
                    self.record(ticket, Outcome::Failure, MS, None);
                }
            }
            Step::Force(state) => {
                let force = |breaker: &mut Breaker, now| match state {
                    State::ForcedOpen => breaker.force_open(now),
                    State::ForcedClosed => breaker.force_closed(now),
                    _ => breaker.reset(now),
                };
                let transition = force(&mut self.exact, self.now);
                assert_eq!(
                    change(transition.as_ref()),
                    self.model.force(self.now, state)
                );
                if let Some(fronted) = &mut self.fronted {
                    let now = self.now;
                    assert_eq!(fronted.slowly(|breaker| force(breaker, now)), transition);
                }
            }
            Step::Look => self.look(),
        }
        assert_eq!(self.exact.state(), self.model.state);
        if let Some(fronted) = &self.fronted {
            assert_eq!(fronted.front.state, self.model.state);
            assert_eq!(fronted.front.epoch, self.exact.epoch());
        }
    }

    fn look(&mut self) {
        let seen = self.exact.snapshot(self.now);
        // The model otherwise takes its time from calls.
        self.model.force_time(self.now);
        let counts = (
            seen.calls,
            seen.failures,
            seen.slow_calls,
            seen.consecutive_failures,
        );
        assert_eq!(counts, self.model.counts());
        if let Some(fronted) = &mut self.fronted {
            let now = self.now;
            assert_eq!(fronted.slowly(|breaker| breaker.snapshot(now)), seen);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_a_model_that_keeps_everything(config in config(), steps in steps(true)) {
        let mut run = Run::new(config, false);
        for step in steps {
            run.step(step);
        }
        run.look();
    }

    #[test]
    fn successes_credited_in_bulk_change_nothing(config in config(), steps in steps(false)) {
        let mut run = Run::new(config, true);
        for step in steps {
            run.step(step);
        }
        run.look();
    }

    #[test]
    fn finds_back_to_closed_from_anywhere(config in config(), steps in steps(true)) {
        let mut run = Run::new(Config { mode: Mode::Enforce, ..config }, false);
        for step in steps {
            if !matches!(step, Step::Force(_)) {
                run.step(step);
            }
        }
        for _ in 0..12 {
            run.now += Duration::from_secs(1);
            run.step(Step::Succeed);
        }
        prop_assert_eq!(run.model.state, State::Closed);
    }

    #[test]
    fn survives_any_numbers(
        config in config(),
        calls in prop::collection::vec((any::<u64>(), any::<f64>(), any::<u64>(), 0..4_u8), 0..100),
    ) {
        let mut breaker = Breaker::new(config, Duration::MAX);
        let mut breaker_too = Breaker::new(config, Duration::ZERO);
        for (now, random, elapsed, outcome) in calls {
            let far = if now % 3 == 0 { Duration::MAX } else { Duration::from_nanos(now) };
            let outcome = match outcome {
                0 => Outcome::Success,
                1 => Outcome::Failure,
                2 => Outcome::Cancelled,
                _ => Outcome::Ignored,
            };
            for breaker in [&mut breaker, &mut breaker_too] {
                if let (Decision::Admit(ticket), _) = breaker.admit(far, random) {
                    let elapsed = Duration::from_secs(elapsed);
                    breaker.record(far, ticket, outcome, elapsed, Some(Duration::MAX), random);
                }
                breaker.credit(elapsed);
                breaker.snapshot(far);
            }
        }
    }
}

/// The property above must cover trips on successes.
#[test]
fn the_runs_trip_on_successes_often() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};

    let mut runner = TestRunner::deterministic();
    let mut found = 0;
    for _ in 0..200 {
        let config = config().new_tree(&mut runner).expect("a config").current();
        let steps = steps(false).new_tree(&mut runner).expect("steps").current();
        let mut run = Run::new(config, true);
        for step in steps {
            run.step(step);
        }
        found += run.trips_on_success;
    }
    assert!(found > 15, "only {found}");
}
