//! An error without its type, for a classifier without its own.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;

use super::classify::outcome_of_error;
use super::unprocessed::is_harmless_refusal;
use crate::protocol::grpc::{Cause, cause};
use crate::vocabulary::{error::WithRejection, outcome::Outcome, rejection::Rejection};

/// An error of a standard stack, as a [`Classify`](crate::Classify) of your own sees it.
///
/// A [standard stack](crate::stack) keeps a classifier of your own without its type, so it cannot
/// show it errors of every type. It shows this one instead. It says as much of the error as
/// [`HttpClassifier`](super::HttpClassifier) and [`GrpcClassifier`](crate::grpc::GrpcClassifier)
/// need, so a classifier of your own can pass it on to them. To see the error itself, implement
/// [`ClassifyEnd::at_error`](super::ClassifyEnd::at_error).
///
/// ```
/// use mainstay::http::{ClassifyEnd, EndOfBody, HttpClassifier, HttpResponse};
/// use mainstay::{Classify, Outcome, Verdict, http};
///
/// /// As usual, except that this service has everything it is asked for.
/// struct MissingFails;
///
/// impl<Res: HttpResponse, Err: 'static> Classify<Res, Err> for MissingFails {
///     fn classify(&self, result: Result<&Res, &Err>) -> Verdict {
///         match result {
///             Ok(response) if response.status() == 404 => Outcome::Failure.into(),
///             result => HttpClassifier.classify(result),
///         }
///     }
/// }
///
/// impl ClassifyEnd for MissingFails {}
///
/// let stack = http::client("catalog")
///     .circuit_breaker(http::circuit_breaker().tracker(EndOfBody::new(MissingFails)))
///     .build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ErasedError {
    rejection: Option<Rejection>,
    outcome: Outcome,
    is_harmless_refusal: bool,
    cause: Cause,
}

impl ErasedError {
    #[cold]
    pub(crate) fn of<E: WithRejection + 'static>(error: &E) -> Self {
        Self {
            rejection: error.rejection().cloned(),
            outcome: outcome_of_error(error),
            is_harmless_refusal: is_harmless_refusal(error),
            cause: cause(error),
        }
    }

    /// The same of an error whose type is not known to be this one.
    pub(crate) fn find(error: &dyn Any) -> Option<&Self> {
        error.downcast_ref()
    }

    /// The outcome by [`HttpClassifier`](super::HttpClassifier).
    pub(super) const fn outcome(&self) -> Outcome {
        self.outcome
    }

    pub(super) const fn is_harmless_refusal(&self) -> bool {
        self.is_harmless_refusal
    }

    pub(crate) const fn cause(&self) -> Cause {
        self.cause
    }
}

impl WithRejection for ErasedError {
    type Error = Self;

    fn grow(self) -> Self {
        self
    }

    fn reject(rejection: Rejection) -> Self {
        Self::of(&rejection)
    }

    fn rejection(&self) -> Option<&Rejection> {
        self.rejection.as_ref()
    }
}

impl fmt::Display for ErasedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rejection {
            Some(rejection) => rejection.fmt(f),
            None => f.write_str("the inner service failed"),
        }
    }
}

impl StdError for ErasedError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.rejection.as_ref().map(|rejection| rejection as _)
    }
}
