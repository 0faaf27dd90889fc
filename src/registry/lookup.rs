//! Why a look-up by name fails.

use std::error::Error;
use std::fmt;

/// How many names an error suggests.
const MOST_NEAR: usize = 5;

/// The error of a look-up by name.
///
/// ```
/// use mainstay::registry::Registry;
/// use mainstay::{BulkheadLayer, CircuitBreakerLayer};
///
/// let registry = Registry::new();
/// let payments = CircuitBreakerLayer::builder().name("payments").build()?;
/// registry.add(payments.handle());
///
/// let error = registry.circuit_breaker("paymets").unwrap_err();
/// assert_eq!(error.to_string(), "no circuit_breaker has the name `paymets`: is `payments` meant?");
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LookupError {
    /// Nothing has the name.
    #[non_exhaustive]
    NotFound {
        /// The kind of layer, or `stack`.
        layer: String,
        /// The name.
        name: String,
        /// Names that exist, the most similar first: at most 5.
        near: Vec<String>,
    },
    /// Several instances have the name, so an operation on one of them would be a guess.
    #[non_exhaustive]
    Ambiguous {
        /// The kind of layer, or `stack`.
        layer: String,
        /// The name.
        name: String,
        /// Number of instances with that name.
        count: usize,
    },
}

impl LookupError {
    pub(super) fn not_found(layer: &str, name: &str, names: impl Iterator<Item = String>) -> Self {
        let mut near: Vec<_> = names.map(|other| (distance(name, &other), other)).collect();
        near.sort();
        near.dedup();
        near.truncate(MOST_NEAR);
        Self::NotFound {
            layer: layer.to_owned(),
            name: name.to_owned(),
            near: near.into_iter().map(|(_, name)| name).collect(),
        }
    }

    pub(super) fn ambiguous(layer: &str, name: &str, count: usize) -> Self {
        Self::Ambiguous {
            layer: layer.to_owned(),
            name: name.to_owned(),
            count,
        }
    }
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { layer, name, near } => {
                write!(f, "no {layer} has the name `{}`", name.escape_debug())?;
                match near.as_slice() {
                    [] => Ok(()),
                    [one] => write!(f, ": is `{one}` meant?"),
                    several => {
                        let names: Vec<_> =
                            several.iter().map(|name| format!("`{name}`")).collect();
                        write!(f, ": is one of {} meant?", names.join(", "))
                    }
                }
            }
            Self::Ambiguous { layer, name, count } => {
                write!(f, "{count} instances of {layer} have the name `{name}`")
            }
        }
    }
}

impl Error for LookupError {}

/// The edit distance of two names.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, left) in one.chars().take(64).zip(1..) {
        let mut diagonal = std::mem::replace(&mut row[0], left);
        for at in 1..row.len() {
            let changed = diagonal + usize::from(above != other[at - 1]);
            diagonal = row[at];
            row[at] = changed.min(row[at] + 1).min(row[at - 1] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn the_distance_counts_changed_characters() {
        for (one, other, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("payments", "paymets", 1),
            ("stock", "stack", 1),
            ("ab", "ba", 2),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(one, other), expected, "{one} {other}");
        }
    }
}
