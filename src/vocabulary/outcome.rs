//! How a call went, in the few words that every policy understands, and who says so.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::vocabulary::context;
use crate::vocabulary::{
    error::WithRejection,
    reason::Reason,
    rejection::{Rejection, TimeLimit},
};

/// How a call went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The call did what it should.
    Success,
    /// The call failed in a way that says something about the health of what was called.
    Failure,
    /// The call says nothing about health (a bad request, say): it is as if it had not been made.
    Ignored,
    /// Somebody ended the call before there was an answer: its caller went away, or the caller's deadline ran out. A policy
    /// records this by itself; a classifier may say it of a result that means the same. A circuit breaker and an adaptive
    /// limit take it for a failure if the call had run for too long: see [`OnCancel`](crate::OnCancel).
    Cancelled,
}

impl Outcome {
    /// The outcome as one word for labels and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Ignored => "ignored",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a classifier says of a result: the outcome, whether it tells of overload, and how long
/// whoever answered asked to be left alone (`Retry-After`), if it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    outcome: Outcome,
    overload: bool,
    deadline_exceeded: bool,
    /// In milliseconds; `NO_HINT` where there is none. The whole is one word, which is passed in a register.
    retry_after: u32,
}

const NO_HINT: u32 = u32::MAX;

impl Verdict {
    /// A verdict without a hint.
    #[must_use]
    #[inline]
    pub const fn new(outcome: Outcome) -> Self {
        Self {
            outcome,
            overload: false,
            deadline_exceeded: false,
            retry_after: NO_HINT,
        }
    }

    /// Sets whether the result is a sign of overload: the service had too much to do and said so (503,
    /// `UNAVAILABLE`). An adaptive limit gives way to it; other failures do not move the limit. A call
    /// that ran into a time limit counts as overload without a classifier's help.
    #[must_use]
    pub const fn with_overload(mut self, overload: bool) -> Self {
        self.overload = overload;
        self
    }

    /// Sets whether the service answered only that the call's time had run out (504, 408, 499,
    /// `DEADLINE_EXCEEDED`). Where the deadline that was propagated to it has run out indeed, the call then counts as
    /// [cancelled](Outcome::Cancelled), whatever its outcome: that deadline is the caller's choice.
    #[must_use]
    pub const fn with_deadline_exceeded(mut self, exceeded: bool) -> Self {
        self.deadline_exceeded = exceeded;
        self
    }

    /// The same, with the time that whoever answered asked to be left alone: rounded up to milliseconds, and at most 49 days.
    #[must_use]
    pub fn with_retry_after(mut self, after: Option<Duration>) -> Self {
        self.retry_after = match after {
            None => NO_HINT,
            Some(after) => {
                let millis = after.as_nanos().div_ceil(1_000_000);
                u32::try_from(millis).unwrap_or(NO_HINT).min(NO_HINT - 1)
            }
        };
        self
    }

    /// How the call went.
    #[must_use]
    #[inline]
    pub const fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Whether it tells of overload.
    #[must_use]
    #[inline]
    pub const fn is_overload(&self) -> bool {
        self.overload
    }

    /// Whether the service answered only that the call's time had run out.
    #[must_use]
    #[inline]
    pub const fn is_deadline_exceeded(&self) -> bool {
        self.deadline_exceeded
    }

    /// How long whoever answered asked to be left alone.
    #[must_use]
    #[inline]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self.retry_after {
            NO_HINT => None,
            millis => Some(Duration::from_millis(millis as u64)),
        }
    }
}

impl From<Outcome> for Verdict {
    #[inline]
    fn from(outcome: Outcome) -> Self {
        Self::new(outcome)
    }
}

