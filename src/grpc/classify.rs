use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::code::{Code, GRPC_STATUS};
use super::errors::{Cause, cause};
use super::pushback;
use crate::http::{ClassifyEnd, ContentType, End, HttpResponse, ResponseHead, header};
use crate::{Classify, Head, Outcome, Verdict, WithRejection};

/// How gRPC says how a call went.
///
/// | the code | the outcome |
/// |---|---|
/// | `UNKNOWN`, `DEADLINE_EXCEEDED`, `RESOURCE_EXHAUSTED`, `INTERNAL`, `UNAVAILABLE`, `DATA_LOSS` | a failure |
/// | `CANCELLED` | cancelled |
/// | any other (`OK`, `NOT_FOUND`, `INVALID_ARGUMENT`, `UNIMPLEMENTED`, ...) | a success: the server does what it should |
///
/// The code is that of `grpc-status` in the head of the response, and where there is none, the one that stands for an HTTP status other than
/// 200. `RESOURCE_EXHAUSTED`, `UNAVAILABLE` and `DEADLINE_EXCEEDED` tell of overload; `grpc-retry-pushback-ms` is the hint that a
/// circuit breaker may stay open for.
///
/// An error is judged by its code if it is, or wraps, a `tonic::Status` (feature `tonic`), and is a failure otherwise. So is a time limit
/// of tonic's own or a connection that was lost, which tonic calls `CANCELLED`, though nobody cancelled anything.
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
        use Code::{DataLoss, DeadlineExceeded, Internal, ResourceExhausted, Unavailable, Unknown};
        Self {
            failures: bit(Unknown)
                | bit(DeadlineExceeded)
                | bit(ResourceExhausted)
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

    pub(crate) fn of_head(self, head: &ResponseHead<'_>) -> Verdict {
        let code = Code::of_head(head.status(), head.headers());
        // A proxy knows nothing of gRPC's hint, and says it as HTTP does.
        self.judge(code, || {
            pushback::hint(head.headers()).or_else(|| head.retry_after())
        })
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
        if verdict.outcome() != Outcome::Failure {
            return verdict;
        }
        verdict.with_retry_after(hint())
    }

    pub(crate) fn of_code(self, code: Code) -> Verdict {
        let outcome = if self.failures & bit(code) != 0 {
            Outcome::Failure
        } else if code == Code::Cancelled {
            Outcome::Cancelled
        } else {
            Outcome::Success
        };
        Verdict::new(outcome).with_overload(matches!(
            code,
            Code::ResourceExhausted | Code::Unavailable | Code::DeadlineExceeded
        ))
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
            Err(error) => match cause(error) {
                Cause::Code(code) => self.of_code(code),
                Cause::TimedOut => Verdict::new(Outcome::Failure).with_overload(true),
                Cause::Cancelled | Cause::Transport => Outcome::Failure.into(),
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
    use crate::{Error, Reason, Rejection};
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
            ("8", Outcome::Failure, true),
            ("10", Outcome::Success, false),
            ("12", Outcome::Success, false),
            ("13", Outcome::Failure, false),
            ("14", Outcome::Failure, true),
            ("15", Outcome::Failure, false),
            ("16", Outcome::Success, false),
            ("whatever", Outcome::Failure, false),
        ] {
            let expected = Verdict::new(outcome).with_overload(overload);
            assert_eq!(head(200, &[("grpc-status", code)]), expected, "{code}");
        }
        assert_eq!(head(200, &[]), Outcome::Success.into());
    }

    #[test]
    fn an_http_status_stands_for_a_code_where_there_is_none() {
        for (status, outcome, overload) in [
            (400, Outcome::Failure, false),
            (401, Outcome::Success, false),
            (403, Outcome::Success, false),
            (404, Outcome::Success, false),
            (429, Outcome::Failure, true),
            (500, Outcome::Failure, false),
            (502, Outcome::Failure, true),
            (503, Outcome::Failure, true),
            (504, Outcome::Failure, true),
        ] {
            let expected = Verdict::new(outcome).with_overload(overload);
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
        assert_eq!(error(late), expected);
    }

    #[cfg(feature = "tonic")]
    #[test]
    fn a_status_as_the_error_is_judged_by_its_code() {
        use crate::BoxError;
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
        assert_eq!(error(boxed), expected);
    }
}
