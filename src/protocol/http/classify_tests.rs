use super::*;
use std::time::Duration;

fn response(status: u16) -> http::Response<()> {
    http::Response::builder()
        .status(status)
        .header("retry-after", "3")
        .body(())
        .unwrap()
}

fn verdict(status: u16) -> Verdict {
    let response = response(status);
    HttpClassifier.classify(Ok::<_, &()>(&response))
}

#[test]
fn statuses() {
    for status in [100, 200, 204, 301, 400, 404, 413, 431, 498, 501, 505] {
        assert_eq!(verdict(status), Outcome::Success.into(), "{status}");
    }
    for status in [500, 502, 507, 599, 600, 999] {
        assert_eq!(verdict(status), Outcome::Failure.into(), "{status}");
    }
    for (status, outcome) in [
        (408, Outcome::Success),
        (499, Outcome::Success),
        (504, Outcome::Failure),
    ] {
        let expected = Verdict::new(outcome).with_deadline_exceeded(true);
        assert_eq!(verdict(status), expected, "{status}");
    }
    let hint = Some(Duration::from_secs(3));
    let quota = Verdict::new(Outcome::Ignored).with_retry_after(hint);
    assert_eq!(verdict(429), quota);
    let overload = Verdict::new(Outcome::Failure).with_overload(true);
    assert_eq!(verdict(503), overload.with_retry_after(hint));
}

#[test]
fn a_429_that_a_closure_calls_a_failure_is_overload() {
    let closure = classify(|head| match head.status().as_u16() {
        429 => Outcome::Failure,
        _ => Outcome::Success,
    });
    let quota = response(429);
    let verdict = closure.classify(Ok::<_, &()>(&quota));
    let expected = Verdict::new(Outcome::Failure)
        .with_overload(true)
        .with_retry_after(Some(Duration::from_secs(3)));
    assert_eq!(verdict, expected);
}

#[test]
fn errors_are_failures() {
    let result: Result<&http::Response<()>, &str> = Err("broken");
    let verdict = HttpClassifier.classify(result.as_ref().map(|ok| *ok));
    assert_eq!(verdict, Outcome::Failure.into());
    let closure = classify(|_| Outcome::Success);
    let verdict = closure.classify(result.as_ref().map(|ok| *ok));
    assert_eq!(verdict, Outcome::Failure.into());
}

#[test]
fn the_head_completes_an_outcome_but_not_a_verdict() {
    let closure = classify(|head| {
        if head.headers().contains_key("retry-after") {
            Outcome::Failure
        } else {
            Outcome::Success
        }
    });
    let busy = response(503);
    let verdict = closure.classify(Ok::<_, &()>(&busy));
    assert!(verdict.is_overload());
    assert_eq!(verdict.retry_after(), Some(Duration::from_secs(3)));

    let closure = classify(|_| Verdict::new(Outcome::Failure));
    let verdict = closure.classify(Ok::<_, &()>(&busy));
    assert_eq!(verdict, Outcome::Failure.into());
}
