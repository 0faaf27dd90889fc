//! What a layer knows of the time of a call.

use std::time::Duration;

use crate::runtime::{Moment, nanos};

/// What is known of the time of a call: in one word, because it is moved with every call. What is known is in the three highest
/// bits, the time in the others, where 73 years have room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time(u64);

const KNOWN: u64 = 0b111 << 61;
/// When it began.
const BEGUN: u64 = 0b001 << 61;
/// How long it took until its head.
const TOOK: u64 = 0b100 << 61;
/// It had to wait.
const WAITED: u64 = 0b010 << 61;

impl Time {
    /// Nothing.
    pub(crate) const UNKNOWN: Self = Self(0);

    /// It began then, and has not had to wait.
    #[inline]
    pub(crate) const fn begun(moment: Moment) -> Self {
        Self(moment.to_bits() & !KNOWN | BEGUN)
    }

    /// It took so long, until its head was there; whether it had to wait is as before.
    pub(crate) fn took(self, ran: Duration) -> Self {
        Self(nanos(ran).min(!KNOWN) | TOOK | self.0 & WAITED)
    }

    /// The same once it has to wait, if it is known when it began.
    #[inline]
    pub(crate) const fn waiting(self) -> Self {
        match self.0 & KNOWN {
            BEGUN => Self(self.0 | WAITED),
            _ => self,
        }
    }

    /// The same from its head on: no time passes any more.
    pub(crate) fn at_head(self) -> Self {
        if self.is_known() {
            self.took(self.ran())
        } else {
            self
        }
    }

    /// The same for a caller that went away: known only if it was waiting. It was not where the call was never pending, nor once the
    /// head was there.
    pub(crate) const fn if_it_waited(self) -> Self {
        if self.0 & KNOWN == BEGUN | WAITED {
            self
        } else {
            Self::UNKNOWN
        }
    }

    /// Whether it took at least as long until its head: of a time [taken](Self::took) alone.
    #[inline]
    pub(crate) const fn took_at_least(self, time: Duration) -> bool {
        self.0 & TOOK != 0 && self.0 & !KNOWN >= time.as_nanos() as u64
    }

    pub(crate) const fn is_known(self) -> bool {
        self.0 & KNOWN != 0
    }

    /// Whether it had to wait, as far as is known.
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

    /// How long the call ran.
    pub(crate) fn ran(self) -> Duration {
        let time = Moment::from_bits(self.0 & !KNOWN);
        match self.0 & KNOWN {
            0 => Duration::ZERO,
            known if known & TOOK != 0 => time.since_origin(),
            _ => time.elapsed(),
        }
    }
}
