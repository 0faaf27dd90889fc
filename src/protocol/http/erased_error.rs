use std::any::Any;
use std::error::Error as StdError;
use std::fmt;

use super::classify::outcome_of_error;
use super::unprocessed::is_harmless_refusal;
use crate::protocol::grpc::{Cause, cause};
use crate::vocabulary::{error::WithRejection, outcome::Outcome, rejection::Rejection};

/// The error that a custom [`Classify`](crate::Classify) receives in a standard stack.
///
/// A [standard stack](crate::stack) erases the type of its classifier, so the classifier cannot
/// receive errors of every type. It receives this one instead, which a custom classifier can
/// delegate to [`HttpClassifier`](super::HttpClassifier) or
/// [`GrpcClassifier`](crate::grpc::GrpcClassifier). To inspect the error itself, implement
/// [`ClassifyEnd::at_error`](super::ClassifyEnd::at_error).
///
/// ```
/// use mainstay::http::{ClassifyEnd, EndOfBody, HttpClassifier, HttpResponse};
/// use mainstay::{Classify, Outcome, Verdict, http};
///
/// /// Counts a 404 as a failure.
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

    pub(crate) fn find(error: &dyn Any) -> Option<&Self> {
        error.downcast_ref()
    }

    /// The outcome that [`HttpClassifier`](super::HttpClassifier) gives the error.
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
