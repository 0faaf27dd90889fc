//! How a call was admitted, in a few bits.

/// How a call was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Admitted {
    /// 0: nobody wants its latency. Else it stands for a number of calls, which is a power of two: for `1 << (sample - 1)`. How many are skipped
    /// may have changed when it ends.
    pub(super) sample: u8,
    pub(super) generation: u32,
}

impl Admitted {
    #[inline]
    pub(crate) const fn to_bits(self) -> u64 {
        (self.generation as u64) << 4 | self.sample as u64
    }

    /// What `to_bits` gave.
    #[inline]
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self {
            sample: (bits & 0xf) as u8,
            generation: (bits >> 4) as u32,
        }
    }

    /// Whether its latency is wanted.
    #[inline]
    pub(crate) const fn is_sample(self) -> bool {
        self.sample != 0
    }

    /// How many calls it stands for.
    pub(crate) const fn weight(self) -> u32 {
        1 << self.sample.saturating_sub(1)
    }

    pub(crate) fn stamp(self) -> u64 {
        self.generation.into()
    }
}
