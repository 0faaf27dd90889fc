//! What is left of a deadline, as it stands in a header.

use std::fmt::{self, Write as _};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::protocol::http::{header, header::Given};

/// gRPC's own header.
pub(crate) static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The header for everything else, unless another one is asked for.
pub(crate) static TIMEOUT_MS: HeaderName = HeaderName::from_static("x-request-timeout-ms");

/// How a header says a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As gRPC does: up to eight digits and a unit.
    Grpc,
    /// Whole milliseconds.
    Millis,
}

/// The longest a value can be: the digits of a `u64`.
const LONGEST: usize = 20;

/// gRPC's specification allows eight digits.
const MOST: u128 = 99_999_999;

/// gRPC's units in nanoseconds, the finest first.
const UNITS: [(u8, u64); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', 1_000_000_000),
    (b'M', 60_000_000_000),
    (b'H', 3_600_000_000_000),
];

impl Form {
    /// What a header says; `None` when it is missing, says no such thing, or is given more than once: nobody can tell which one is meant.
    pub(crate) fn of_header(self, headers: &HeaderMap, name: &HeaderName) -> Option<Duration> {
        match Given::of(headers, name) {
            Given::Once(value) => self.parse(value.as_bytes()),
            Given::Not | Given::Repeatedly => None,
        }
    }

    /// Reads a value that anyone may have written.
    pub(crate) fn parse(self, value: &[u8]) -> Option<Duration> {
        match self {
            Self::Millis => number(value, LONGEST).map(Duration::from_millis),
            Self::Grpc => {
                let (unit, digits) = value.split_last()?;
                let (_, nanos) = UNITS.iter().find(|(letter, _)| letter == unit)?;
                let count = number(digits, 8)?;
                // Eight digits of hours are more nanoseconds than fit.
                let nanos = u128::from(count) * u128::from(*nanos);
                let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
                Some(Duration::new(seconds, (nanos % 1_000_000_000) as u32))
            }
        }
    }

    /// Writes what is left: rounded down, so that nobody takes longer than there is; but what is left is never written as nothing, which
    /// would be late already.
    pub(crate) fn format(self, left: Duration) -> HeaderValue {
        let mut text = Text::default();
        // Every value fits.
        let _ = match self {
            Self::Millis => {
                let millis = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
                let least = u64::from(!left.is_zero());
                write!(text, "{}", millis.max(least))
            }
            Self::Grpc => {
                let nanos = left.as_nanos();
                let fits = |(_, unit): &&(u8, u64)| nanos / u128::from(*unit) <= MOST;
                let (letter, unit) = UNITS.iter().find(fits).unwrap_or(&UNITS[5]);
                let count = (nanos / u128::from(*unit)).min(MOST);
                write!(text, "{count}{}", char::from(*letter))
            }
        };
        let value = HeaderValue::from_bytes(text.as_bytes());
        let value = value.unwrap_or(HeaderValue::from_static("0"));
        match self {
            Self::Millis => value,
            Self::Grpc => header::never_indexed(value),
        }
    }
}

/// Digits and nothing else, at most so many.
fn number(digits: &[u8], most: usize) -> Option<u64> {
    if digits.is_empty() || digits.len() > most || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}

/// A short text that is made in place.
#[derive(Default)]
struct Text {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Text {
    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        let place = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
