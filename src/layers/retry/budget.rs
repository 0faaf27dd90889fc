//! The retry budget.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::keyed::Common;
use super::settings::{BudgetSettings, ThrottleSettings};
use crate::call::entry::Entry;
use crate::policy::budget::Budget;
use crate::policy::throttle::Throttle;
use crate::runtime::striped::Striped;
use crate::runtime::{Moment, Timeline, nanos};
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::settings::Fields as _;

mod payment;

pub(super) use payment::Payment;

/// Limits the number of retries in proportion to the requests, so that retries do not become the
/// outage.
///
/// Default: one retry for every five requests, and at least ten retries a second, over the last ten
/// seconds. The algorithm and its reserve are those of Finagle's `RetryBudget`; the arithmetic is
/// exact.
///
/// A retry is withdrawn before its back-off begins, and refunded if it is not sent. A retry is free
/// if the server refused the request unprocessed, or if it was not sent because a service was not
/// ready.
///
/// Clones share the budget: give one to several layers, such as all clients of one upstream.
///
/// ```
/// use mainstay::{RetryBudget, RetryLayer};
///
/// let budget = RetryBudget::builder().ratio(0.1).min_per_second(1).build()?;
/// let reads = RetryLayer::builder().budget(budget.clone()).build()?;
/// let writes = RetryLayer::builder().budget(budget).build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct RetryBudget(Arc<Shared>);

struct Shared {
    /// Requests or successes, counted without a lock.
    counted: Striped,
    /// The end of the budget's current page. `page` is the length of a page in nanoseconds.
    page_ends: AtomicU64,
    page: AtomicU64,
    /// For the budget of a key: the budget of all keys.
    common: Option<Arc<Common>>,
    ledger: Mutex<Ledger>,
}

struct Ledger {
    settings: BudgetSettings,
    kind: Kind,
    timeline: Timeline,
    /// How much of `counted` the budget contains.
    entered: u64,
}

enum Kind {
    Budget(Budget),
    Throttle(Throttle),
}

impl Kind {
    fn new(settings: &BudgetSettings, now: Duration) -> Self {
        match &settings.throttle {
            Some(throttle) => Self::Throttle(Throttle::new(&throttle.config())),
            None => Self::Budget(Budget::new(&settings.config(), now)),
        }
    }

    /// The end of the current page, and the length of a page, in nanoseconds.
    fn page(&self) -> (u64, u64) {
        match self {
            Self::Budget(budget) => (nanos(budget.ends()), nanos(budget.bucket())),
            Self::Throttle(_) => (u64::MAX, u64::MAX),
        }
    }
}

impl RetryBudget {
    /// The default budget: one retry for five requests, at least ten a second, over ten seconds.
    #[must_use]
    pub fn new() -> Self {
        Self::of(BudgetSettings::default())
    }

    /// A budget with settings of your own.
    pub fn builder() -> RetryBudgetBuilder {
        RetryBudgetBuilder(BudgetSettings::default())
    }

    /// The retry throttling of gRPC (proposal A6).
    ///
    /// A bucket of `max_tokens` (1 to 1000) loses one token with each failure and gains
    /// `token_ratio` (0.001 to 1000) with each success. Retries are sent only while it is more than
    /// half full.
    ///
    /// # Errors
    ///
    /// When a value is out of its range.
    pub fn throttle(max_tokens: u32, token_ratio: f64) -> Result<Self, ConfigError> {
        let throttle = ThrottleSettings {
            max_tokens,
            token_ratio,
        };
        let settings = BudgetSettings {
            throttle: Some(throttle),
            ..BudgetSettings::default()
        };
        settings.check()?;
        Ok(Self::of(settings))
    }

    pub(super) fn of(settings: BudgetSettings) -> Self {
        Self::of_key(settings, None)
    }

