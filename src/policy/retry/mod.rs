//! Whether a call is tried again, when, and at whose expense.
//!
//! The retry layer classifies the end of an attempt ([`End`]) and passes on what it knows: how far
//! the call has got ([`Progress`]), the time left, a random number, and how to pay for a retry and
//! how to make its request. The decision is here, and so is the order in which these are asked:
//! a retry that anything else forbids is not paid for, and the request is taken away from the last
//! attempt only when the retry is certain.

mod reason;

pub use reason::{Decision, RetryCause, RetryRefused};

use std::time::Duration;

use super::backoff::{Backoff, Jitter};

/// How often a call is sent again because the server refused it unseen. With the waits of
/// [`AFTER_REFUSAL`] it takes some 18 seconds to use them up.
pub(crate) const MOST_REFUSALS: u32 = 30;

/// The waits after refusals. They are short at first, because a server can take another call
/// whenever one ends, and never close to zero.
const AFTER_REFUSAL: Backoff = Backoff::exponential(Duration::from_millis(10))
    .cap(Duration::from_secs(1))
    .jitter(Jitter::Equal);

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The result is the caller's answer, and no failure.
    Answer,
    /// A failure that must not be repeated.
    Final,
    /// A failure that another attempt may avoid, and the wait that the upstream asks for.
    Failed(Option<Duration>),
    /// The attempt did not leave this process.
    NotSent,
    /// The upstream refused the attempt unseen.
    Refused,
}

impl End {
    /// The end of an attempt by the decision on its result.
    #[inline]
    pub(crate) fn of(decision: Decision, progress: &Progress) -> Self {
        match decision {
            Decision::Return => Self::Answer,
            Decision::Retry => Self::Failed(None),
            Decision::RetryAfter(hint) => Self::Failed(Some(hint)),
            Decision::RetryUnsent => Self::NotSent,
            Decision::RetryTransparently if progress.refusals_are_used_up() => Self::Failed(None),
            Decision::RetryTransparently => Self::Refused,
            Decision::Fail => Self::Final,
        }
    }

    /// Whether the attempt is a success or a failure to the throttling of gRPC; `None` for one that
    /// no server has worked on.
    #[inline]
    pub(crate) const fn is_success(self) -> Option<bool> {
        match self {
            Self::Answer => Some(true),
            Self::Final | Self::Failed(_) => Some(false),
            Self::NotSent | Self::Refused => None,
        }
    }

    /// The cause of the retry that is called for, if one is; `failure` is the cause where the attempt
    /// failed.
    #[inline]
    pub(crate) fn cause(self, failure: impl FnOnce() -> RetryCause) -> Option<RetryCause> {
        match self {
            Self::Answer | Self::Final => None,
            Self::Failed(_) => Some(failure()),
            Self::NotSent => Some(RetryCause::NotSent),
            Self::Refused => Some(RetryCause::Refused),
        }
    }
}

/// How far a call has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    attempt: u32,
    /// Waits of the back-off since it began, or began anew.
    steps: u32,
    /// The last of these.
    previous: Option<Duration>,
    refusals: u32,
}

impl Progress {
    /// The first attempt is under way.
    pub(crate) const FIRST: Self = Self {
        attempt: 1,
        steps: 0,
        previous: None,
        refusals: 0,
    };

    /// The number of the attempt: 1 for the first.
    #[inline]
    pub(crate) const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether a refusal of the attempt is a failure like any other.
    #[inline]
    pub(crate) const fn refusals_are_used_up(&self) -> bool {
        self.refusals >= MOST_REFUSALS
    }
}

/// The settings that a decision depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules<'a> {
    /// Attempts of a call, the first included.
    pub(crate) attempts: u32,
    pub(crate) backoff: &'a Backoff,
    /// The longest wait that an upstream may ask for.
    pub(crate) max_hint: Duration,
}

/// What is known when an attempt has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    pub(crate) progress: Progress,
    /// The time left until the deadline; `None` without one.
    pub(crate) left: Option<Duration>,
    /// From 0 to 1.
    pub(crate) random: f64,
}

/// The attempt that follows.
#[derive(Debug)]
pub(crate) struct Next<Payment, Request> {
    /// How far the call has got then.
    pub(crate) progress: Progress,
    /// The wait before it is sent.
    pub(crate) delay: Duration,
    /// `None` where the retry costs nothing.
    pub(crate) payment: Option<Payment>,
    pub(crate) request: Request,
}

impl Rules<'_> {
    /// The attempt that follows one that ended like this; `None` where the result is the answer.
    ///
    /// `pay` asks the budget, at most once and only for a retry that costs something and that nothing
    /// else here forbids. `replay` makes the request of the attempt whose number it is given; it is
    /// asked last. A payment is dropped if there is no request.
    ///
    /// # Errors
    ///
    /// A retry is called for, and this forbids it.
    pub(crate) fn next<Payment, Request>(
        &self,
        end: End,
        known: Known,
        pay: impl FnOnce() -> Option<Payment>,
        replay: impl FnOnce(u32) -> Result<Request, RetryRefused>,
    ) -> Result<Option<Next<Payment, Request>>, RetryRefused> {
        let planned = match end {
            End::Answer | End::Final => return Ok(None),
            End::Refused => known.after_refusal(),
            End::NotSent => self.after_failure(known, None)?,
            End::Failed(hint) => self.after_failure(known, hint)?,
        };
        let (progress, delay) = planned;
        if known.left.is_some_and(|left| delay >= left) {
            return Err(RetryRefused::Deadline);
        }
        let payment = match end {
            End::Failed(_) => Some(pay().ok_or(RetryRefused::Budget)?),
            _ => None,
        };
        let request = replay(progress.attempt)?;
        Ok(Some(Next {
            progress,
            delay,
            payment,
            request,
        }))
    }

    fn after_failure(
        &self,
        known: Known,
        hint: Option<Duration>,
    ) -> Result<(Progress, Duration), RetryRefused> {
        let progress = known.progress;
        if progress.attempt >= self.attempts {
            return Err(RetryRefused::Attempts);
        }
        if hint.is_some_and(|hint| hint > self.max_hint) {
            return Err(RetryRefused::HintTooLong);
        }
        let attempt = progress.attempt.saturating_add(1);
        let refusals = progress.refusals;
        if let Some(hint) = hint {
            // After a hint of the upstream's own the back-off begins anew.
            let progress = Progress {
                attempt,
                refusals,
                ..Progress::FIRST
            };
            return Ok((progress, hint));
        }
        let steps = progress.steps.saturating_add(1);
        let delay = self.backoff.delay(steps, progress.previous, known.random);
        let progress = Progress {
            attempt,
            steps,
            previous: Some(delay),
            refusals,
        };
        Ok((progress, delay))
    }
}

impl Known {
    /// The same attempt once more: it has cost the server nothing, and costs the budget nothing.
    fn after_refusal(&self) -> (Progress, Duration) {
        let refusals = self.progress.refusals.saturating_add(1);
        let delay = AFTER_REFUSAL.delay(refusals, None, self.random);
        let progress = Progress {
            refusals,
            ..self.progress
        };
        (progress, delay)
    }
}

#[cfg(test)]
mod tests;
