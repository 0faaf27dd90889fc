//! The header `Retry-After`.

use std::time::{Duration, SystemTime};

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};

use crate::runtime::wall_clock;

/// The hint of a 429 or a 503. On a redirect `Retry-After` has another meaning.
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

/// Parses seconds or a date. A date in the past is zero.
fn parse(value: &str, now: impl FnOnce() -> SystemTime) -> Option<Duration> {
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(value.parse().map_or(Duration::MAX, Duration::from_secs));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now()).unwrap_or(Duration::ZERO))
}

/// The value in whole seconds: rounded up, so that no client retries too early, and at least one,
/// because many clients retry at once on zero.
pub(crate) fn seconds(after: Duration) -> u64 {
    let partial = u64::from(after.subsec_nanos() > 0);
    after.as_secs().saturating_add(partial).max(1)
}

#[cfg(test)]
#[path = "retry_after_tests.rs"]
mod tests;
