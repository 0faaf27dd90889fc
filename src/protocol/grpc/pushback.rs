//! `grpc-retry-pushback-ms`: the server's hint for a retry.

use std::time::Duration;

use http::HeaderMap;

use crate::protocol::http::ResponseHead;

pub(crate) const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// The hint for a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushback {
    /// Retry after exactly this time.
    After(Duration),
    /// Do not retry: the value is negative, invalid or duplicate.
    Never,
}

pub(super) fn read(headers: &HeaderMap) -> Option<Pushback> {
    let mut values = headers.get_all(PUSHBACK).iter();
    let value = values.next()?.as_bytes();
    if values.next().is_some() {
        return Some(Pushback::Never);
    }
    let millis = str::from_utf8(value).ok().and_then(|text| {
        // The specification permits only digits; `parse` alone would accept a plus sign.
        text.bytes()
            .all(|byte| byte.is_ascii_digit())
            .then_some(())?;
        text.parse().ok()
    });
    Some(millis.map_or(Pushback::Never, |millis| {
        Pushback::After(Duration::from_millis(millis))
    }))
}

/// The hint of a response head. A proxy sends HTTP's `Retry-After` instead of gRPC's hint.
pub(super) fn of_head(head: &ResponseHead<'_>) -> Option<Pushback> {
    read(head.headers()).or_else(|| {
        // A hint of zero must not replace the back-off and its jitter.
        let after = head.retry_after().filter(|after| !after.is_zero());
        after.map(Pushback::After)
    })
}

/// The hint for the open time of a circuit breaker.
pub(super) fn hint(headers: &HeaderMap) -> Option<Duration> {
    match read(headers)? {
        Pushback::After(after) => Some(after),
        Pushback::Never => None,
    }
}

/// Whole milliseconds, rounded up.
pub(crate) fn millis(after: Duration) -> u64 {
    let partial = u128::from(!after.subsec_nanos().is_multiple_of(1_000_000));
    u64::try_from(after.as_millis() + partial).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "pushback_tests.rs"]
mod tests;
