//! The counts of a bulkhead in one word, so that one atomic operation acquires or releases a
//! permit.
//!
//! Bits 0 to 23 are the calls in flight, bits 24 to 62 the admissions, and bit 63 says whether
//! calls wait.

/// One call in flight.
pub(super) const CALL: u64 = 1;
/// One admission. The count wraps.
pub(super) const ADMISSION: u64 = 1 << 24;
pub(super) const HAS_WAITERS: u64 = 1 << 63;

/// The highest count of admissions before it wraps.
pub(super) const MAX_ADMISSIONS: u64 = (1 << 39) - 1;

pub(super) const fn in_flight(word: u64) -> u32 {
    (word & (ADMISSION - 1)) as u32
}

pub(super) const fn admissions(word: u64) -> u64 {
    (word & (HAS_WAITERS - 1)) >> 24
}

/// Counts an admission. The flag is true if the count wraps.
pub(super) const fn admit(word: u64) -> (u64, bool) {
    if admissions(word) == MAX_ADMISSIONS {
        (word - MAX_ADMISSIONS * ADMISSION, true)
    } else {
        (word + ADMISSION, false)
    }
}
