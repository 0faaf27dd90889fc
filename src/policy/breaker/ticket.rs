//! The decision on a call, and the ticket that an admitted call returns with its outcome.

use std::time::Duration;

/// The epoch and kind of an admitted call, in two words because it moves with every call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(super) epoch: u64,
    /// The serial number of a probe, or one of the two highest numbers for the other kinds.
    serial: u64,
}

const COUNTED: u64 = u64::MAX;
const WOULD_REJECT: u64 = u64::MAX - 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counted,
    /// With its serial number.
    Probe(u64),
    /// Admitted only because of shadow mode.
    WouldReject,
}

impl Ticket {
    pub(super) const fn new(epoch: u64, kind: Kind) -> Self {
        let serial = match kind {
            Kind::Counted => COUNTED,
            Kind::Probe(serial) => serial,
            Kind::WouldReject => WOULD_REJECT,
        };
        Self { epoch, serial }
    }

    /// The ticket of a call admitted by [`Front`](super::report::Front) in the closed state.
    #[inline]
    pub(crate) const fn counted(epoch: u64) -> Self {
        Self::new(epoch, Kind::Counted)
    }

    /// The ticket of a call that would be rejected outside of shadow mode.
    pub(crate) const fn rejected_in_shadow(epoch: u64) -> Self {
        Self::new(epoch, Kind::WouldReject)
    }

    #[inline]
    pub(crate) const fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) const fn kind(&self) -> Kind {
        match self.serial {
            COUNTED => Kind::Counted,
            WOULD_REJECT => Kind::WouldReject,
            serial => Kind::Probe(serial),
        }
    }

    pub(crate) const fn to_words(self) -> [u64; 2] {
        [self.epoch, self.serial]
    }

    pub(crate) const fn from_words([epoch, serial]: [u64; 2]) -> Self {
        Self { epoch, serial }
    }

    #[inline]
    pub(crate) const fn is_probe(&self) -> bool {
        matches!(self.kind(), Kind::Probe(_))
    }

    pub(crate) const fn would_reject(&self) -> bool {
        self.serial == WOULD_REJECT
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    Admit(Ticket),
    Reject {
        /// The time until a call may be admitted, if known. Never zero.
        retry_after: Option<Duration>,
    },
}
