use super::*;
use crate::vocabulary::error::Error;
use std::io;
use std::time::Duration;

type Req = http::Request<&'static str>;
type Res = http::Response<()>;
type Err = Error<io::Error>;

fn repeats(policy: &HttpRetry, method: &str, key: Option<&str>) -> bool {
    let mut request = http::Request::builder().method(method);
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    let mut request: Req = request.body("").unwrap();
    let kept = RetryPolicy::<Req, Res, Err>::keep(policy, &mut request, 0).unwrap();
    let mut response: Res = http::Response::new(());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    match RetryPolicy::<Req, Res, Err>::decide(policy, &kept, Ok(&response), 1) {
        Decision::Retry => true,
        Decision::Fail => false,
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_repeatable_requests_are_retried() {
    let policy = HttpRetry::new();
    for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
        assert!(repeats(&policy, method, None), "{method}");
    }
    for method in ["POST", "PATCH", "CONNECT", "PURGE"] {
        assert!(!repeats(&policy, method, None), "{method}");
        assert!(!repeats(&policy, method, Some("")), "{method}");
        assert!(repeats(&policy, method, Some("4711")), "{method}");
    }
    let policy = HttpRetry::new().also_method(Method::POST);
    assert!(repeats(&policy, "POST", None));
    assert!(!repeats(&policy, "PATCH", None));
}

fn decide(policy: &HttpRetry, status: u16, after: Option<&str>) -> Decision {
    let mut response = http::Response::builder().status(status);
    if let Some(after) = after {
        response = response.header("retry-after", after);
    }
    let response: Res = response.body(()).unwrap();
    decide_by(policy, "GET", Ok(&response))
}

fn decide_by(policy: &HttpRetry, method: &str, result: Result<&Res, &Err>) -> Decision {
    let request = http::Request::builder().method(method);
    let mut request: Req = request.body("").unwrap();
    let kept = RetryPolicy::<Req, Res, Err>::keep(policy, &mut request, 0).unwrap();
    RetryPolicy::<Req, Res, Err>::decide(policy, &kept, result, 1)
}

#[test]
fn statuses() {
    let policy = HttpRetry::new();
    for status in [408, 425, 429, 502, 503, 504] {
        assert_eq!(decide(&policy, status, None), Decision::Retry, "{status}");
    }
    for status in [200, 301, 400, 404, 409, 500, 501, 505] {
        assert_eq!(decide(&policy, status, None), Decision::Return, "{status}");
    }
    let also = policy
        .clone()
        .also_status(StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(decide(&also, 500, None), Decision::Retry);
    let only = policy.statuses([StatusCode::BAD_GATEWAY]);
    assert_eq!(decide(&only, 503, None), Decision::Return);
}

#[test]
fn the_hint_of_a_429_or_a_503_is_used() {
    let policy = HttpRetry::new();
    let two = Decision::RetryAfter(Duration::from_secs(2));
    assert_eq!(decide(&policy, 429, Some("2")), two);
    assert_eq!(decide(&policy, 503, Some("2")), two);
    assert_eq!(decide(&policy, 502, Some("2")), Decision::Retry);
    assert_eq!(decide(&policy, 503, Some("soon")), Decision::Retry);
    assert_eq!(decide(&policy, 503, Some("0")), Decision::Retry);
    assert_eq!(decide(&policy, 301, Some("2")), Decision::Return);
}

#[test]
fn transport_errors_of_repeatable_requests_are_retried() {
    let error = Error::Inner(io::Error::other("reset"));
    let policy = HttpRetry::new();
    assert_eq!(decide_by(&policy, "GET", Err(&error)), Decision::Retry);
    assert_eq!(decide_by(&policy, "POST", Err(&error)), Decision::Fail);
}
