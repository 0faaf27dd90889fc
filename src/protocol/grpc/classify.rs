use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::code::{Code, GRPC_STATUS};
use super::errors::{Cause, cause};
use super::pushback;
use crate::call::track::Head;
use crate::protocol::http::{
    ClassifyEnd, ContentType, End, HttpResponse, ResponseHead, header, is_harmless_refusal, ran_out,
};
use crate::vocabulary::{
    error::WithRejection,
    outcome::{Classify, Outcome, Verdict},
};

/// How gRPC says how a call went.
///
/// | the code | the outcome |
/// |---|---|
/// | `UNKNOWN`, `DEADLINE_EXCEEDED`, `INTERNAL`, `UNAVAILABLE`, `DATA_LOSS` | a failure |
/// | `RESOURCE_EXHAUSTED` | ignored: it depends on the request or on its caller |
/// | `CANCELLED` | cancelled |
/// | any other (`OK`, `NOT_FOUND`, `INVALID_ARGUMENT`, `OUT_OF_RANGE`, `UNIMPLEMENTED`, ...) | a success: the server does what it should |
///
/// The code is that of `grpc-status` in the head of the response, and where there is none, the one that stands for an HTTP status other than
/// 200. A 429 stands for `RESOURCE_EXHAUSTED` here, and any other 4xx without a code of its own is ignored: a proxy refused this one
/// request. `UNAVAILABLE` and `DEADLINE_EXCEEDED` are overload; `grpc-retry-pushback-ms` is the hint that a circuit breaker may stay
/// open for.
///
/// `DEADLINE_EXCEEDED`, or the 504, 408 or 499 of a proxy, counts as cancelled where the deadline that was propagated has run out: see
/// [`OnCancel`](crate::OnCancel).
///
/// # Why `RESOURCE_EXHAUSTED` is ignored
///
/// Servers use it for a message that is larger than they take and for a quota that one tenant has used up. Neither says anything
/// about the calls of others, so neither opens a circuit nor lowers an adaptive limit. A server behind mainstay's own layers answers
/// real overload with `UNAVAILABLE`. Where your upstream answers it with `RESOURCE_EXHAUSTED`, count it:
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
/// An error is judged by its code if it is, or wraps, a `tonic::Status` (feature `tonic`), and is a failure otherwise. So is a time limit
/// of tonic's own or a connection that was lost, which tonic calls `CANCELLED`, though nobody cancelled anything.
///
/// A call that the server refused unseen (`REFUSED_STREAM`, `GOAWAY`) is ignored, as over HTTP: see
/// [`HttpClassifier`](crate::http::HttpClassifier#refusals-that-depend-on-the-request).
///
/// # The head and the trailers
///
/// A 200 is not a success. A server that fails before it has sent anything says so in the head, and then the head decides. Otherwise the layers of
/// [`mainstay::grpc`](crate::grpc) wait for the trailers: `grpc-status` there is the code, and a response that ends without one is a failure
/// (`UNKNOWN`). A body that breaks off is a failure, and one that the caller drops was cancelled. Nothing but the bytes of the code and of
/// the hint is ever read of trailers.
///
/// gRPC-Web has its trailers in the body, which is not read here: what its head does not say is judged as plain HTTP.
#[derive(Debug, Clone, Copy)]
pub struct GrpcClassifier {
    /// One bit for each code that is a failure.
    failures: u32,
}

impl GrpcClassifier {
    /// The codes that are given above are failures.
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

    /// These codes are failures, and no others. `tonic::Code`s will do as well.
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

