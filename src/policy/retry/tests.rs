use std::cell::Cell;

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

/// How an attempt of a random call ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Ending {
    /// A service was not ready; no policy is asked.
    Unready,
    Decided(Decision),
}

#[derive(Debug, Clone, Copy)]
struct Step {
    ending: Ending,
    /// How long the attempt takes, in milliseconds.
    runs: u64,
    random: f64,
    /// Whether the request can be sent again, and why not.
    replay: Result<(), RetryRefused>,
}

fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![
        1 => Just(Ending::Unready),
        1 => Just(Ending::Decided(Decision::Return)),
        1 => Just(Ending::Decided(Decision::Fail)),
        8 => Just(Ending::Decided(Decision::Retry)),
        4 => (0..60_u32).prop_map(|ms| Ending::Decided(Decision::RetryAfter(MS * ms))),
        2 => Just(Ending::Decided(Decision::RetryUnsent)),
        20 => Just(Ending::Decided(Decision::RetryTransparently)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let replay = prop_oneof![
        30 => Just(Ok(())),
        1 => Just(Err(RetryRefused::Body)),
        1 => Just(Err(RetryRefused::TooLarge)),
    ];
    (ending(), 0..20_u64, 0.0..=1.0, replay).prop_map(|(ending, runs, random, replay)| Step {
        ending,
        runs,
        random,
        replay,
    })
}

fn backoff() -> impl Strategy<Value = Backoff> {
    let jitter = prop_oneof![
        Just(Jitter::None),
        Just(Jitter::Full),
        Just(Jitter::Equal),
        Just(Jitter::Decorrelated),
    ];
    (0..3, 1..40_u32, jitter).prop_map(|(growth, base, jitter)| {
        let base = MS * base;
        let backoff = match growth {
            _ if jitter == Jitter::Decorrelated => Backoff::exponential(base),
            0 => Backoff::constant(base),
            1 => Backoff::linear(base),
            _ => Backoff::exponential(base),
        };
        backoff.jitter(jitter)
    })
}

/// Tokens of a budget. A payment that is dropped unspent is paid back.
struct Purse {
    tokens: Cell<u32>,
    asked: Cell<u32>,
}

struct Paid<'a>(Option<&'a Purse>);

impl Purse {
    fn pay(&self) -> Option<Paid<'_>> {
        self.asked.set(self.asked.get() + 1);
        let left = self.tokens.get().checked_sub(1)?;
        self.tokens.set(left);
        Some(Paid(Some(self)))
    }
}

impl Paid<'_> {
    fn spend(mut self) {
        self.0 = None;
    }
}

impl Drop for Paid<'_> {
    fn drop(&mut self) {
        if let Some(purse) = self.0 {
            purse.tokens.set(purse.tokens.get() + 1);
        }
    }
}

/// Knows everything that happened, and counts it all again for each decision.
struct Model<'a> {
    attempts: u32,
    backoff: &'a Backoff,
    max_hint: Duration,
    deadline: Option<Duration>,
    past: Vec<(Ending, Duration)>,
}

#[derive(Debug, PartialEq)]
enum Expected {
    Answer,
    Refused(RetryRefused),
    Sent {
        attempt: u32,
        delay: Duration,
        pays: bool,
    },
}

impl Model<'_> {
    fn is_refusal((ending, _): &(Ending, Duration)) -> bool {
        *ending == Ending::Decided(Decision::RetryTransparently)
    }

    fn expect(&self, now: Duration, step: &Step, tokens: u32) -> Expected {
        let refusals = self.past.iter().filter(|past| Self::is_refusal(past));
        let refusals = u32::try_from(refusals.count()).unwrap().min(30);
        let made = u32::try_from(self.past.len()).unwrap() + 1 - refusals;
        let mut seen = 0;
        let counted = self.past.iter().filter(|past| {
            seen += u32::from(Self::is_refusal(past));
            !Self::is_refusal(past) || seen > 30
        });
        let counted: Vec<_> = counted.collect();
        let since_hint = counted
            .rsplit(|(ending, _)| matches!(ending, Ending::Decided(Decision::RetryAfter(_))));
        let since_hint = since_hint.into_iter().next().unwrap_or(&[]);
        let (is_free, hint) = match step.ending {
            Ending::Decided(Decision::Return | Decision::Fail) => return Expected::Answer,
            Ending::Decided(Decision::RetryTransparently) if refusals < 30 => {
                let whole = (MS * 10 * 2_u32.pow(refusals.min(10))).min(MS * 1_000);
                let delay = whole / 2 + (whole / 2).mul_f64(step.random);
                return self.send(now, step, (made, delay), None);
            }
            Ending::Unready | Ending::Decided(Decision::RetryUnsent) => (true, None),
            Ending::Decided(Decision::RetryAfter(hint)) => (false, Some(hint)),
            Ending::Decided(_) => (false, None),
        };
        if made == self.attempts {
            return Expected::Refused(RetryRefused::Attempts);
        }
        if hint > Some(self.max_hint) {
            return Expected::Refused(RetryRefused::HintTooLong);
        }
        let taken = u32::try_from(since_hint.len()).unwrap();
        let previous = since_hint.last().map(|(_, delay)| *delay);
        let delay = hint.unwrap_or_else(|| self.backoff.delay(taken + 1, previous, step.random));
        let tokens = (!is_free).then_some(tokens);
        self.send(now, step, (made + 1, delay), tokens)
    }

    fn send(
        &self,
        now: Duration,
        step: &Step,
        (attempt, delay): (u32, Duration),
        tokens: Option<u32>,
    ) -> Expected {
        if self
            .deadline
            .is_some_and(|deadline| now + delay >= deadline)
        {
            return Expected::Refused(RetryRefused::Deadline);
        }
        if tokens == Some(0) {
            return Expected::Refused(RetryRefused::Budget);
        }
        match step.replay {
            Err(why) => Expected::Refused(why),
            Ok(()) => Expected::Sent {
                attempt,
                delay,
                pays: tokens.is_some(),
            },
        }
    }
}

