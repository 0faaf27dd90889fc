//! Placing an order: reserve the stock, charge the payment, confirm, or undo what was done.
//!
//! The orchestrator stores the state before each step, and repeats the step until it is answered.
//! Steps are idempotent by the order and the step, so one that was repeated after a crash has its
//! effect once. Undoing is repeated until it is done: it has no failure, only delay.
//!
//! Pure: [`State::next`] says which step a state stands for, and [`State::after`] to which state its
//! result leads.

use serde::{Deserialize, Serialize};

/// What is stored of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The stock is being reserved.
    Reserving,
    /// The stock is reserved. The payment is being charged.
    Charging,
    /// Stock and payment are there. The reservation is being turned into a sale.
    Confirming,
    /// The payment may have been charged. It is being refunded.
    Refunding,
    /// The stock may be reserved. It is being released.
    Releasing,
    /// The customer has the order. An end.
    Confirmed,
    /// Nothing has happened, or what did was undone. An end.
    Compensated,
}

/// What the orchestrator asks another service to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Of the stock.
    Reserve,
    /// Of the payments.
    Charge,
    /// Of the stock: the reservation becomes a sale.
    Confirm,
    /// Of the payments: undoes a charge, or forbids one that comes later.
    Refund,
    /// Of the stock: undoes a reservation, or forbids one that comes later.
    Release,
}

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It has had its effect.
    Done,
    /// It was declined, and has had no effect.
    Declined,
    /// Whether it has had its effect is not known, and its time is over.
    Unknown,
}

impl State {
    /// The state of a new order.
    pub const FIRST: Self = Self::Reserving;

    /// All states.
    pub const ALL: [Self; 7] = [
        Self::Reserving,
        Self::Charging,
        Self::Confirming,
        Self::Refunding,
        Self::Releasing,
        Self::Confirmed,
        Self::Compensated,
    ];

    /// The name in databases, messages and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reserving => "reserving",
            Self::Charging => "charging",
            Self::Confirming => "confirming",
            Self::Refunding => "refunding",
            Self::Releasing => "releasing",
            Self::Confirmed => "confirmed",
            Self::Compensated => "compensated",
        }
    }

    /// The state with this name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// The step that this state stands for; `None` at an end.
    #[must_use]
    pub const fn next(self) -> Option<Step> {
        match self {
            Self::Reserving => Some(Step::Reserve),
            Self::Charging => Some(Step::Charge),
            Self::Confirming => Some(Step::Confirm),
            Self::Refunding => Some(Step::Refund),
            Self::Releasing => Some(Step::Release),
            Self::Confirmed | Self::Compensated => None,
        }
    }

    /// The state after the answer to its step.
    #[must_use]
    pub const fn after(self, answer: Answer) -> Self {
        match (self, answer) {
            (Self::Reserving, Answer::Done) => Self::Charging,
            // A reservation that was declined holds nothing.
            (Self::Reserving, Answer::Declined) => Self::Compensated,
            (Self::Reserving, Answer::Unknown) => Self::Releasing,
            (Self::Charging, Answer::Done) => Self::Confirming,
            (Self::Charging, Answer::Declined) => Self::Releasing,
            (Self::Charging, Answer::Unknown) => Self::Refunding,
            (Self::Confirming, Answer::Done) => Self::Confirmed,
            // The reservation has expired meanwhile.
            (Self::Confirming, Answer::Declined) => Self::Refunding,
            (Self::Refunding, Answer::Done | Answer::Declined) => Self::Releasing,
            (Self::Releasing, Answer::Done | Answer::Declined) => Self::Compensated,
            // Past the point of no return, and on the way back, a step is repeated until it is
            // answered.
            (Self::Confirming | Self::Refunding | Self::Releasing, Answer::Unknown) => self,
            (Self::Confirmed | Self::Compensated, _) => self,
        }
    }

    /// Whether the order has come to an end.
    #[must_use]
    pub const fn is_end(self) -> bool {
        self.next().is_none()
    }
}

impl Step {
    /// The name in messages and keys.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reserve => "reserve",
            Self::Charge => "charge",
            Self::Confirm => "confirm",
            Self::Refund => "refund",
            Self::Release => "release",
        }
    }
}

#[cfg(test)]
#[path = "saga_tests.rs"]
mod tests;
