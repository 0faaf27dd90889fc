//! What the places of a bulkhead are counted in: one word, so that a call takes one step to get in and one to get out.
//!
//! From the lowest: how many calls are in flight (24 bits), how many were ever admitted (39), whether anybody waits (1).

/// One call in flight, in the lowest 24 bits of the word.
pub(super) const CALL: u64 = 1;
/// One admission, in the next 39, where the count wraps.
pub(super) const ADMISSION: u64 = 1 << 24;
/// Somebody waits.
pub(super) const WAITS: u64 = 1 << 63;

/// The most that are counted before the count of admissions begins again.
pub(super) const ADMISSIONS: u64 = (1 << 39) - 1;

pub(super) const fn in_flight(word: u64) -> u32 {
    (word & (ADMISSION - 1)) as u32
}

pub(super) const fn admissions(word: u64) -> u64 {
    (word & (WAITS - 1)) >> 24
}

/// One more admission; whether the count begins again.
pub(super) const fn admit(word: u64) -> (u64, bool) {
    if admissions(word) == ADMISSIONS {
        (word - ADMISSIONS * ADMISSION, true)
    } else {
        (word + ADMISSION, false)
    }
}
