//! The remaining time as whole milliseconds.

use std::time::Duration;

/// The field or header.
pub(crate) const FIELD: &str = "x-request-timeout-ms";

/// Parses an untrusted value.
pub(crate) fn parse(value: &[u8]) -> Option<Duration> {
    /// The digits of a `u64`.
    const MAX_LENGTH: usize = 20;
    parse_digits(value, MAX_LENGTH).map(Duration::from_millis)
}

/// Parses up to `max` digits.
pub(crate) fn parse_digits(digits: &[u8], max: usize) -> Option<u64> {
    if digits.is_empty() || digits.len() > max || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}

/// The remaining time in milliseconds, rounded down so that no server takes longer. A remainder
/// above zero never becomes zero, which would be a deadline that has passed.
pub(crate) fn format(remaining: Duration) -> u64 {
    let millis = u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX);
    millis.max(u64::from(!remaining.is_zero()))
}