    /// This code is a failure, too. `RESOURCE_EXHAUSTED` then also counts as overload.
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
        self.judge(code, || pushback::hint(head.headers()))
    }

    /// The verdict on an HTTP status where there is no code.
    #[cold]
    fn of_proxy(self, head: &ResponseHead<'_>) -> Verdict {
        let status = head.status();
        let code = match status {
            // To a retry it is UNAVAILABLE, as gRPC's specification says. As evidence it is a quota.
            StatusCode::TOO_MANY_REQUESTS => Code::ResourceExhausted,
            status => Code::from_http(status),
        };
        // It knows nothing of gRPC's hint, and says it as HTTP does.
        let verdict = self.judge(code, || {
            pushback::hint(head.headers()).or_else(|| head.retry_after())
        });
        let is_refusal = status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS;
        let verdict = match verdict.outcome() {
            Outcome::Failure if is_refusal => Outcome::Ignored.into(),
            _ => verdict,
        };
        verdict.with_deadline_exceeded(ran_out(status))
    }

    pub(crate) fn of_trailers(self, trailers: &HeaderMap) -> Verdict {
        self.judge(Code::of_trailers(trailers), || pushback::hint(trailers))
    }

    #[inline]
    fn judge(self, code: Code, hint: impl FnOnce() -> Option<Duration>) -> Verdict {
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
                // A server whose handler has run out of time may say no more.
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
mod tests {
    use super::*;
    use crate::vocabulary::{error::Error, reason::Reason, rejection::Rejection};
    use std::io;
    use std::time::Duration;

    fn head(status: u16, headers: &[(&str, &str)]) -> Verdict {
        let mut response = http::Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let response = response.body(()).unwrap();
        GrpcClassifier::new().classify(Ok::<_, &Error<io::Error>>(&response))
    }

    #[test]
    fn the_code_in_the_head_decides() {
        for (code, outcome, overload) in [
            ("0", Outcome::Success, false),
            ("1", Outcome::Cancelled, false),
            ("2", Outcome::Failure, false),
            ("3", Outcome::Success, false),
            ("4", Outcome::Failure, true),
            ("5", Outcome::Success, false),
            ("8", Outcome::Ignored, false),
            ("10", Outcome::Success, false),
            ("11", Outcome::Success, false),
            ("12", Outcome::Success, false),
            ("13", Outcome::Failure, false),
            ("14", Outcome::Failure, true),
            ("15", Outcome::Failure, false),
            ("16", Outcome::Success, false),
            ("whatever", Outcome::Failure, false),
        ] {
            let expected = Verdict::new(outcome)
                .with_overload(overload)
                .with_deadline_exceeded(code == "4");
            assert_eq!(head(200, &[("grpc-status", code)]), expected, "{code}");
        }
        assert_eq!(head(200, &[]), Outcome::Success.into());
    }

    #[test]
    fn an_http_status_stands_for_a_code_where_there_is_none() {
        for (status, outcome, overload) in [
            (400, Outcome::Ignored, false),
            (401, Outcome::Success, false),
            (403, Outcome::Success, false),
            (404, Outcome::Success, false),
            (408, Outcome::Ignored, false),
            (413, Outcome::Ignored, false),
            (429, Outcome::Ignored, false),
            (431, Outcome::Ignored, false),
            (500, Outcome::Failure, false),
            (502, Outcome::Failure, true),
            (503, Outcome::Failure, true),
            (504, Outcome::Failure, true),
        ] {
            let expected = Verdict::new(outcome)
                .with_overload(overload)
                .with_deadline_exceeded([408, 499, 504].contains(&status));
            assert_eq!(head(status, &[]), expected, "{status}");
        }
        let verdict = head(503, &[("grpc-status", "5")]);
        assert_eq!(verdict, Outcome::Success.into());
    }

    #[test]
    fn the_servers_hint() {
        let hint = |headers: &[_]| head(503, headers).retry_after();
        let pushback = ("grpc-retry-pushback-ms", "250");
        assert_eq!(hint(&[pushback]), Some(Duration::from_millis(250)));
        assert_eq!(hint(&[("retry-after", "2")]), Some(Duration::from_secs(2)));
        assert_eq!(hint(&[("grpc-retry-pushback-ms", "-1")]), None);
        let fine = head(200, &[("grpc-status", "5"), pushback]);
        assert_eq!(fine.retry_after(), None);
        let quota = head(200, &[("grpc-status", "8"), pushback]);
        assert_eq!(quota.retry_after(), Some(Duration::from_millis(250)));
    }

    #[test]
    fn an_exhausted_resource_is_overload_where_somebody_says_so() {
        let classifier = GrpcClassifier::new().also_failure(Code::ResourceExhausted);
        let failure = Verdict::new(Outcome::Failure).with_overload(true);
        for (status, code) in [(200, Some("8")), (429, None)] {
            let mut response = http::Response::builder().status(status);
            if let Some(code) = code {
                response = response.header("grpc-status", code);
            }
            let response = response.body(()).unwrap();
            let verdict = classifier.classify(Ok::<_, &Error<io::Error>>(&response));
            assert_eq!(verdict, failure, "{status}");
        }
    }

    #[test]
    fn hostile_details_are_not_looked_at() {
        let verdict = head(
            200,
            &[("grpc-status", "14"), ("grpc-status-details-bin", "%%%")],
        );
        assert_eq!(verdict.outcome(), Outcome::Failure);
    }

    #[test]
    fn a_page_that_is_not_grpc_is_a_failure_whatever_its_status() {
        let page = |content_type| head(200, &[("content-type", content_type)]).outcome();
        assert_eq!(page("text/html"), Outcome::Failure);
        assert_eq!(page("application/grpc+proto"), Outcome::Success);
        assert_eq!(page("Application/gRPC"), Outcome::Success);
    }

    fn error<E: WithRejection + 'static>(error: E) -> Verdict {
        GrpcClassifier::new().classify(Err::<&http::Response<()>, _>(&error))
    }

    #[test]
    fn errors_without_a_code_are_failures() {
        let inner = Error::Inner(io::Error::other("reset"));
        assert_eq!(error(inner), Outcome::Failure.into());
        let rejection = Rejection::new("timeout", "users", Reason::TimedOut);
        let late: Error<io::Error> = Error::Rejected(rejection);
        let expected = Verdict::new(Outcome::Failure).with_overload(true);
        assert_eq!(error(late), expected.with_deadline_exceeded(true));
    }

    #[cfg(feature = "tonic")]
    #[test]
    fn a_status_as_the_error_is_judged_by_its_code() {
        use crate::vocabulary::error::BoxError;
        use tonic::Status;

        assert_eq!(error(Status::not_found("")), Outcome::Success.into());
        assert_eq!(error(Status::cancelled("")), Outcome::Cancelled.into());
        let expected = Verdict::new(Outcome::Failure).with_overload(true);
        assert_eq!(error(Status::unavailable("")), expected);
        let boxed: BoxError = Status::unavailable("").into();
        assert_eq!(error(boxed), expected);
        let boxed: BoxError = Box::new(Error::Inner(Status::not_found("")));
        assert_eq!(error(boxed), Outcome::Success.into());

        let mut lost = Status::cancelled("connection closed");
        lost.set_source(std::sync::Arc::new(io::Error::other("connection closed")));
        assert_eq!(error(lost), Outcome::Failure.into());
        let boxed: BoxError = Box::new(tonic::TimeoutExpired(()));
        assert_eq!(error(boxed), expected.with_deadline_exceeded(true));
    }
}
