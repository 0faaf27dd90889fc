//! Which part of a limit of calls in flight each class of priority may use.
//!
//! Google's SRE book ("Handling Overload", on criticality) gives each class a threshold of its own,
//! so that a server rejects a class only while it rejects all lower ones. The thresholds are those
//! of trunk reservation in telephone networks: a class leaves some of the limit free for each class
//! above it. Calls of lower classes never occupy that part, so they cannot starve the higher ones,
//! and no state besides the number of calls in flight is needed.

use crate::vocabulary::priority::Priority;

/// A class leaves one in so many permits to each higher class.
const SHARE: u64 = 10;

/// The limit of a class, if `limit` is the whole one. `highest` is the highest class in use.
pub(crate) fn limit_of(limit: u32, class: Priority, highest: Priority) -> u32 {
    let above = (highest as u32).saturating_sub(class as u32);
    let share = (u64::from(limit) * u64::from(above)).div_ceil(SHARE);
    // At least one permit for each class, so that a small limit is shared, too. An idle layer admits
    // calls of any class.
    let reserved = u32::try_from(share).unwrap_or(u32::MAX).max(above);
    limit.saturating_sub(reserved).max(limit.min(1))
}

#[cfg(test)]
#[path = "priority_tests.rs"]
mod tests;
