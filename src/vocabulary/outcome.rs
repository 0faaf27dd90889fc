//! The outcome of a call, and the classifiers that decide it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::vocabulary::context;
use crate::vocabulary::{
    error::WithRejection,
    reason::Reason,
    rejection::{Rejection, TimeLimit},
};

/// The outcome of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The call succeeded.
    Success,
    /// The call failed in a way that says something about the health of the service.
    Failure,
    /// The call says nothing about the service's health, such as a bad request.
    Ignored,
    /// The call ended before there was a response: its caller went away, or the caller's deadline
    /// passed.
    ///
    /// Layers record this themselves; a classifier may return it, too. Circuit breakers and
    /// adaptive limits count it as a failure if the call ran for too long: see
    /// [`OnCancel`](crate::OnCancel).
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

/// A classifier's verdict on a result: the outcome, whether it shows overload, and the server's
/// `Retry-After`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    outcome: Outcome,
    overload: bool,
    deadline_exceeded: bool,
    /// In milliseconds, or `NO_HINT`. A verdict fits in one register.
    retry_after: u32,
}

const NO_HINT: u32 = u32::MAX;

impl Verdict {
    /// A verdict without overload and without a hint.
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

    /// Sets whether the result shows that the service is overloaded (503, `UNAVAILABLE`). Default
    /// `false`.
    ///
    /// An adaptive limit shrinks at overload, not at other failures. A call that a time limit ended
    /// counts as overload, whatever the classifier returns.
    #[must_use]
    pub const fn with_overload(mut self, overload: bool) -> Self {
        self.overload = overload;
        self
    }

    /// Sets whether the service answered that the call's time had run out (504, 408, 499,
    /// `DEADLINE_EXCEEDED`). Default `false`.
    ///
    /// If the propagated deadline has indeed passed, the call counts as
    /// [cancelled](Outcome::Cancelled), whatever its outcome: that deadline is the caller's choice.
    #[must_use]
    pub const fn with_deadline_exceeded(mut self, exceeded: bool) -> Self {
        self.deadline_exceeded = exceeded;
        self
    }

    /// Sets the server's `Retry-After`, rounded up to milliseconds, at most 49 days. Default none.
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

    /// The outcome of the call.
    #[must_use]
    #[inline]
    pub const fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Whether the result shows overload.
    #[must_use]
    #[inline]
    pub const fn is_overload(&self) -> bool {
        self.overload
    }

    /// Whether the service answered that the call's time had run out.
    #[must_use]
    #[inline]
    pub const fn is_deadline_exceeded(&self) -> bool {
        self.deadline_exceeded
    }

    /// The server's `Retry-After`.
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

/// Classifies the result of a call.
///
/// The error is the *grown* one (see [`WithRejection`](crate::WithRejection)), so a classifier
/// works at any position in a stack. Rejections of calls that were not sent never reach a
/// classifier: they are [`Outcome::Ignored`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot classify a `Result<&{Res}, &{Err}>`",
    label = "this classifier does not know the results of the service",
    note = "the error is the grown one (see `mainstay::WithRejection`); for a classifier of your own, write: `impl mainstay::Classify<{Res}, {Err}> for {Self}`"
)]
pub trait Classify<Res, Err> {
    /// The verdict on a result.
    fn classify(&self, result: Result<&Res, &Err>) -> Verdict;
}

/// The default classifier: a response is a success, an error is a failure.
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

/// A closure as a classifier, made by the builders' `classify`.
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

/// Whether a result is the rejection of a call that never reached the service. It says nothing
/// about the service, and a retry must respect it.
#[inline]
pub(crate) fn not_sent<Res, Err: WithRejection>(result: &Result<Res, Err>) -> bool {
    rejected(result).is_some_and(Rejection::not_sent)
}

/// Whether a result is the rejection of a call that was sent and timed out.
#[inline]
pub(crate) fn timed_out<Res, Err: WithRejection>(result: &Result<Res, Err>) -> bool {
    rejected(result).is_some_and(|r| r.reason() == Reason::TimedOut)
}

/// The verdict on a call that an inner time limit ended.
#[cold]
pub(crate) fn of_timed_out<Res, Err: WithRejection>(
    verdict: Verdict,
    result: &Result<Res, Err>,
) -> Verdict {
    let limit = rejected(result).and_then(Rejection::time_limit);
    let is_own = match limit {
        // The request is not complete, so the service could not answer it.
        _ if context::waits_for_its_caller() => false,
        // Its length is the caller's choice.
        Some(TimeLimit::Deadline(_)) => false,
        // The limit of another inner layer, unless the deadline has passed here, too.
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

/// The verdict on an answer that the time had run out, for a call that ran for `ran`.
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

// The verdicts on calls that no classifier sees.
pub(crate) const FAILED: Verdict = Verdict::new(Outcome::Failure);
pub(crate) const CANCELLED: Verdict = Verdict::new(Outcome::Cancelled);
pub(crate) const IGNORED: Verdict = Verdict::new(Outcome::Ignored);
