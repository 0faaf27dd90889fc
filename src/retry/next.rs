//! The next attempt: whether there may be one, when it is sent, and what it costs.

use std::time::Duration;

use super::budget::Payment;
use super::layer::Settings;
use crate::observe::{RetryCause, RetryRefused};
use crate::policy::backoff::{Backoff, Jitter};
use crate::runtime::{Moment, random};

/// How often a call is sent again because the server refused it unseen. With the waits below it takes some 18 seconds to use
/// them up.
pub(super) const MOST_REFUSALS: u32 = 30;

/// The waits after refusals. They are short at first, as a server has room again whenever a call ends, and never close to zero.
const AFTER_REFUSAL: Backoff = Backoff::exponential(Duration::from_millis(10))
    .cap(Duration::from_secs(1))
    .jitter(Jitter::Equal);

/// How far the back-off has got.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Steps {
    taken: u32,
    previous: Option<Duration>,
    refusals: u32,
}

impl Steps {
    /// Whether a refusal of the next attempt is an error as any other.
    pub(super) fn refusals_are_used_up(self) -> bool {
        self.refusals >= MOST_REFUSALS
    }
}

/// The attempt that follows, decided before the last one's response is given up.
pub(super) struct Next {
    /// Its number.
    pub(super) attempt: u32,
    pub(super) at: Moment,
    pub(super) delay: Duration,
    pub(super) steps: Steps,
    pub(super) payment: Option<Payment>,
}

impl Settings {
    pub(super) fn next(
        &self,
        cause: RetryCause,
        attempt: u32,
        steps: Steps,
        hint: Option<Duration>,
        deadline: Moment,
    ) -> Result<Next, RetryRefused> {
        if cause == RetryCause::Refused {
            return Next::after_refusal(attempt, steps, deadline);
        }
        if attempt >= self.attempts {
            return Err(RetryRefused::Attempts);
        }
        if hint.is_some_and(|hint| hint > self.max_retry_after) {
            return Err(RetryRefused::HintTooLong);
        }
        let delay = hint.unwrap_or_else(|| {
            let step = steps.taken.saturating_add(1);
            self.backoff.delay(step, steps.previous, random())
        });
        let at = before(deadline, delay)?;
        // The budget comes last: what anything else here forbids is not paid for.
        let payment = match &self.budget {
            Some(budget) if cause != RetryCause::NotSent => {
                Some(budget.withdraw().ok_or(RetryRefused::Budget)?)
            }
            _ => None,
        };
        Ok(Next {
            attempt: attempt + 1,
            at,
            delay,
            // After a server's own hint the back-off starts anew.
            steps: match hint {
                Some(_) => Steps {
                    refusals: steps.refusals,
                    ..Steps::default()
                },
                None => Steps {
                    taken: steps.taken.saturating_add(1),
                    previous: Some(delay),
                    refusals: steps.refusals,
                },
            },
            payment,
        })
    }
}

impl Next {
    /// The same attempt once more: it has cost the server nothing, and costs the budget nothing.
    fn after_refusal(attempt: u32, steps: Steps, deadline: Moment) -> Result<Self, RetryRefused> {
        let refusals = steps.refusals + 1;
        let delay = AFTER_REFUSAL.delay(refusals, None, random());
        Ok(Self {
            attempt,
            at: before(deadline, delay)?,
            delay,
            steps: Steps { refusals, ..steps },
            payment: None,
        })
    }
}

fn before(deadline: Moment, delay: Duration) -> Result<Moment, RetryRefused> {
    let at = Moment::now().after(delay);
    if at >= deadline {
        return Err(RetryRefused::Deadline);
    }
    Ok(at)
}
