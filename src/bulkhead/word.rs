//! What the places of a bulkhead are counted in: one word, so that a call takes one step to get in and one to get out.
//!
//! From the lowest: how many calls are in flight (24 bits), how many were ever admitted (19), whether anybody waits (1), the generation (20).

/// One call in flight, in the lowest 24 bits of the word.
pub(super) const CALL: u64 = 1;
/// One admission, in the next 19, where the count wraps.
pub(super) const ADMISSION: u64 = 1 << 24;
/// Somebody waits.
pub(super) const WAITS: u64 = 1 << 43;
/// One generation, in the highest 20.
pub(super) const GENERATION: u64 = 1 << 44;

/// The most that are counted before the count of admissions begins again.
pub(super) const ADMISSIONS: u64 = (1 << 19) - 1;

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
