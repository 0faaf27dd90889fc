use super::*;
use http::HeaderValue;

#[test]
fn a_number_or_never() {
    let mut headers = HeaderMap::new();
    assert_eq!(read(&headers), None);
    for (value, expected) in [
        (&b"0"[..], Pushback::After(Duration::ZERO)),
        (b"1500", Pushback::After(Duration::from_millis(1500))),
        (b"-1", Pushback::Never),
        (b"", Pushback::Never),
        (b"+5", Pushback::Never),
        (b"soon", Pushback::Never),
        (b"\xff", Pushback::Never),
        (b"99999999999999999999999", Pushback::Never),
    ] {
        headers.insert(PUSHBACK, HeaderValue::from_bytes(value).unwrap());
        assert_eq!(read(&headers), Some(expected), "{value:?}");
    }
    // Two values are ambiguous.
    headers.insert(PUSHBACK, HeaderValue::from_static("0"));
    headers.append(PUSHBACK, HeaderValue::from_static("0"));
    assert_eq!(read(&headers), Some(Pushback::Never));
}

#[test]
fn written_milliseconds_are_never_too_few() {
    for (nanos, expected) in [(0, 0), (1, 1), (1_000_000, 1), (1_000_001, 2)] {
        assert_eq!(millis(Duration::from_nanos(nanos)), expected);
    }
    assert_eq!(millis(Duration::MAX), u64::MAX);
}
