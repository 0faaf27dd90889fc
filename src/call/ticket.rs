//! The record of an admitted call.

use crate::call::call_time::CallTime;

/// The record that an instance keeps of an admitted call.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Ticket {
    pub(crate) number: u64,
    pub(crate) serial: u64,
    pub(crate) time: CallTime,
}

impl Ticket {
    pub(crate) const NONE: Self = Self {
        number: 0,
        serial: 0,
        time: CallTime::UNKNOWN,
    };

    /// A ticket with the number 0.
    pub const fn new() -> Self {
        Self::NONE
    }

    /// Sets a number that means something to the policy.
    pub const fn with_number(mut self, number: u64) -> Self {
        self.number = number;
        self
    }

    /// The number.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }
}

impl Default for Ticket {
    fn default() -> Self {
        Self::new()
    }
}
