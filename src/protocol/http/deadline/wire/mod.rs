//! The remaining time of a deadline, as a header value.

use std::fmt::{self, Write as _};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::layers::deadline;
use crate::protocol::http::header::{self, Single};

/// gRPC's own header.
pub(crate) static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The default header of all other requests.
pub(crate) static TIMEOUT_MS: HeaderName = HeaderName::from_static(deadline::FIELD);

/// The format of a duration in a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// gRPC's format: up to eight digits and a unit.
    Grpc,
    /// Whole milliseconds.
    Millis,
}

/// The maximal length of a value: the digits of a `u64`.
const MAX_LENGTH: usize = 20;

/// gRPC's specification allows eight digits.
const MAX_GRPC: u128 = 99_999_999;

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
    /// Reads a header; `None` if it is missing, invalid or repeated.
    pub(crate) fn of_header(self, headers: &HeaderMap, name: &HeaderName) -> Option<Duration> {
        match Single::of(headers, name) {
            Single::Value(value) => self.parse(value.as_bytes()),
            Single::Missing | Single::Repeated => None,
        }
    }

    /// Parses an untrusted value.
    pub(crate) fn parse(self, value: &[u8]) -> Option<Duration> {
        match self {
            Self::Millis => deadline::parse(value),
            Self::Grpc => {
                let (unit, digits) = value.split_last()?;
                let (_, nanos) = UNITS.iter().find(|(letter, _)| letter == unit)?;
                let count = deadline::parse_digits(digits, 8)?;
                // Eight digits of hours exceed a `u64` of nanoseconds.
                let nanos = u128::from(count) * u128::from(*nanos);
                let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
                Some(Duration::new(seconds, (nanos % 1_000_000_000) as u32))
            }
        }
    }

    /// Formats the remaining time, rounded down so that no server takes longer. A remainder above
    /// zero never becomes zero, which would be a deadline that has passed.
    pub(crate) fn format(self, left: Duration) -> HeaderValue {
        let mut text = Text::default();
        // Every value fits into the buffer.
        let _ = match self {
            Self::Millis => write!(text, "{}", deadline::format(left)),
            Self::Grpc => {
                let nanos = left.as_nanos();
                let fits = |(_, unit): &&(u8, u64)| nanos / u128::from(*unit) <= MAX_GRPC;
                let (letter, unit) = UNITS.iter().find(fits).unwrap_or(&UNITS[5]);
                let count = (nanos / u128::from(*unit)).min(MAX_GRPC);
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

/// A text on the stack.
#[derive(Default)]
struct Text {
    bytes: [u8; MAX_LENGTH],
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
        let target = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
        target.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
