//! Retries help while few calls fail, and make an outage worse when all do: three attempts each are three
//! times the load. A budget allows retries for a share of the requests, and a few more where there are
//! hardly any requests at all.
//!
//! The algorithm is Finagle's (`RetryBudget`): each request deposits, each retry withdraws as much as
//! `1 / ratio` requests deposit, a reserve is always there, and what happened is forgotten after `ttl`, in
//! ten steps. The arithmetic is in integers, millionths of a retry, so that 60 % stays 60 %.

use std::time::Duration;

use super::{LONGEST, buckets::Buckets};
use crate::vocabulary::config::ConfigError;

const COMPONENT: &str = "retry_budget";
const BUCKETS: u32 = 10;
const MAX_RATIO: f64 = 1_000.0;
const MAX_PER_SECOND: u32 = 1_000_000;
const SHORTEST_TTL: Duration = Duration::from_millis(100);
/// What one retry costs.
const RETRY: i128 = 1_000_000;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct BudgetConfig {
    /// Retries per request: 0.2 is one retry for five requests.
    pub(crate) ratio: f64,
    /// Retries per second that are allowed however few requests there are.
    pub(crate) min_per_second: u32,
    /// How long requests and retries are remembered.
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
            return Err(ConfigError::new(COMPONENT, "ratio", ratio, rule));
        }
        if min_per_second > MAX_PER_SECOND {
            let rule = format!("must be at most {MAX_PER_SECOND}");
            return Err(ConfigError::new(
                COMPONENT,
                "min_per_second",
                min_per_second,
                rule,
            ));
        }
        if !(SHORTEST_TTL..=LONGEST).contains(&ttl) {
            let rule = format!("must last from {SHORTEST_TTL:?} to 24 h");
            return Err(ConfigError::new(COMPONENT, "ttl", format!("{ttl:?}"), rule));
        }
        if ratio <= 0.0 && self.reserve() < RETRY {
            let rule = "must be more than 0 where min_per_second allows no retry either";
            return Err(ConfigError::new(COMPONENT, "ratio", ratio, rule));
        }
        Ok(())
    }

    /// What one request brings.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a cast from a float saturates"
    )]
    fn deposit(&self) -> i128 {
        (self.ratio * RETRY as f64).round() as i128
    }

    /// What is always there.
    fn reserve(&self) -> i128 {
        let millis = i128::try_from(self.ttl.as_millis()).unwrap_or(i128::MAX);
        millis
            .saturating_mul(i128::from(self.min_per_second))
            .saturating_mul(RETRY / 1_000)
    }
}

/// A retry that was paid for, and may be given back if it is never sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Withdrawal {
    bucket: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Budget {
    deposit: i128,
    reserve: i128,
    /// Deposits less withdrawals. Both are forgotten after the same time, so a withdrawal is a debt
    /// until then, and a bucket may be less than empty.
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

    /// A request was sent for the first time.
    pub(crate) fn deposit(&mut self, now: Duration) {
        self.roll(now);
        self.credit(1);
    }

    /// Adds deposits that were counted elsewhere, all of them in the current bucket.
    pub(crate) fn credit(&mut self, deposits: u64) {
        let amount = self.deposit.saturating_mul(i128::from(deposits));
        self.add(self.buckets.current(), amount);
    }

    /// Pays for a retry, if there is enough for a whole one.
    pub(crate) fn try_withdraw(&mut self, now: Duration) -> Option<Withdrawal> {
        self.roll(now);
        if self.left() < RETRY {
            return None;
        }
        let bucket = self.buckets.current();
        self.add(bucket, -RETRY);
        Some(Withdrawal { bucket })
    }

    /// Gives a retry back that was never sent, as if it had not been paid for.
    pub(crate) fn refund(&mut self, now: Duration, withdrawal: Withdrawal) {
        self.roll(now);
        // A withdrawal that has been forgotten by now is no debt any more.
        self.add(withdrawal.bucket, RETRY);
    }

    /// How many retries could be paid for now.
    pub(crate) fn balance(&mut self, now: Duration) -> u64 {
        self.roll(now);
        u64::try_from(self.left().max(0) / RETRY).unwrap_or(u64::MAX)
    }

    /// Until when deposits may still be credited to the current bucket.
    pub(crate) fn ends(&self) -> Duration {
        self.buckets.ends()
    }

    /// How long a bucket lasts.
    pub(crate) const fn page(&self) -> Duration {
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
