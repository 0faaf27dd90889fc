//! Classification of the end of a body, when the head did not decide.

use std::any::Any;

use http::{HeaderMap, StatusCode};

use super::classify::{ClassifyHead, HttpClassifier};
use super::head::{ContentType, ResponseHead};
use crate::call::track::Head;
use crate::protocol::grpc::{self, GrpcClassifier};
use crate::vocabulary::context;
use crate::vocabulary::outcome::FAILED;
use crate::vocabulary::outcome::{Outcome, Verdict};

/// The rule by which the end of a body is classified.
#[derive(Debug, Clone, Copy)]
pub struct End(Rule);

#[derive(Debug, Clone, Copy)]
enum Rule {
    Plain,
    Grpc(GrpcClassifier),
}

impl End {
    /// An error of the body is a failure; its end is a success. A dropped body is a success, too,
    /// because a caller that ignores bodies is no evidence against the server.
    #[must_use]
    pub const fn plain() -> Self {
        Self(Rule::Plain)
    }

    /// `grpc-status` in the trailers decides. Missing trailers and an error of the body are
    /// failures. A body that is dropped before its trailers is a cancelled call.
    #[must_use]
    pub const fn grpc(classifier: GrpcClassifier) -> Self {
        Self(Rule::Grpc(classifier))
    }

    pub(crate) fn of_trailers(self, trailers: &HeaderMap) -> Verdict {
        match self.0 {
            Rule::Plain => Outcome::Success.into(),
            Rule::Grpc(classifier) => classifier.of_trailers(trailers),
        }
    }

    /// The body ended without trailers.
    pub(crate) fn of_end(self) -> Verdict {
        match self.0 {
            Rule::Plain => Outcome::Success.into(),
            Rule::Grpc(classifier) => classifier.of_code(grpc::Code::Unknown),
        }
    }

    /// The caller dropped the body. `None` means that it cancelled the call.
    pub(crate) fn of_drop(self, has_data: bool) -> Option<Verdict> {
        match self.0 {
            Rule::Plain => Some(Outcome::Success.into()),
            // A head does not answer a gRPC call: a server that hangs after it is at fault. A
            // stream that ran well until its time limit is no evidence.
            Rule::Grpc(_) if !has_data && context::own_limit_has_passed() => Some(FAILED),
            Rule::Grpc(_) => None,
        }
    }
}

/// A classifier that can wait for the end of a body when the head of a response does not decide.
///
/// An empty `impl` suits a plain [`Classify`](crate::Classify): any verdict on the head but a
/// success is final, and an error of the body turns a success into a failure ([`End::plain`]).
pub trait ClassifyEnd {
    /// Classifies the head, or names the rule for the end of the body. `ended` means that the
    /// response has no body. `None`, the default, takes the verdict of the classifier's
    /// [`Classify`] on the head.
    ///
    /// [`Classify`]: crate::Classify
    fn at_head(&self, _: &ResponseHead<'_>, _ended: bool) -> Option<Head<End>> {
        None
    }

    /// Classifies an error, of the type that can carry a rejection (see
    /// [`WithRejection`](crate::WithRejection)). `None`, the default, takes the verdict of the
    /// classifier's [`Classify`](crate::Classify).
    ///
    /// In a [standard stack](crate::stack) a `Classify` receives an
    /// [`ErasedError`](super::ErasedError). This method receives the error itself.
    ///
    /// ```
    /// # #[cfg(feature = "reqwest")] {
    /// use mainstay::http::{ClassifyEnd, HttpClassifier, HttpResponse};
    /// use mainstay::{Classify, Error, Outcome, Verdict};
    /// use std::any::Any;
    ///
    /// /// Ignores bodies that cannot be decoded.
    /// struct IgnoreDecoding;
    ///
    /// impl<Res: HttpResponse, Err: 'static> Classify<Res, Err> for IgnoreDecoding {
    ///     fn classify(&self, result: Result<&Res, &Err>) -> Verdict {
    ///         HttpClassifier.classify(result)
    ///     }
    /// }
    ///
    /// impl ClassifyEnd for IgnoreDecoding {
    ///     fn at_error(&self, error: &dyn Any) -> Option<Verdict> {
    ///         match error.downcast_ref()? {
    ///             Error::<reqwest::Error>::Inner(error) if error.is_decode() => {
    ///                 Some(Outcome::Ignored.into())
    ///             }
    ///             _ => None,
    ///         }
    ///     }
    /// }
    /// # }
    /// ```
    fn at_error(&self, _: &dyn Any) -> Option<Verdict> {
        None
    }
}

/// Whether the call ends with its head: the connection switches protocols, or the response is an
/// event stream, which lasts as long as its reader likes and mostly waits.
pub(crate) fn is_over_at_head(head: &ResponseHead<'_>) -> bool {
    is_over(head.status(), head.content_type())
}

fn is_over(status: StatusCode, content_type: ContentType) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS || content_type == ContentType::Events
}

impl ClassifyEnd for HttpClassifier {
    fn at_head(&self, head: &ResponseHead<'_>, ended: bool) -> Option<Head<End>> {
        let verdict = self.of_head(head);
        if decides(verdict) {
            return Some(Head::Final(verdict));
        }
        let content_type = head.content_type();
        if content_type == ContentType::Grpc && head.status() == StatusCode::OK {
            // A server may serve both protocols on one port.
            return GrpcClassifier::new().at_head(head, ended);
        }
        Some(if ended || is_over(head.status(), content_type) {
            Head::Final(verdict)
        } else {
            Head::Pending(End::plain())
        })
    }
}

impl<F> ClassifyEnd for ClassifyHead<F> {}

impl<C: ClassifyEnd> ClassifyEnd for std::sync::Arc<C> {
    fn at_head(&self, head: &ResponseHead<'_>, ended: bool) -> Option<Head<End>> {
        (**self).at_head(head, ended)
    }

    fn at_error(&self, error: &dyn Any) -> Option<Verdict> {
        (**self).at_error(error)
    }
}

/// Whether the verdict on the head is final.
fn decides(verdict: Verdict) -> bool {
    verdict.outcome() != Outcome::Success || verdict.is_deadline_exceeded()
}

/// Continues after a plain classifier's verdict on the head.
pub(crate) fn plain(head: &ResponseHead<'_>, verdict: Verdict, ended: bool) -> Head<End> {
    if decides(verdict) || ended || is_over_at_head(head) {
        Head::Final(verdict)
    } else {
        Head::Pending(End::plain())
    }
}
