//! What the end of a response says where its head did not decide.

use std::any::Any;

use http::{HeaderMap, StatusCode};

use super::classify::{ClassifyHead, HttpClassifier};
use super::head::{ContentType, ResponseHead};
use crate::call::track::Head;
use crate::protocol::grpc::{self, GrpcClassifier};
use crate::vocabulary::context;
use crate::vocabulary::outcome::FAILED;
use crate::vocabulary::outcome::{Outcome, Verdict};

/// How the end of a body is judged.
#[derive(Debug, Clone, Copy)]
pub struct End(Rule);

#[derive(Debug, Clone, Copy)]
enum Rule {
    Plain,
    Grpc(GrpcClassifier),
}

impl End {
    /// An error of the body is a failure. Its end is a success, and so is that it is dropped: a caller that does not care for
    /// bodies says nothing of the server.
    #[must_use]
    pub const fn plain() -> Self {
        Self(Rule::Plain)
    }

    /// `grpc-status` in the trailers says how it went; that there is none is a failure, and so is an error of the body. A body that is dropped
    /// before was cancelled.
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

    /// The caller let go of the body; `None` is that it has cancelled the call.
    pub(crate) fn of_drop(self, has_data: bool) -> Option<Verdict> {
        match self.0 {
            Rule::Plain => Some(Outcome::Success.into()),
            // A head is no answer to a call of gRPC: a server that hangs after it hangs. A stream that went well until its time
            // was over says nothing.
            Rule::Grpc(_) if !has_data && context::own_limit_has_passed() => Some(FAILED),
            Rule::Grpc(_) => None,
        }
    }
}

/// A classifier that knows what the end of a body says where the head of a response does not decide.
///
/// What a plain [`Classify`](crate::Classify) says of a head is final for anything but a success; a success can still be lost by the body
/// ([`End::plain`]). An empty `impl` says just that.
pub trait ClassifyEnd {
    /// What the head says, and how to go on from there; `ended` is that there is no body. `None` asks the classifier for its verdict on the head.
    fn at_head(&self, _: &ResponseHead<'_>, _ended: bool) -> Option<Head<End>> {
        None
    }

    /// Classifies an error, the grown one (see [`WithRejection`](crate::WithRejection)). `None`, the default, asks the classifier as a
    /// [`Classify`](crate::Classify).
    ///
    /// For a classifier of your own in a [standard stack](crate::stack), which shows a `Classify` only an
    /// [`ErasedError`](super::ErasedError): here it sees the error itself.
    ///
    /// ```
    /// # #[cfg(feature = "reqwest")] {
    /// use mainstay::http::{ClassifyEnd, HttpClassifier, HttpResponse};
    /// use mainstay::{Classify, Error, Outcome, Verdict};
    /// use std::any::Any;
    ///
    /// /// As usual, except that a body which cannot be decoded is the caller's business.
    /// struct DecodingIsOurs;
    ///
    /// impl<Res: HttpResponse, Err: 'static> Classify<Res, Err> for DecodingIsOurs {
    ///     fn classify(&self, result: Result<&Res, &Err>) -> Verdict {
    ///         HttpClassifier.classify(result)
    ///     }
    /// }
    ///
    /// impl ClassifyEnd for DecodingIsOurs {
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

/// Whether the call is over with its head whatever follows: the connection is now somebody else's, or it is a stream of events, which
/// lasts for as long as its reader likes and mostly waits.
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
            // A server may speak both on one port.
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

/// Whether the head alone decides, whatever the body does.
fn decides(verdict: Verdict) -> bool {
    verdict.outcome() != Outcome::Success || verdict.is_deadline_exceeded()
}

/// How to go on where a plain classifier has judged the head.
pub(crate) fn plain(head: &ResponseHead<'_>, verdict: Verdict, ended: bool) -> Head<End> {
    if decides(verdict) || ended || is_over_at_head(head) {
        Head::Final(verdict)
    } else {
        Head::Pending(End::plain())
    }
}
