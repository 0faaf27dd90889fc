use super::*;
use http::HeaderValue;

/// 1994-11-06 08:49:37 UTC, the example of RFC 9110.
const THEN: Duration = Duration::from_secs(784_111_777);

#[test]
fn seconds_and_all_three_date_formats() {
    let now = SystemTime::UNIX_EPOCH + THEN - Duration::from_secs(7);
    for (value, expected) in [
        ("120", Some(120)),
        ("0", Some(0)),
        ("Sun, 06 Nov 1994 08:49:37 GMT", Some(7)),
        ("Sunday, 06-Nov-94 08:49:37 GMT", Some(7)),
        ("Sun Nov  6 08:49:37 1994", Some(7)),
        ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
        ("", None),
        ("-1", None),
        ("+1", None),
        ("1.5", None),
        ("soon", None),
        ("1, 2", None),
    ] {
        let expected = expected.map(Duration::from_secs);
        assert_eq!(parse(value, || now), expected, "{value}");
    }
    let huge = "9".repeat(10_000);
    assert_eq!(parse(&huge, || now), Some(Duration::MAX));
}

#[test]
fn only_a_429_and_a_503_have_a_hint() {
    let mut headers = HeaderMap::new();
    headers.insert(RETRY_AFTER, HeaderValue::from_static(" 3 "));
    for status in [200, 301, 400, 408, 500, 502, 504] {
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(read(status, &headers), None, "{status}");
    }
    for status in [429, 503] {
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(read(status, &headers), Some(Duration::from_secs(3)));
    }
    headers.insert(RETRY_AFTER, HeaderValue::from_bytes(b"\xff3").unwrap());
    assert_eq!(read(StatusCode::TOO_MANY_REQUESTS, &headers), None);
}

#[test]
fn seconds_are_rounded_up() {
    for (nanos, expected) in [
        (0, 1),
        (1, 1),
        (1_000_000_000, 1),
        (1_000_000_001, 2),
        (2_500_000_000, 3),
    ] {
        assert_eq!(seconds(Duration::from_nanos(nanos)), expected);
    }
    assert_eq!(seconds(Duration::MAX), u64::MAX);
}
