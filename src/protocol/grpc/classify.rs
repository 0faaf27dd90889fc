use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::code::{Code, GRPC_STATUS};
use super::errors::{Cause, cause};
use super::pushback;
use crate::call::track::Head;
use crate::protocol::http::{
    ClassifyEnd, ContentType, End, HttpResponse, ResponseHead, header, is_harmless_refusal,
    is_timeout,
};
use crate::vocabulary::{
    error::WithRejection,
    outcome::{Classify, Outcome, Verdict},
};

/// Classifies gRPC calls by their code.
///
/// | code | outcome |
/// |---|---|
/// | `UNKNOWN`, `DEADLINE_EXCEEDED`, `INTERNAL`, `UNAVAILABLE`, `DATA_LOSS` | failure |
/// | `RESOURCE_EXHAUSTED` | ignored: it depends on the request or its caller |
/// | `CANCELLED` | cancelled |
/// | any other (`OK`, `NOT_FOUND`, `INVALID_ARGUMENT`, `OUT_OF_RANGE`, `UNIMPLEMENTED`, ...) | success: the server works as it should |
///
/// The code is the `grpc-status` of the response head. Without one, an HTTP status other than 200
/// implies a code. A 429 is `RESOURCE_EXHAUSTED` here, and any other 4xx without a code of its own
/// is ignored, because a proxy refused this one request. `UNAVAILABLE` and `DEADLINE_EXCEEDED` are
/// overload. `grpc-retry-pushback-ms` is a hint for the open time of a circuit breaker.
///
/// `DEADLINE_EXCEEDED`, or a proxy's 504, 408 or 499, counts as cancelled if the propagated
/// deadline has passed: see [`OnCancel`](crate::OnCancel).
///
/// # Why `RESOURCE_EXHAUSTED` is ignored
///
/// Servers use it for a message that is too large, and for a quota of one tenant. Neither says
/// anything about other calls, so neither opens a circuit nor lowers an adaptive limit. A server
/// with mainstay's layers reports overload as `UNAVAILABLE`. If your upstream reports overload as
/// `RESOURCE_EXHAUSTED`, count it as a failure:
///
/// ```
/// use mainstay::grpc::{self, Code, GrpcClassifier};
/// use mainstay::http::EndOfBody;
///
/// let classifier = GrpcClassifier::new().also_failure(Code::ResourceExhausted);
/// let layer = grpc::circuit_breaker().tracker(EndOfBody::new(classifier)).build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
///
/// # Errors
///
/// An error that is or wraps a `tonic::Status` (feature `tonic`) is classified by its code. Any
/// other error is a failure. tonic's own time limit and a lost connection are failures too,
/// although tonic reports them as `CANCELLED`.
///
/// A call that the server refused without processing it (`REFUSED_STREAM`, `GOAWAY`) is ignored, as
/// over HTTP: see
/// [`HttpClassifier`](crate::http::HttpClassifier#refusals-that-depend-on-the-request).
///
/// # Head and trailers
///
/// A 200 is not a success. If a server fails before the first message, the head may have the code.
/// Otherwise the layers of [`mainstay::grpc`](crate::grpc) wait for the `grpc-status` in the
/// trailers. A response that ends without one is a failure (`UNKNOWN`). A body that breaks off is a
/// failure, and one that the caller drops is cancelled. Of the trailers, only the code and the hint
/// are read.
///
/// gRPC-Web has its trailers in the body, which is not read: without a code in the head, it is
/// classified as plain HTTP.
#[derive(Debug, Clone, Copy)]
pub struct GrpcClassifier {
    /// One bit for each code that is a failure.
    failures: u32,
}

impl GrpcClassifier {
    /// A classifier with the failures of the table above.
    #[must_use]
    pub const fn new() -> Self {
        use Code::{DataLoss, DeadlineExceeded, Internal, Unavailable, Unknown};
        Self {
            failures: bit(Unknown)
                | bit(DeadlineExceeded)
                | bit(Internal)
                | bit(Unavailable)
                | bit(DataLoss),
        }
    }

    /// Counts exactly these codes as failures. Default: the failures of the table above. Also
    /// accepts `tonic::Code`s.
    ///
    /// ```
    /// use mainstay::grpc::{Code, GrpcClassifier};
    ///
    /// let classifier = GrpcClassifier::new().failures([Code::Unavailable, Code::Internal]);
    /// ```
    #[must_use]
    pub fn failures<C: Into<Code>>(mut self, codes: impl IntoIterator<Item = C>) -> Self {
        self.failures = codes
            .into_iter()
            .fold(0, |all, code| all | bit(code.into()));
        self
    }

