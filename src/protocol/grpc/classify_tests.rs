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
fn a_status_error_is_classified_by_its_code() {
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
