//! The time of a call, as far as a layer knows it.

use std::time::Duration;

use crate::runtime::{Moment, nanos};

/// When a call began or how long it took, in one word: it moves with every call.
///
/// The three highest bits say what is known. The others hold the time, up to 73 years.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CallTime(u64);

const KNOWN: u64 = 0b111 << 61;
/// The time is the moment of the call's beginning.
const BEGUN: u64 = 0b001 << 61;
/// The time is the latency up to the head of the response.
const TOOK: u64 = 0b100 << 61;
/// The call was pending at least once.
const WAITED: u64 = 0b010 << 61;

impl CallTime {
    pub(crate) const UNKNOWN: Self = Self(0);

    #[inline]
    pub(crate) const fn begun(moment: Moment) -> Self {
        Self(moment.to_bits() & !KNOWN | BEGUN)
    }

    /// A latency of `ran`. Whether the call waited stays as it was.
    pub(crate) fn took(self, ran: Duration) -> Self {
        Self(nanos(ran).min(!KNOWN) | TOOK | self.0 & WAITED)
    }

    /// Marks a call whose beginning is known as pending.
    #[inline]
    pub(crate) const fn waiting(self) -> Self {
        match self.0 & KNOWN {
            BEGUN => Self(self.0 | WAITED),
            _ => self,
        }
    }

    /// Stops the time at the head of the response.
    pub(crate) fn at_head(self) -> Self {
        if self.is_known() {
            self.took(self.ran())
        } else {
            self
        }
    }

    /// The time of a cancelled call. It is known only if the call was pending and had no head.
    pub(crate) const fn if_it_waited(self) -> Self {
        if self.0 & KNOWN == BEGUN | WAITED {
            self
        } else {
            Self::UNKNOWN
        }
    }

    /// Whether a [latency](Self::took) of at least `time` is known.
    #[inline]
    pub(crate) const fn took_at_least(self, time: Duration) -> bool {
        self.0 & TOOK != 0 && self.0 & !KNOWN >= time.as_nanos() as u64
    }

    pub(crate) const fn is_known(self) -> bool {
        self.0 & KNOWN != 0
    }

    #[inline]
    pub(crate) const fn has_waited(self) -> bool {
        self.0 & WAITED != 0
    }

    /// How long the call has run, and the time now.
    pub(crate) fn ran_until_now(self) -> (Duration, Moment) {
        let (time, now) = (Moment::from_bits(self.0 & !KNOWN), Moment::now());
        match self.0 & KNOWN {
            0 => (Duration::ZERO, now),
            known if known & TOOK != 0 => (time.since_origin(), now),
            _ => (now.since(time), now),
        }
    }

    /// How long the call has run; zero if that is unknown.
    pub(crate) fn ran(self) -> Duration {
        let time = Moment::from_bits(self.0 & !KNOWN);
        match self.0 & KNOWN {
            0 => Duration::ZERO,
            known if known & TOOK != 0 => time.since_origin(),
            _ => time.elapsed(),
        }
    }
}