    /// Counts this code as a failure, too. `RESOURCE_EXHAUSTED` then also counts as overload.
    #[must_use]
    pub fn also_failure(mut self, code: impl Into<Code>) -> Self {
        self.failures |= bit(code.into());
        self
    }

    pub(crate) fn of_head(self, head: &ResponseHead<'_>) -> Verdict {
        if header::first(head.headers(), &GRPC_STATUS).is_none() && head.status() != StatusCode::OK
        {
            return self.of_proxy(head);
        }
        let code = Code::of_head(head.status(), head.headers());
        self.verdict(code, || pushback::hint(head.headers()))
    }

    /// The verdict on an HTTP status without a code.
    #[cold]
    fn of_proxy(self, head: &ResponseHead<'_>) -> Verdict {
        let status = head.status();
        let code = match status {
            // For a retry it is UNAVAILABLE, as in gRPC's specification. For a classifier it is a
            // quota.
            StatusCode::TOO_MANY_REQUESTS => Code::ResourceExhausted,
            status => Code::from_http(status),
        };
        // A proxy sends HTTP's hint.
        let verdict = self.verdict(code, || {
            pushback::hint(head.headers()).or_else(|| head.retry_after())
        });
        let is_refusal = status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS;
        let verdict = match verdict.outcome() {
            Outcome::Failure if is_refusal => Outcome::Ignored.into(),
            _ => verdict,
        };
        verdict.with_deadline_exceeded(is_timeout(status))
    }

    pub(crate) fn of_trailers(self, trailers: &HeaderMap) -> Verdict {
        self.verdict(Code::of_trailers(trailers), || pushback::hint(trailers))
    }

    #[inline]
    fn verdict(self, code: Code, hint: impl FnOnce() -> Option<Duration>) -> Verdict {
        if code == Code::Ok {
            return Outcome::Success.into();
        }
        let verdict = self.of_code(code);
        match verdict.outcome() {
            Outcome::Failure | Outcome::Ignored => verdict.with_retry_after(hint()),
            _ => verdict,
        }
    }

    pub(crate) fn of_code(self, code: Code) -> Verdict {
        let outcome = match code {
            _ if self.failures & bit(code) != 0 => Outcome::Failure,
            Code::Cancelled => Outcome::Cancelled,
            Code::ResourceExhausted => Outcome::Ignored,
            _ => Outcome::Success,
        };
        let overload = match code {
            Code::ResourceExhausted => outcome == Outcome::Failure,
            _ => matches!(code, Code::Unavailable | Code::DeadlineExceeded),
        };
        Verdict::new(outcome)
            .with_overload(overload)
            .with_deadline_exceeded(code == Code::DeadlineExceeded)
    }
}

const fn bit(code: Code) -> u32 {
    1 << code as u32
}

impl Default for GrpcClassifier {
    fn default() -> Self {
        Self::new()
    }
}

impl<Res, Err> Classify<Res, Err> for GrpcClassifier
where
    Res: HttpResponse,
    Err: WithRejection + 'static,
{
    #[inline]
    fn classify(&self, result: Result<&Res, &Err>) -> Verdict {
        match result {
            Ok(response) => self.of_head(&ResponseHead::of(response)),
            Err(error) if is_harmless_refusal(error) => Outcome::Ignored.into(),
            Err(error) => match cause(error) {
                Cause::Code(code) => self.of_code(code),
                Cause::TimedOut => Verdict::new(Outcome::Failure)
                    .with_overload(true)
                    .with_deadline_exceeded(true),
                // A server may reset the stream when its handler's deadline passes.
                Cause::Cancelled => Verdict::new(Outcome::Failure).with_deadline_exceeded(true),
                Cause::Transport => Outcome::Failure.into(),
            },
        }
    }
}

impl ClassifyEnd for GrpcClassifier {
    fn at_head(&self, head: &ResponseHead<'_>, ended: bool) -> Option<Head<End>> {
        if head.status() != StatusCode::OK || header::first(head.headers(), &GRPC_STATUS).is_some()
        {
            return Some(Head::Final(self.of_head(head)));
        }
        Some(match head.content_type() {
            ContentType::Grpc | ContentType::Missing if ended => {
                Head::Final(self.of_code(Code::Unknown))
            }
            ContentType::Grpc | ContentType::Missing => Head::Pending(End::grpc(*self)),
            ContentType::GrpcWeb if !ended => Head::Pending(End::plain()),
            _ => Head::Final(self.of_head(head)),
        })
    }
}

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;
