//! How a call was admitted, in a few bits.

/// Whether the latency of a call is wanted, and for how many calls it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample(u8);

impl Sample {
    /// Nobody wants its latency.
    pub(super) const NONE: Self = Self(0);

    /// It stands for so many calls, given as a power of two. How many are skipped may have changed when it ends.
    #[inline]
    pub(super) const fn of_two_to_the(exponent: u32) -> Self {
        Self(exponent as u8 + 1)
    }

    #[inline]
    pub(super) const fn to_bits(self) -> u64 {
        self.0 as u64
    }

    /// What `to_bits` gave.
    #[inline]
    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits as u8)
    }

    /// Whether its latency is wanted.
    #[inline]
    pub(super) const fn is_wanted(self) -> bool {
        self.0 != 0
    }

    /// How many calls it stands for.
    pub(super) const fn weight(self) -> u32 {
        1 << self.0.saturating_sub(1)
    }
}
