//! A retry budget. Retries help while few calls fail, and make an outage worse when all fail: three
//! attempts each are three times the load. A budget allows retries for a share of the requests, and
//! a few more at low rates.
//!
//! The algorithm is Finagle's (`RetryBudget`). Each request makes a deposit. Each retry withdraws
//! as much as `1 / ratio` requests deposit. A reserve is always available, and entries expire after
//! `ttl`, in ten steps. The unit is a millionth of a retry, in integers, so 60 % stays 60 %.

use std::time::Duration;

use super::{buckets::Buckets, check::Check};
use crate::vocabulary::config::ConfigError;

const CHECK: Check = Check("retry_budget");
const BUCKETS: u32 = 10;
const MAX_RATIO: f64 = 1_000.0;
const MAX_PER_SECOND: u32 = 1_000_000;
const SHORTEST_TTL: Duration = Duration::from_millis(100);
/// The cost of a retry.
const RETRY: i128 = 1_000_000;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct BudgetConfig {
    /// Retries per request: 0.2 is one retry for five requests.
    pub(crate) ratio: f64,
    /// Retries per second allowed at any rate of requests.
    pub(crate) min_per_second: u32,
    /// The lifetime of deposits and withdrawals.
    pub(crate) ttl: Duration,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self {
            ratio: 0.2,
            min_per_second: 10,
            ttl: Duration::from_secs(10),
        }
    }
}

impl BudgetConfig {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let Self {
            ratio,
            min_per_second,
            ttl,
        } = *self;
        let rounds_to_none = ratio > 0.0 && self.deposit() == 0;
        if !(0.0..=MAX_RATIO).contains(&ratio) || rounds_to_none {
            let rule = format!("must be 0, or from 0.000001 to {MAX_RATIO} retries per request");
            return Err(CHECK.refuse("ratio", ratio, rule));
        }
        CHECK.count("min_per_second", min_per_second, 0, MAX_PER_SECOND)?;
        CHECK.duration("ttl", ttl, SHORTEST_TTL)?;
        if ratio <= 0.0 && self.reserve() < RETRY {
            let rule = "must be more than 0 if min_per_second allows no retry within ttl";
            return Err(CHECK.refuse("ratio", ratio, rule));
        }
        Ok(())
    }

    /// The deposit of a request.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a cast from a float saturates"
    )]
    fn deposit(&self) -> i128 {
        (self.ratio * RETRY as f64).round() as i128
    }

    fn reserve(&self) -> i128 {
        let millis = i128::try_from(self.ttl.as_millis()).unwrap_or(i128::MAX);
        millis
            .saturating_mul(i128::from(self.min_per_second))
            .saturating_mul(RETRY / 1_000)
    }
}

/// A paid retry, which can be refunded if it is never sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Withdrawal {
    at: Duration,
}

#[derive(Debug, Clone)]
pub(crate) struct Budget {
    deposit: i128,
    reserve: i128,
    /// Deposits less withdrawals. Both expire after the same time, so a bucket may be negative.
    buckets: Buckets<i128>,
    total: i128,
}

impl Budget {
    pub(crate) fn new(config: &BudgetConfig, now: Duration) -> Self {
        Self {
            deposit: config.deposit(),
            reserve: config.reserve(),
            buckets: Buckets::new(config.ttl, BUCKETS, now),
            total: 0,
        }
    }

    /// Changes the settings. Deposits and withdrawals stay, unless they have expired under the new
    /// lifetime.
    pub(crate) fn adjust(&mut self, config: &BudgetConfig, now: Duration) {
        self.roll(now);
        let mut new = Self::new(config, now);
        self.buckets.for_each(|latest, amount| {
            new.add(new.buckets.number(latest.min(now)), amount);
        });
        *self = new;
    }

    /// A request was sent for the first time.
    pub(crate) fn deposit(&mut self, now: Duration) {
        self.roll(now);
        self.credit(1);
    }

    /// Adds deposits counted elsewhere, all in the current bucket.
    pub(crate) fn credit(&mut self, deposits: u64) {
        let amount = self.deposit.saturating_mul(i128::from(deposits));
        self.add(self.buckets.current(), amount);
    }

    /// Pays for a retry; `None` if the balance is too low.
    pub(crate) fn try_withdraw(&mut self, now: Duration) -> Option<Withdrawal> {
        self.roll(now);
        if self.left() < RETRY {
            return None;
        }
        self.add(self.buckets.current(), -RETRY);
        // After the clock went back, the current bucket is later than `now`.
        let at = now.max(self.buckets.begins());
        Some(Withdrawal { at })
    }

    /// Refunds a retry that was never sent.
    pub(crate) fn refund(&mut self, now: Duration, withdrawal: Withdrawal) {
        self.roll(now);
        // An expired withdrawal changes nothing.
        self.add(self.buckets.number(withdrawal.at), RETRY);
    }

    /// The number of retries that the budget could pay now.
    pub(crate) fn balance(&mut self, now: Duration) -> u64 {
        self.roll(now);
        u64::try_from(self.left().max(0) / RETRY).unwrap_or(u64::MAX)
    }

    /// Whether the balance is at least that of a new budget.
    pub(crate) fn is_full(&mut self, now: Duration) -> bool {
        self.roll(now);
        self.total >= 0
    }

    /// The end of the current bucket, until which deposits may be credited to it.
    pub(crate) fn ends(&self) -> Duration {
        self.buckets.ends()
    }

    /// The duration of a bucket.
    pub(crate) const fn bucket(&self) -> Duration {
        self.buckets.width()
    }

    fn left(&self) -> i128 {
        self.total.saturating_add(self.reserve)
    }

    fn add(&mut self, bucket: u64, amount: i128) {
        if let Some(bucket) = self.buckets.get_mut(bucket) {
            *bucket = bucket.saturating_add(amount);
            self.total = self.total.saturating_add(amount);
        }
    }

    fn roll(&mut self, now: Duration) {
        let Self { buckets, total, .. } = self;
        buckets.roll(now, |dropped| *total = total.saturating_sub(dropped));
    }
}

#[cfg(test)]
mod tests;
