use super::*;
use crate::layers::retry::Receive;
use crate::protocol::grpc::{EarlyTrailers, Peeked};
use crate::vocabulary::{error::Error, reason::Reason, rejection::Rejection};
use std::io;
use std::task::{Context, Waker};
use std::time::Duration;

type Req = http::Request<bytes::Bytes>;
type Res = http::Response<Peeked<String>>;
type Err = Error<io::Error>;

fn decide(policy: &GrpcRetry, headers: &[(&str, &str)]) -> Decision {
    let mut response = http::Response::builder();
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    let response = response.body(String::new()).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    decide_by(policy, Ok(&EarlyTrailers.receive(response, &mut cx)))
}

fn decide_by(policy: &GrpcRetry, result: Result<&Res, &Err>) -> Decision {
    let mut request = Req::default();
    *request.uri_mut() = http::Uri::from_static("http://shop.example/shop.Orders/Get");
    let kept = RetryPolicy::<Req, Res, Err>::keep(policy, &mut request, 0).unwrap();
    RetryPolicy::<Req, Res, Err>::decide(policy, &kept, result, 1)
}

#[test]
fn codes() {
    let policy = GrpcRetry::new();
    assert_eq!(decide(&policy, &[("grpc-status", "14")]), Decision::Retry);
    for code in ["0", "1", "2", "4", "8", "13", "99"] {
        let decision = decide(&policy, &[("grpc-status", code)]);
        assert_eq!(decision, Decision::Return, "{code}");
    }
    assert_eq!(decide(&policy, &[]), Decision::Return);
    let also = policy.clone().also_code(Code::Aborted);
    assert_eq!(decide(&also, &[("grpc-status", "10")]), Decision::Retry);
    let only = policy.codes([Code::Aborted]);
    assert_eq!(decide(&only, &[("grpc-status", "14")]), Decision::Return);
}

#[test]
fn the_server_says_when_or_never() {
    let policy = GrpcRetry::new();
    let with = |pushback| {
        let status = ("grpc-status", "14");
        decide(&policy, &[status, ("grpc-retry-pushback-ms", pushback)])
    };
    let delay = Duration::from_millis(40);
    assert_eq!(with("40"), Decision::RetryAfter(delay));
    assert_eq!(with("-1"), Decision::Fail);
    assert_eq!(with("soon"), Decision::Fail);
}

#[test]
fn a_quota_is_retried_when_the_server_says_when() {
    let policy = GrpcRetry::new();
    let quota = |policy: &GrpcRetry, pushback: Option<&str>| {
        let status = ("grpc-status", "8");
        match pushback {
            None => decide(policy, &[status]),
            Some(after) => decide(policy, &[status, ("grpc-retry-pushback-ms", after)]),
        }
    };
    let delay = Duration::from_millis(40);
    assert_eq!(quota(&policy, None), Decision::Return);
    assert_eq!(quota(&policy, Some("40")), Decision::RetryAfter(delay));
    assert_eq!(quota(&policy, Some("-1")), Decision::Fail);
    let also = policy.clone().also_code(Code::Aborted);
    assert_eq!(quota(&also, Some("40")), Decision::RetryAfter(delay));
    let only = policy.clone().codes([Code::Unavailable]);
    assert_eq!(quota(&only, Some("40")), Decision::Return);
    let rule = policy.codes_for("shop.Orders", [Code::Unavailable]);
    assert_eq!(quota(&rule.unwrap(), Some("40")), Decision::Return);
}

#[test]
fn a_proxy_says_when_as_http_does() {
    let response = |status: u16, headers: &[(&str, &str)]| {
        let mut response = http::Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let response = response.body(String::new()).unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        decide_by(
            &GrpcRetry::new(),
            Ok(&EarlyTrailers.receive(response, &mut cx)),
        )
    };
    let two = Decision::RetryAfter(Duration::from_secs(2));
    let hint = ("retry-after", "2");
    assert_eq!(response(429, &[hint]), two);
    assert_eq!(response(503, &[hint]), two);
    assert_eq!(response(503, &[("retry-after", "0")]), Decision::Retry);
    assert_eq!(response(502, &[hint]), Decision::Retry);
    // gRPC's own hint goes first, and with a code of its own `Retry-After` means nothing.
    let never = ("grpc-retry-pushback-ms", "-1");
    assert_eq!(response(503, &[hint, never]), Decision::Fail);
    let status = ("grpc-status", "14");
    assert_eq!(response(200, &[hint, status]), Decision::Retry);
}

#[test]
fn errors() {
    let decide = |policy: &GrpcRetry, error: Err| decide_by(policy, Err(&error));
    let policy = GrpcRetry::new();
    let reset = || Error::Inner(io::Error::other("reset"));
    assert_eq!(decide(&policy, reset()), Decision::Retry);
    let late = || Error::Rejected(Rejection::new("timeout", "users", Reason::TimedOut));
    assert_eq!(decide(&policy, late()), Decision::Return);
    let also = policy.also_code(Code::DeadlineExceeded);
    assert_eq!(decide(&also, late()), Decision::Retry);
}

#[test]
fn a_rule_for_a_method_replaces_the_codes_for_all() {
    let policy = GrpcRetry::new().codes_for("shop.Orders", [Code::Aborted]);
    let policy = policy.unwrap();
    assert_eq!(decide(&policy, &[("grpc-status", "10")]), Decision::Retry);
    assert_eq!(decide(&policy, &[("grpc-status", "14")]), Decision::Return);
    let other = GrpcRetry::new().codes_for("shop.Carts", [Code::Aborted]);
    let other = other.unwrap();
    assert_eq!(decide(&other, &[("grpc-status", "14")]), Decision::Retry);
}

#[test]
fn requests_that_are_never_retried_are_not_kept() {
    let policy = GrpcRetry::new().never("shop.Orders").unwrap();
    let mut request = Req::default();
    let keep = |request: &mut Req| RetryPolicy::<Req, Res, Err>::keep(&policy, request, 0);
    assert!(keep(&mut request).is_some());
    *request.uri_mut() = http::Uri::from_static("/shop.Orders/Get");
    assert!(keep(&mut request).is_none());
}

#[test]
fn a_retry_says_how_many_there_were_before() {
    let policy = GrpcRetry::new();
    let mut request = Req::default();
    let kept = RetryPolicy::<Req, Res, Err>::keep(&policy, &mut request, 0);
    assert!(request.headers().is_empty());
    let mut kept = kept.unwrap();
    for (attempt, previous) in [(2, "1"), (3, "2")] {
        let again = RetryPolicy::<Req, Res, Err>::again(&policy, &mut kept, attempt);
        let headers = again.unwrap().into_parts().0.headers;
        assert_eq!(headers["grpc-previous-rpc-attempts"], previous);
    }
}

#[test]
fn a_request_with_as_many_headers_as_there_can_be_is_sent_again_without_one_more() {
    let policy = GrpcRetry::new();
    let mut request = Req::default();
    header::fill(request.headers_mut());
    let all = request.headers().len();
    let kept = RetryPolicy::<Req, Res, Err>::keep(&policy, &mut request, 0);
    let again = RetryPolicy::<Req, Res, Err>::again(&policy, &mut kept.unwrap(), 2).unwrap();
    assert_eq!(again.headers().len(), all);
    assert!(!again.headers().contains_key(&PREVIOUS_ATTEMPTS));
}
