//! What a layer knows of the time of a call.

use std::time::Duration;

use crate::runtime::{Moment, nanos};

/// What is known of the time of a call: in one word, because it is moved with every call. What is known is in the two highest
/// bits, the time in the others, where 146 years have room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time(u64);

const KNOWN: u64 = 0b11 << 62;
const BEGUN: u64 = 0b01 << 62;
const SINCE: u64 = 0b10 << 62;
const TOOK: u64 = 0b11 << 62;

impl Time {
    /// Nothing.
    pub(crate) const UNKNOWN: Self = Self(0);

    /// It began then, and has not had to wait.
    #[inline]
    pub(crate) const fn begun(moment: Moment) -> Self {
        Self(moment.to_bits() & !KNOWN | BEGUN)
    }

    /// It took so long, until its head was there.
    pub(crate) fn took(ran: Duration) -> Self {
        Self(nanos(ran).min(!KNOWN) | TOOK)
    }

    /// The same once it has to wait, if it was known when it began.
    #[inline]
    pub(crate) const fn waiting(self) -> Self {
        match self.0 & KNOWN {
            BEGUN => Self(self.0 & !KNOWN | SINCE),
            _ => self,
        }
    }

    /// The same from its head on: no time passes any more.
    pub(crate) fn at_head(self) -> Self {
        if self.is_known() {
            Self::took(self.ran())
        } else {
            self
        }
    }

    /// The same for a caller that went away: known only if it was waiting. It was not where the call was never pending, nor once the
    /// head was there.
    pub(crate) const fn if_it_waited(self) -> Self {
        match self.0 & KNOWN {
            BEGUN | TOOK => Self::UNKNOWN,
            _ => self,
        }
    }

    /// Whether it took at least as long until its head: of a time [taken](Self::took) alone.
    #[inline]
    pub(crate) const fn took_at_least(self, time: Duration) -> bool {
        // What it took has the highest tag.
        self.0 >= TOOK | time.as_nanos() as u64
    }

    pub(crate) const fn is_known(self) -> bool {
        self.0 & KNOWN != 0
    }

    /// Whether it had to wait, as far as is known.
    #[inline]
    pub(crate) const fn has_waited(self) -> bool {
        self.0 & SINCE != 0
    }

    /// How long the call has run, and the time now.
    pub(crate) fn ran_until_now(self) -> (Duration, Moment) {
        let (time, now) = (Moment::from_bits(self.0 & !KNOWN), Moment::now());
        match self.0 & KNOWN {
            0 => (Duration::ZERO, now),
            TOOK => (time.since_beginning(), now),
            _ => (now.since(time), now),
        }
    }

    /// How long the call ran.
    pub(crate) fn ran(self) -> Duration {
        let time = Moment::from_bits(self.0 & !KNOWN);
        match self.0 & KNOWN {
            0 => Duration::ZERO,
            TOOK => time.since_beginning(),
            _ => time.elapsed(),
        }
    }
}