proptest! {
    #[test]
    fn agrees_with_a_model_that_keeps_everything(
        attempts in prop_oneof![1..6_u32, 1..=100_u32],
        backoff in backoff(),
        max_hint in 0..60_u32,
        deadline in prop::option::of(0..2_000_u32),
        tokens in prop_oneof![0..4_u32, Just(1_000)],
        steps in prop::collection::vec(step(), 0..150),
    ) {
        let rules = Rules { attempts, backoff: &backoff, max_hint: MS * max_hint };
        let purse = Purse { tokens: Cell::new(tokens), asked: Cell::new(0) };
        let deadline = deadline.map(|ms| MS * ms);
        let mut model = Model {
            attempts,
            backoff: &backoff,
            max_hint: rules.max_hint,
            deadline,
            past: Vec::new(),
        };
        let mut progress = Progress::FIRST;
        let (mut now, mut sent, mut paid, mut transparent) = (Duration::ZERO, 1, 0, 0);
        for step in &steps {
            now += MS * u32::try_from(step.runs).unwrap();
            let end = match step.ending {
                Ending::Unready => End::NotSent,
                Ending::Decided(decision) => End::of(decision, &progress),
            };
            let left = deadline.map(|deadline| deadline.saturating_sub(now));
            let known = Known { progress, left, random: step.random };
            let expected = model.expect(now, step, purse.tokens.get());
            purse.asked.set(0);
            let replays = Cell::new(0);
            let next = rules.next(end, known, || purse.pay(), |attempt| {
                replays.set(replays.get() + 1);
                step.replay.map(|()| attempt)
            });
            let counted = matches!(end, End::Failed(_));
            match next {
                Ok(None) => {
                    prop_assert_eq!(expected, Expected::Answer);
                    prop_assert_eq!((purse.asked.get(), replays.get()), (0, 0));
                    break;
                }
                Err(why) => {
                    prop_assert_eq!(expected, Expected::Refused(why));
                    let asks_budget = matches!(
                        why,
                        RetryRefused::Budget | RetryRefused::Body | RetryRefused::TooLarge
                    );
                    prop_assert_eq!(purse.asked.get(), u32::from(counted && asks_budget));
                    let asks_replay = step.replay == Err(why);
                    prop_assert_eq!(replays.get(), u32::from(asks_replay));
                    break;
                }
                Ok(Some(next)) => {
                    let attempt = next.progress.attempt();
                    let delay = next.delay;
                    let pays = next.payment.is_some();
                    prop_assert_eq!(expected, Expected::Sent { attempt, delay, pays });
                    prop_assert_eq!(purse.asked.get(), u32::from(counted));
                    prop_assert_eq!((replays.get(), next.request), (1, attempt));
                    prop_assert!(attempt <= attempts);
                    prop_assert!(deadline.is_none_or(|deadline| now + delay < deadline));
                    if let End::Failed(Some(hint)) = end {
                        prop_assert_eq!(delay, hint);
                    }
                    if let Some(payment) = next.payment {
                        payment.spend();
                        paid += 1;
                    }
                    sent += 1;
                    transparent += u32::from(end == End::Refused);
                    model.past.push((step.ending, delay));
                    now += delay;
                    progress = next.progress;
                }
            }
        }
        prop_assert_eq!(purse.tokens.get(), tokens - paid, "a payment is spent or paid back");
        prop_assert!(transparent <= MOST_REFUSALS);
        prop_assert!(sent - transparent <= attempts);
    }

    #[test]
    fn no_value_overflows(
        attempts in prop_oneof![Just(u32::MAX), any::<u32>()],
        hint in prop::option::of(prop_oneof![Just(Duration::MAX), any::<Duration>()]),
        max_hint in any::<Duration>(),
        left in prop::option::of(any::<Duration>()),
        random in any::<f64>(),
        attempt in prop_oneof![Just(u32::MAX), any::<u32>()],
        refused in any::<bool>(),
    ) {
        let backoff = Backoff::default();
        let rules = Rules { attempts, backoff: &backoff, max_hint };
        let progress = Progress {
            attempt,
            steps: attempt,
            previous: Some(Duration::MAX),
            refusals: attempt,
        };
        let end = if refused { End::Refused } else { End::Failed(hint) };
        let known = Known { progress, left, random };
        let _ = rules.next(end, known, || Some(()), |_| Ok(()));
    }
}

#[test]
fn ends_count_for_the_throttling_of_grpc_as_the_proposal_says() {
    let first = Progress::FIRST;
    let used_up = Progress {
        refusals: MOST_REFUSALS,
        ..first
    };
    for (decision, progress, is_success) in [
        (Decision::Return, first, Some(true)),
        (Decision::Retry, first, Some(false)),
        (Decision::RetryAfter(MS), first, Some(false)),
        (Decision::Fail, first, Some(false)),
        (Decision::RetryUnsent, first, None),
        (Decision::RetryTransparently, first, None),
        (Decision::RetryTransparently, used_up, Some(false)),
    ] {
        let end = End::of(decision, &progress);
        assert_eq!(end.is_success(), is_success, "{decision:?}");
        let cause = end.cause(|| RetryCause::Response);
        let expected = match end {
            End::Answer | End::Final => None,
            End::Failed(_) => Some(RetryCause::Response),
            End::NotSent => Some(RetryCause::NotSent),
            End::Refused => Some(RetryCause::Refused),
        };
        assert_eq!(cause, expected, "{decision:?}");
    }
}
