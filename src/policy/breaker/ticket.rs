//! What a call is told when it comes, and shows when it goes.

use std::time::Duration;

/// What a call was admitted under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(super) epoch: u64,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counted,
    /// By its serial number.
    Probe(u64),
    /// Let through in shadow mode only.
    WouldReject,
}

impl Ticket {
    /// The ticket of a call that [`Front`](super::Front) let through in the closed state.
    pub(crate) const fn counted(epoch: u64) -> Self {
        Self {
            epoch,
            kind: Kind::Counted,
        }
    }

    /// The ticket of a call that would have been rejected, had the breaker not been in shadow mode.
    pub(crate) const fn rejected_in_shadow(epoch: u64) -> Self {
        Self {
            epoch,
            kind: Kind::WouldReject,
        }
    }

    pub(crate) const fn epoch(&self) -> u64 {
        self.epoch
    }

    #[cfg(test)]
    pub(crate) const fn is_probe(&self) -> bool {
        matches!(self.kind, Kind::Probe(_))
    }

    pub(crate) const fn would_reject(&self) -> bool {
        matches!(self.kind, Kind::WouldReject)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    Admit(Ticket),
    Reject {
        /// When a call may be let through again, if that is known. Never zero.
        retry_after: Option<Duration>,
    },
}