/// Says how a call went from its result.
///
/// The error is the *grown* one (see [`WithRejection`](crate::WithRejection)), so that a classifier
/// stays the same wherever in a stack its layer stands. Results that are a rejection of a call that
/// was not sent are never shown to a classifier: they are [`Outcome::Ignored`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot judge a `Result<&{Res}, &{Err}>`",
    label = "this classifier does not know the results of the service",
    note = "the error is the grown one (see `mainstay::WithRejection`); for a classifier of your own, write: `impl mainstay::Classify<{Res}, {Err}> for {Self}`"
)]
pub trait Classify<Res, Err> {
    /// How it went.
    fn classify(&self, result: Result<&Res, &Err>) -> Verdict;
}

/// The classifier that needs no configuration: a response is a success, an error is a failure.
#[derive(Debug, Clone, Copy, Default)]
pub struct ErrorsFail;

impl<Res, Err> Classify<Res, Err> for ErrorsFail {
    #[inline]
    fn classify(&self, result: Result<&Res, &Err>) -> Verdict {
        match result {
            Ok(_) => Outcome::Success.into(),
            Err(_) => Outcome::Failure.into(),
        }
    }
}

impl<C, Res, Err> Classify<Res, Err> for Arc<C>
where
    C: Classify<Res, Err> + ?Sized,
{
    #[inline]
    fn classify(&self, result: Result<&Res, &Err>) -> Verdict {
        (**self).classify(result)
    }
}

/// A closure as a classifier. Made by the builders' `classify`.
pub struct ClassifyFn<F>(pub(crate) F);

impl<F> fmt::Debug for ClassifyFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClassifyFn(..)")
    }
}

impl<Res, Err, V, F> Classify<Res, Err> for ClassifyFn<F>
where
    F: Fn(Result<&Res, &Err>) -> V,
    V: Into<Verdict>,
{
    #[inline]
    fn classify(&self, result: Result<&Res, &Err>) -> Verdict {
        (self.0)(result).into()
    }
}

/// Whether a result is the rejection of a call that never reached the service: it says nothing about the
/// service, and it is a policy's decision that a retry must respect.
#[inline]
pub(crate) fn not_sent<Res, Err: WithRejection>(result: &Result<Res, Err>) -> bool {
    rejected(result).is_some_and(Rejection::not_sent)
}

/// Whether a result is that of a call that was sent and timed out.
#[inline]
pub(crate) fn timed_out<Res, Err: WithRejection>(result: &Result<Res, Err>) -> bool {
    rejected(result).is_some_and(|r| r.reason() == Reason::TimedOut)
}

/// The verdict on a call that a time limit further in ended, whatever the classifier said.
#[cold]
pub(crate) fn of_timed_out<Res, Err: WithRejection>(
    verdict: Verdict,
    result: &Result<Res, Err>,
) -> Verdict {
    let limit = rejected(result).and_then(Rejection::time_limit);
    let is_own = match limit {
        // The request is not complete: nobody could answer it.
        _ if context::waits_for_its_caller() => false,
        // The caller's: its length is the caller's choice.
        Some(TimeLimit::Deadline(_)) => false,
        // A layer's, which is also further in than the one that asks, unless the deadline is known here, too.
        Some(TimeLimit::Outer(_)) => !context::deadline_has_passed(),
        _ => true,
    };
    if is_own {
        return verdict.with_overload(true).with_deadline_exceeded(false);
    }
    match verdict.outcome() {
        Outcome::Failure => CANCELLED,
        _ => verdict.with_overload(false),
    }
}

/// The verdict on an answer which says that the time had run out, after so long.
#[cold]
pub(crate) fn of_deadline_exceeded(verdict: Verdict, ran: Duration) -> Verdict {
    if context::has_run_out(ran) {
        CANCELLED
    } else {
        verdict
    }
}

#[inline]
fn rejected<Res, Err: WithRejection>(result: &Result<Res, Err>) -> Option<&Rejection> {
    result.as_ref().err().and_then(WithRejection::rejection)
}

/// The verdicts on calls that ended in a way that no response tells.
pub(crate) const FAILED: Verdict = Verdict::new(Outcome::Failure);
pub(crate) const CANCELLED: Verdict = Verdict::new(Outcome::Cancelled);
pub(crate) const IGNORED: Verdict = Verdict::new(Outcome::Ignored);