    /// The budget of a key. Its retries are also limited by the budget of all keys.
    pub(super) fn of_key(settings: BudgetSettings, common: Option<Arc<Common>>) -> Self {
        let now = Moment::now();
        let kind = Kind::new(&settings, now.since_origin());
        let (page_ends, page) = kind.page();
        Self(Arc::new(Shared {
            counted: Striped::new(),
            page_ends: AtomicU64::new(page_ends),
            page: AtomicU64::new(page),
            common,
            ledger: Mutex::new(Ledger {
                settings,
                kind,
                timeline: Timeline::new(now),
                entered: 0,
            }),
        }))
    }

    pub(super) fn settings(&self) -> BudgetSettings {
        self.0.lock().settings
    }

    /// Changes the settings for all that share the budget. Its entries stay, unless they mean nothing
    /// to an algorithm of the other kind.
    pub(super) fn adjust(&self, settings: &BudgetSettings) {
        let (mut ledger, now) = self.0.open(None);
        if ledger.settings == *settings {
            return;
        }
        ledger.settings = *settings;
        match (&mut ledger.kind, &settings.throttle) {
            (Kind::Budget(budget), None) => budget.adjust(&settings.config(), now),
            (Kind::Throttle(throttle), Some(new)) => throttle.adjust(&new.config()),
            (kind, _) => *kind = Kind::new(settings, now),
        }
        let (page_ends, page) = ledger.kind.page();
        self.0.page.store(page, Ordering::Relaxed);
        self.0.page_ends.store(page_ends, Ordering::Relaxed);
        self.0.turn_page(&ledger);
    }

    /// The budget that also limits the retries of this one.
    fn overall(&self) -> Option<&Self> {
        self.0.common.as_ref().and_then(|common| common.overall())
    }

    /// The number of retries that the budget allows now. 1 or 0 for gRPC's throttling, because the
    /// next failure may end it.
    ///
    /// The budget of a [key](crate::retry#a-budget-for-each-key) allows at most as many as the
    /// budget of all keys.
    #[must_use]
    pub fn balance(&self) -> u64 {
        let overall = self.overall().map_or(u64::MAX, Self::own_balance);
        self.own_balance().min(overall)
    }

    /// Whether it is the budget of a key.
    pub(super) fn is_of_key(&self) -> bool {
        self.0.common.is_some()
    }

    /// The balance, except for the budget of all keys.
    pub(super) fn own_balance(&self) -> u64 {
        let (mut ledger, now) = self.0.open(None);
        let balance = match &mut ledger.kind {
            Kind::Budget(budget) => budget.balance(now),
            Kind::Throttle(throttle) => throttle.may_retry().into(),
        };
        self.0.turn_page(&ledger);
        balance
    }

    /// Whether it allows at least as many retries as a new one, except for the budget of all keys.
    pub(super) fn is_full(&self) -> bool {
        let (mut ledger, now) = self.0.open(None);
        let is_full = match &mut ledger.kind {
            Kind::Budget(budget) => budget.is_full(now),
            Kind::Throttle(throttle) => throttle.is_full(),
        };
        self.0.turn_page(&ledger);
        is_full
    }

    /// A request is sent for the first time.
    #[inline]
    pub(super) fn request(&self, entry: &mut Entry) {
        let page_ends = self.0.page_ends.load(Ordering::Relaxed);
        if page_ends != u64::MAX {
            let now = entry.now();
            // Within the current page. Its beginning matters, too: the clock may have gone back.
            let left = page_ends.wrapping_sub(now.to_bits());
            if left.wrapping_sub(1) < self.0.page.load(Ordering::Relaxed) {
                self.0.counted.increment();
            } else {
                self.0.request_on_new_page(now);
            }
        }
        if let Some(common) = &self.0.common {
            common.request(entry);
        }
    }

    /// Whether it needs the outcomes of calls.
    #[inline]
    pub(super) fn needs_outcomes(&self) -> bool {
        self.is_throttle() || self.overall().is_some_and(Self::is_throttle)
    }

