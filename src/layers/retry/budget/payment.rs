//! The price of a retry.

use std::sync::Arc;

use super::{Kind, RetryBudget, Shared};
use crate::policy::budget::Withdrawal;

/// A retry that was withdrawn from the budgets that it needs. They are refunded when it is dropped
/// unspent.
pub(in crate::layers::retry) struct Payment {
    own: Withdrawn,
    overall: Option<Withdrawn>,
}

/// A retry that was withdrawn from one budget.
struct Withdrawn {
    shared: Arc<Shared>,
    withdrawal: Option<Withdrawal>,
}

impl Payment {
    /// The retry is sent.
    pub(in crate::layers::retry) fn spend(self) {
        self.own.spend();
        if let Some(overall) = self.overall {
            overall.spend();
        }
    }
}

impl Withdrawn {
    fn spend(mut self) {
        self.withdrawal = None;
    }
}

impl Drop for Withdrawn {
    fn drop(&mut self) {
        if let Some(withdrawal) = self.withdrawal.take() {
            let (mut ledger, now) = self.shared.open(None);
            if let Kind::Budget(budget) = &mut ledger.kind {
                budget.refund(now, withdrawal);
            }
            self.shared.turn_page(&ledger);
        }
    }
}

impl RetryBudget {
    /// Withdraws a retry, also from the overall budget. If that one refuses, nothing is withdrawn.
    pub(in crate::layers::retry) fn withdraw(&self) -> Option<Payment> {
        let own = self.withdraw_own()?;
        let overall = match self.overall() {
            Some(overall) => Some(overall.withdraw_own()?),
            None => None,
        };
        Some(Payment { own, overall })
    }

    fn withdraw_own(&self) -> Option<Withdrawn> {
        let (mut ledger, now) = self.0.open(None);
        let paid = match &mut ledger.kind {
            Kind::Budget(budget) => budget.try_withdraw(now).map(Some),
            Kind::Throttle(throttle) => throttle.may_retry().then_some(None),
        };
        self.0.turn_page(&ledger);
        drop(ledger);
        paid.map(|withdrawal| Withdrawn {
            shared: Arc::clone(&self.0),
            withdrawal,
        })
    }
}
