//! The breaker against its model: with each outcome recorded singly, and with successes credited in
//! bulk where [`Front`] permits it. It also closes again from any state.

use proptest::prelude::*;

use super::{
    inputs_tests::{MS, Step, config, steps},
    model::{Model, change},
    report::Front,
    *,
};

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
        assert_eq!(config.checked(), Ok(()), "{config:?}");
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
