//! `Retry-After`, read and written.

use std::time::{Duration, SystemTime};

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};

use crate::runtime::wall_clock;

/// How long the server asks to be left alone. Only where it says that it has too much to do: on a redirect, `Retry-After` means
/// something else.
pub(super) fn read(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    if !matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    ) {
        return None;
    }
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
    parse(value.trim(), wall_clock)
}

/// Seconds, or a date; one in the past is zero.
fn parse(value: &str, now: impl FnOnce() -> SystemTime) -> Option<Duration> {
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More seconds than can be counted are too many for anyone.
        return Some(value.parse().map_or(Duration::MAX, Duration::from_secs));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now()).unwrap_or(Duration::ZERO))
}

/// As whole seconds: rounded up, so that nobody comes back too early, and at least one, because zero means "at once" to many clients.
pub(crate) fn seconds(after: Duration) -> u64 {
    let partial = u64::from(after.subsec_nanos() > 0);
    after.as_secs().saturating_add(partial).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    /// 1994-11-06 08:49:37 UTC, the example of the specification.
    const THEN: Duration = Duration::from_secs(784_111_777);

    #[test]
    fn seconds_and_all_three_forms_of_a_date() {
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
        let endless = "9".repeat(10_000);
        assert_eq!(parse(&endless, || now), Some(Duration::MAX));
    }

    #[test]
    fn only_where_the_server_has_too_much_to_do() {
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
    fn written_seconds_are_never_too_few() {
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
}