    #[inline]
    fn is_throttle(&self) -> bool {
        self.0.page_ends.load(Ordering::Relaxed) == u64::MAX
    }

    /// Records the outcome of a call that was [not known](crate::retry::Ended::Later) at its
    /// response: success, or a failure that can be retried. Only [throttling](Self::throttle) uses
    /// it.
    pub fn record(&self, success: bool) {
        if success {
            self.succeeded();
        } else {
            self.failed();
        }
    }

    /// An attempt succeeded. Only throttling records it.
    #[inline]
    pub(super) fn succeeded(&self) {
        if self.is_throttle() {
            self.0.counted.increment();
        }
        if let Some(overall) = self.overall() {
            overall.succeeded();
        }
    }

    /// An attempt failed in a way that can be retried. Only throttling records it.
    ///
    /// The budget of all keys records it only if the one of the key still allows a retry. So a dead
    /// key takes no more from it than its own share.
    pub(super) fn failed(&self) {
        let mut may_retry = true;
        if self.is_throttle() {
            let (mut ledger, _) = self.0.open(None);
            if let Kind::Throttle(throttle) = &mut ledger.kind {
                throttle.failure();
                may_retry = throttle.may_retry();
            }
        }
        if may_retry && let Some(overall) = self.overall() {
            overall.failed();
        }
    }
}

impl Shared {
    /// Locks the ledger and credits everything that was counted.
    fn open(&self, now: Option<Moment>) -> (MutexGuard<'_, Ledger>, Duration) {
        let now = now.unwrap_or_else(Moment::now);
        let mut ledger = self.lock();
        let now = ledger.timeline.at(now);
        let counted = self.counted.sum();
        let credit = counted.wrapping_sub(ledger.entered);
        ledger.entered = counted;
        match &mut ledger.kind {
            Kind::Budget(budget) => budget.credit(credit),
            Kind::Throttle(throttle) => throttle.credit(credit),
        }
        (ledger, now)
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn_page(&self, ledger: &Ledger) {
        if let Kind::Budget(budget) = &ledger.kind {
            let ends = ledger.timeline.moment(budget.ends()).to_bits();
            self.page_ends
                .store(ends.min(u64::MAX - 1), Ordering::Relaxed);
        }
    }

    #[cold]
    fn request_on_new_page(&self, now: Moment) {
        let (mut ledger, now) = self.open(Some(now));
        if let Kind::Budget(budget) = &mut ledger.kind {
            budget.deposit(now);
        }
        self.turn_page(&ledger);
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::new()
    }
}

/// `0.2 of the requests, at least 10 a second, over 10s`
impl fmt::Display for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings().fmt(f)
    }
}

impl fmt::Debug for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryBudget")
            .field("balance", &self.balance())
            .finish()
    }
}

/// Builds a [`RetryBudget`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct RetryBudgetBuilder(BudgetSettings);

impl RetryBudgetBuilder {
    /// Retries per request. Default 0.2, so that an outage adds a fifth to the load; 0, or 0.000
    /// 001 to 1000.
    pub fn ratio(mut self, ratio: f64) -> Self {
        self.0.ratio = ratio;
        self
    }

    /// Retries per second that are always allowed, even with few requests. Default 10; at most
    /// 1 000 000.
    pub fn min_per_second(mut self, retries: u32) -> Self {
        self.0.min_per_second = retries;
        self
    }

    /// Time for which requests and retries count. Default 10 seconds; 100 ms to 24 hours.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.0.ttl = ttl;
        self
    }

    /// Builds the budget.
    ///
    /// # Errors
    ///
    /// When a value is out of range, or no retry would ever be allowed.
    pub fn build(self) -> Result<RetryBudget, ConfigError> {
        self.0.check()?;
        Ok(RetryBudget::of(self.0))
    }
}

#[cfg(test)]
mod tests;
