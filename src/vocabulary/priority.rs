//! How important a call is.

use std::error::Error as StdError;
use std::fmt;
use std::str::FromStr;

/// How important a call is. Of two classes, the higher one is `>` the lower one.
///
/// Under overload a [load shedder](crate::load_shed#which-calls-are-shed-first) rejects calls of
/// lower classes first. From the queue of a [bulkhead](crate::bulkhead), calls of higher classes
/// leave first; a queue that is full rejects calls of all classes.
///
/// It is part of the [`Context`](crate::Context), so calls that a request makes have its priority.
/// [`Context::with_priority`](crate::Context::with_priority) sets it, and for a single request
/// [`Overrides::priority`](crate::Overrides::priority).
///
/// ```
/// use mainstay::{Context, Priority};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let batch = Context::current().with_priority(Priority::Sheddable);
/// batch.scope(async {
///     assert_eq!(Context::current().priority(), Priority::Sheddable);
/// }).await;
/// assert_eq!(Context::current().priority(), Priority::Normal);
/// assert!(Priority::Critical > Priority::Normal);
/// # }
/// ```
///
/// # Between services
///
/// No layer sends it to other services or reads it from requests: a caller that chooses its own
/// class is always critical. Services that trust each other can send [`as_str`](Self::as_str) in a
/// header and parse it on the server.
///
/// ```
/// use mainstay::Priority;
///
/// assert_eq!("low".parse(), Ok(Priority::Low));
/// assert_eq!("urgent".parse::<Priority>().unwrap_or_default(), Priority::Normal);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Work that can be left out or repeated later: prefetches, batch jobs.
    Sheddable,
    /// Work whose delay few people notice: reports, synchronisation in the background.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Work that matters more than the rest: a payment, a login.
    High,
    /// Work that the whole system depends on, such as operators' requests in an outage. Keep it
    /// rare.
    Critical,
}

impl Priority {
    pub(crate) const ALL: [Self; 5] = [
        Self::Sheddable,
        Self::Low,
        Self::Normal,
        Self::High,
        Self::Critical,
    ];

    /// The name in snake case.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Sheddable => "sheddable",
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// The class with this number; the highest for a greater one.
    pub(crate) const fn from_bits(bits: u32) -> Self {
        match bits {
            0 => Self::Sheddable,
            1 => Self::Low,
            2 => Self::Normal,
            3 => Self::High,
            _ => Self::Critical,
        }
    }

    /// The name, unless it is the default.
    pub(crate) fn if_set(self) -> Option<&'static str> {
        (self != Self::Normal).then(|| self.as_str())
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Priority {
    type Err = InvalidPriority;

    /// Reads a name as [`as_str`](Self::as_str) returns it, in any case.
    fn from_str(text: &str) -> Result<Self, InvalidPriority> {
        let mut all = Self::ALL.into_iter();
        let found = all.find(|class| class.as_str().eq_ignore_ascii_case(text));
        found.ok_or(InvalidPriority(()))
    }
}

/// A text that is not the name of a [`Priority`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidPriority(());

impl fmt::Display for InvalidPriority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a priority: critical, high, normal, low or sheddable")
    }
}

impl StdError for InvalidPriority {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_have_an_order_a_number_and_a_name() {
        for (number, class) in Priority::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, number);
            assert_eq!(Priority::from_bits(number as u32), class);
            assert_eq!(class.as_str().parse(), Ok(class));
            assert_eq!(class.to_string().to_uppercase().parse(), Ok(class));
        }
        assert!(Priority::ALL.is_sorted());
        assert!("".parse::<Priority>().is_err());
        assert_eq!(Priority::default().if_set(), None);
    }
}
