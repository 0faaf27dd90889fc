use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A service that remembers the steps of one order.
#[derive(Debug, Default)]
struct Service {
    held: u32,
    is_forbidden: bool,
    sold: bool,
}

impl Service {
    /// Reserves or charges, once.
    fn take(&mut self, can: bool) -> Answer {
        if self.is_forbidden || (!can && self.held == 0) {
            return Answer::Declined;
        }
        self.held = 1;
        Answer::Done
    }

    /// Undoes it, and forbids a repetition that is still on its way.
    fn undo(&mut self) -> Answer {
        (self.held, self.is_forbidden) = (0, true);
        Answer::Done
    }

    fn confirm(&mut self) -> Answer {
        if self.held == 0 {
            return Answer::Declined;
        }
        self.sold = true;
        Answer::Done
    }
}

/// What happens to one attempt of a step.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Answered,
    /// Lost on the way there.
    Lost,
    /// Done, but the answer is lost.
    AnswerLost,
    /// The orchestrator crashes after the step, before it stores the new state.
    Crash,
    /// The step arrives once more, later.
    Late,
}

proptest! {
    #[test]
    fn every_order_comes_to_an_end_that_the_books_agree_with(
        fates in vec(prop_oneof![
            Just(Fate::Answered), Just(Fate::Lost), Just(Fate::AnswerLost),
            Just(Fate::Crash), Just(Fate::Late),
        ], 0..40),
        has_stock in any::<bool>(),
        has_money in any::<bool>(),
    ) {
        let (mut stock, mut payments) = (Service::default(), Service::default());
        let mut state = State::FIRST;
        let mut late = Vec::new();
        // After all faults everything works, so the order ends.
        let fates = fates.into_iter().chain([Fate::Answered; 10]);
        for fate in fates {
            let Some(step) = state.next() else { break };
            let mut act = |step| match step {
                Step::Reserve => stock.take(has_stock),
                Step::Charge => payments.take(has_money),
                Step::Confirm => stock.confirm(),
                Step::Refund => payments.undo(),
                Step::Release => stock.undo(),
            };
            let answer = match fate {
                Fate::Lost => Answer::Unknown,
                Fate::Answered => act(step),
                Fate::AnswerLost => { act(step); Answer::Unknown }
                Fate::Crash => { act(step); continue }
                Fate::Late => { late.push(step); Answer::Unknown }
            };
            state = state.after(answer);
            // What was sent before arrives at any time.
            if late.len() > 1 {
                act(late.remove(0));
            }
        }
        for step in late {
            match step {
                Step::Reserve => { stock.take(has_stock); }
                Step::Charge => { payments.take(has_money); }
                Step::Confirm => { stock.confirm(); }
                Step::Refund => { payments.undo(); }
                Step::Release => { stock.undo(); }
            }
        }
        prop_assert!(state.is_end(), "{state:?}");
        let is_confirmed = state == State::Confirmed;
        prop_assert_eq!(stock.held == 1, is_confirmed);
        prop_assert_eq!(payments.held == 1, is_confirmed);
        prop_assert_eq!(stock.sold, is_confirmed);
        prop_assert!(!is_confirmed || (has_stock && has_money));
    }
}
