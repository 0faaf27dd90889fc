//! `grpc-retry-pushback-ms`: when a server wants to be tried again, if at all.

use std::time::Duration;

use http::HeaderMap;

use crate::protocol::http::ResponseHead;

pub(crate) const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// What a server says of a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushback {
    /// After exactly so long.
    After(Duration),
    /// Not at all: it says so by a negative number, or by anything else that is none, two of them included.
    Never,
}

pub(super) fn read(headers: &HeaderMap) -> Option<Pushback> {
    let mut values = headers.get_all(PUSHBACK).iter();
    let value = values.next()?.as_bytes();
    if values.next().is_some() {
        return Some(Pushback::Never);
    }
    let millis = str::from_utf8(value).ok().and_then(|text| {
        // The specification knows digits only; `parse` alone would take a plus sign.
        text.bytes()
            .all(|byte| byte.is_ascii_digit())
            .then_some(())?;
        text.parse().ok()
    });
    Some(millis.map_or(Pushback::Never, |millis| {
        Pushback::After(Duration::from_millis(millis))
    }))
}

/// What a head says of a retry. A proxy knows nothing of gRPC's own hint, and says it as HTTP does.
pub(super) fn of_head(head: &ResponseHead<'_>) -> Option<Pushback> {
    read(head.headers()).or_else(|| {
        // "At once" says nothing that would be worth giving up the back-off and its jitter for.
        let after = head.retry_after().filter(|after| !after.is_zero());
        after.map(Pushback::After)
    })
}

/// The hint that a circuit breaker may stay open for.
pub(super) fn hint(headers: &HeaderMap) -> Option<Duration> {
    match read(headers)? {
        Pushback::After(after) => Some(after),
        Pushback::Never => None,
    }
}

/// As whole milliseconds, rounded up.
pub(crate) fn millis(after: Duration) -> u64 {
    let partial = u128::from(!after.subsec_nanos().is_multiple_of(1_000_000));
    u64::try_from(after.as_millis() + partial).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
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
        // Nobody can tell which one is meant.
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
}
