//! The retry decision: whether a call is retried, when, and whether the budget pays.
//!
//! The retry layer classifies the end of an attempt ([`End`]). It passes in the progress of the
//! call ([`Progress`]), the remaining time, a random number, and functions that pay for a retry and
//! make its request. Their order matters: the budget pays only for a retry that nothing else
//! forbids, and the request is taken from the last attempt only when the retry is certain.

mod reason;

pub use reason::{Decision, RetryCause, RetryRefused};

use std::time::Duration;

use super::backoff::{Backoff, Jitter};

/// The most transparent retries of a call. With the waits of [`AFTER_REFUSAL`] they take about 18
/// seconds.
pub(crate) const MOST_REFUSALS: u32 = 30;

/// The waits before transparent retries. They start short, because a server can accept another call
/// whenever one ends, and are never close to zero.
const AFTER_REFUSAL: Backoff = Backoff::exponential(Duration::from_millis(10))
    .cap(Duration::from_secs(1))
    .jitter(Jitter::Equal);

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The result is returned and is no failure.
    Answer,
    /// A failure that must not be retried.
    Final,
    /// A failure that may be retried, and the upstream's hint for the wait.
    Failed(Option<Duration>),
    /// The attempt did not leave this process.
    NotSent,
    /// The upstream refused the attempt without processing it.
    Refused,
}

impl End {
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

    /// Whether gRPC's retry throttling counts a success or a failure; `None` for an attempt that no
    /// server processed.
    #[inline]
    pub(crate) const fn is_success(self) -> Option<bool> {
        match self {
            Self::Answer => Some(true),
            Self::Final | Self::Failed(_) => Some(false),
            Self::NotSent | Self::Refused => None,
        }
    }

    /// The cause of the retry, if one is due; `failure` is the cause for a failed attempt.
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

/// The attempts and waits of a call so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    attempt: u32,
    /// The waits of the back-off since it last started.
    steps: u32,
    /// The last of these waits.
    previous: Option<Duration>,
    refusals: u32,
}

impl Progress {
    /// During the first attempt.
    pub(crate) const FIRST: Self = Self {
        attempt: 1,
        steps: 0,
        previous: None,
        refusals: 0,
    };

    /// The number of the attempt, from 1.
    #[inline]
    pub(crate) const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether a further refusal counts as a plain failure.
    #[inline]
    pub(crate) const fn refusals_are_used_up(&self) -> bool {
        self.refusals >= MOST_REFUSALS
    }
}

/// The settings that a decision depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules<'a> {
    /// Attempts of a call, including the first.
    pub(crate) attempts: u32,
    pub(crate) backoff: &'a Backoff,
    /// The longest accepted hint.
    pub(crate) max_hint: Duration,
}

/// The other inputs of a decision.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    pub(crate) progress: Progress,
    /// The remaining time until the deadline; `None` without one.
    pub(crate) left: Option<Duration>,
    /// From 0 to 1.
    pub(crate) random: f64,
}

/// The next attempt.
#[derive(Debug)]
pub(crate) struct Next<Payment, Request> {
    pub(crate) progress: Progress,
    /// The wait before the attempt.
    pub(crate) delay: Duration,
    /// `None` if the retry costs nothing.
    pub(crate) payment: Option<Payment>,
    pub(crate) request: Request,
}

impl Rules<'_> {
    /// The attempt after one with this `end`; `None` if the result is returned.
    ///
    /// `pay` is called at most once, and only for a retry that has a cost and that nothing else
    /// forbids. `replay` is called last and makes the request for the given attempt number. If it
    /// fails, the payment is dropped.
    ///
    /// # Errors
    ///
    /// The reason, if a retry is due but must not be made.
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
            // A hint restarts the back-off.
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
    /// The same attempt again. It costs the budget nothing, as it cost the server nothing.
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
