//! Formatting of snapshots.

use std::fmt;
use std::time::Duration;

/// `full 3, shed 2`.
pub(crate) struct Words<I>(pub(crate) I);

impl<I: Iterator<Item = (&'static str, u64)> + Clone> fmt::Display for Words<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (word, count)) in self.0.clone().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{word} {count}")?;
        }
        Ok(())
    }
}

/// A duration for people: `850 us`, `12 ms`, `3.2 s`, `4 min`.
pub(crate) struct InWords(pub(crate) Duration);

impl fmt::Display for InWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(duration) = self;
        let (seconds, micros) = (duration.as_secs(), duration.as_micros());
        match (seconds, micros) {
            (0, 0..1_000) => write!(f, "{micros} us"),
            (0, 1_000..10_000) => write!(f, "{:.1} ms", duration.as_secs_f64() * 1e3),
            (0, _) => write!(f, "{} ms", duration.as_millis()),
            (1..120, _) => write!(f, "{:.1} s", duration.as_secs_f64()),
            (120..7_200, _) => write!(f, "{} min", seconds / 60),
            _ => write!(f, "{} h", seconds / 3_600),
        }
    }
}

#[cfg(feature = "serde")]
mod with_serde {
    use std::time::Duration;

    use serde::Serializer;
    use serde::ser::SerializeMap;

    use crate::policy::{
        breaker::{Cause, State},
        retry::{RetryCause, RetryRefused},
    };
    use crate::vocabulary::{mode::Mode, reason::Reason};

    pub(crate) fn seconds<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(duration.as_secs_f64())
    }

    #[expect(clippy::ref_option, reason = "serde calls it so")]
    pub(crate) fn optional_seconds<S: Serializer>(
        duration: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => seconds(duration, to),
            None => to.serialize_none(),
        }
    }

    /// Enums with one word for each variant.
    pub(crate) trait AsStr: Copy {
        fn word(self) -> &'static str;
    }

    macro_rules! words {
        ($($kind:ty),*) => {
            $(impl AsStr for $kind {
                fn word(self) -> &'static str {
                    self.as_str()
                }
            })*
        };
    }

    words!(Cause, Mode, Reason, RetryCause, RetryRefused, State);

    pub(crate) fn as_str<T: AsStr, S: Serializer>(of: &T, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(of.word())
    }

    pub(crate) fn counts<T: AsStr, S: Serializer>(
        counts: &[(T, u64)],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(counts.len()))?;
        for (of, count) in counts {
            map.serialize_entry(of.word(), count)?;
        }
        map.end()
    }
}

#[cfg(feature = "serde")]
pub(crate) use with_serde::{as_str, counts, optional_seconds, seconds};

#[cfg(test)]
mod tests;
