use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::call::entry::Entry;
use crate::policy::budget::{Budget, BudgetConfig, Withdrawal};
use crate::policy::throttle::{Throttle, ThrottleConfig};
use crate::runtime::striped::Striped;
use crate::runtime::{Moment, Timeline, nanos};
use crate::vocabulary::config::ConfigError;

/// What keeps retries from becoming the outage: how many there may be for the requests there are.
///
/// By default one retry for every five requests, and ten a second however few requests there are, remembered for ten seconds (the
/// algorithm and its reserve are Finagle's `RetryBudget`; the arithmetic is exact). A retry is paid for before its wait begins, and paid back
/// if it is never sent. A retry of what a server refused unseen, or of what was not sent because a service was not ready, costs nothing.
///
/// Clones are the same budget: give one to several layers to have them share it, for instance all clients of one upstream.
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
pub struct RetryBudget(Arc<Account>);

struct Account {
    /// What comes too often for a lock: requests, or successes. As many as are not yet in the book.
    counted: Striped,
    /// Until when what is counted belongs to the book's current page, and how many nanoseconds a page lasts.
    page_ends: AtomicU64,
    page: u64,
    book: Mutex<Book>,
    terms: Terms,
}

/// What it was made of.
enum Terms {
    Budget(BudgetConfig),
    Throttle(ThrottleConfig),
}

struct Book {
    kind: Kind,
    timeline: Timeline,
    /// How much of what was counted has been entered.
    entered: u64,
}

enum Kind {
    Budget(Budget),
    Throttle(Throttle),
}

impl RetryBudget {
    /// The default budget: one retry for five requests, at least ten a second, remembered for ten seconds.
    #[must_use]
    pub fn new() -> Self {
        Self::of(&BudgetConfig::default())
    }

    /// A budget with other numbers.
    pub fn builder() -> RetryBudgetBuilder {
        RetryBudgetBuilder(BudgetConfig::default())
    }

    /// The retry throttling of gRPC (proposal A6): a bucket of `max_tokens` (1 to 1000) loses one token with each failure, gains
    /// `token_ratio` (0.001 to 1000) with each success, and retries are sent only while it is more than half full.
    ///
    /// # Errors
    ///
    /// When a value is out of its range.
    pub fn throttle(max_tokens: u32, token_ratio: f64) -> Result<Self, ConfigError> {
        let config = ThrottleConfig {
            max_tokens,
            token_ratio,
        };
        config.check()?;
        let kind = Kind::Throttle(Throttle::new(&config));
        Ok(Self::with(kind, Moment::now(), Terms::Throttle(config)))
    }

    fn of(config: &BudgetConfig) -> Self {
        let now = Moment::now();
        let budget = Budget::new(config, now.since_origin());
        Self::with(Kind::Budget(budget), now, Terms::Budget(*config))
    }

    fn with(kind: Kind, now: Moment, terms: Terms) -> Self {
        let (page_ends, page) = match &kind {
            Kind::Budget(budget) => (nanos(budget.ends()), nanos(budget.bucket())),
            Kind::Throttle(_) => (u64::MAX, u64::MAX),
        };
        Self(Arc::new(Account {
            counted: Striped::new(),
            page_ends: AtomicU64::new(page_ends),
            page,
            book: Mutex::new(Book {
                kind,
                timeline: Timeline::new(now),
                entered: 0,
            }),
            terms,
        }))
    }

    /// How many retries could be paid for now. For gRPC's throttling, where the next failure may end it, 1 or 0.
    #[must_use]
    pub fn balance(&self) -> u64 {
        let (mut book, now) = self.0.open(None);
        let balance = match &mut book.kind {
            Kind::Budget(budget) => budget.balance(now),
            Kind::Throttle(throttle) => throttle.may_retry().into(),
        };
        self.0.turn_page(&book);
        balance
    }

    /// A request is sent for the first time.
    #[inline]
    pub(super) fn request(&self, entry: &mut Entry) {
        let page_ends = self.0.page_ends.load(Ordering::Relaxed);
        if page_ends != u64::MAX {
            let now = entry.now();
            // On the current page: it has not ended, and has begun, which a clock that went back does not know of.
            let left = page_ends.wrapping_sub(now.to_bits());
            if left.wrapping_sub(1) < self.0.page {
                self.0.counted.increment();
            } else {
                self.0.request_on_new_page(now);
            }
        }
    }

    /// Whether it wants to know how calls end.
    #[inline]
    pub(super) fn is_throttle(&self) -> bool {
        self.0.page_ends.load(Ordering::Relaxed) == u64::MAX
    }

    /// Takes note of how a call ended of which that was [not known](crate::retry::Ended::Later) when its response came: the last attempt
    /// succeeded, or failed in a way that calls for a retry. Only [throttling](Self::throttle) wants to know.
    pub fn record(&self, success: bool) {
        if !self.is_throttle() {
            return;
        }
        if success {
            self.succeeded();
        } else {
            self.failed();
        }
    }

    /// An attempt succeeded.
    #[inline]
    pub(super) fn succeeded(&self) {
        self.0.counted.increment();
    }

    /// An attempt failed in a way that calls for a retry. Only throttling records it.
    pub(super) fn failed(&self) {
        if !self.is_throttle() {
            return;
        }
        let (mut book, _) = self.0.open(None);
        if let Kind::Throttle(throttle) = &mut book.kind {
            throttle.failure();
        }
    }

    /// Pays for a retry; what is returned pays it back when it is dropped unspent.
    pub(super) fn withdraw(&self) -> Option<Payment> {
        let (mut book, now) = self.0.open(None);
        let paid = match &mut book.kind {
            Kind::Budget(budget) => budget.try_withdraw(now).map(Some),
            Kind::Throttle(throttle) => throttle.may_retry().then_some(None),
        };
        self.0.turn_page(&book);
        drop(book);
        paid.map(|withdrawal| Payment {
            account: Arc::clone(&self.0),
            withdrawal,
        })
    }
}

impl Account {
    /// The book, with everything entered that was counted.
    fn open(&self, now: Option<Moment>) -> (MutexGuard<'_, Book>, Duration) {
        let now = now.unwrap_or_else(Moment::now);
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let now = book.timeline.at(now);
        let counted = self.counted.sum();
        let news = counted.wrapping_sub(book.entered);
        book.entered = counted;
        match &mut book.kind {
            Kind::Budget(budget) => budget.credit(news),
            Kind::Throttle(throttle) => throttle.credit(news),
        }
        (book, now)
    }

    fn turn_page(&self, book: &Book) {
        if let Kind::Budget(budget) = &book.kind {
            let ends = book.timeline.moment(budget.ends()).to_bits();
            self.page_ends
                .store(ends.min(u64::MAX - 1), Ordering::Relaxed);
        }
    }

    #[cold]
    fn request_on_new_page(&self, now: Moment) {
        let (mut book, now) = self.open(Some(now));
        if let Kind::Budget(budget) = &mut book.kind {
            budget.deposit(now);
        }
        self.turn_page(&book);
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
        match &self.0.terms {
            Terms::Budget(BudgetConfig {
                ratio,
                min_per_second,
                ttl,
            }) => write!(
                f,
                "{ratio} of the requests, at least {min_per_second} a second, over {ttl:?}"
            ),
            Terms::Throttle(ThrottleConfig {
                max_tokens,
                token_ratio,
            }) => write!(
                f,
                "throttle of {max_tokens} tokens, {token_ratio} a success"
            ),
        }
    }
}

impl fmt::Debug for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryBudget")
            .field("balance", &self.balance())
            .finish()
    }
}

/// A retry that is paid for.
pub(super) struct Payment {
    account: Arc<Account>,
    withdrawal: Option<Withdrawal>,
}

impl Payment {
    /// The retry is sent.
    pub(super) fn spend(mut self) {
        self.withdrawal = None;
    }
}

impl Drop for Payment {
    fn drop(&mut self) {
        if let Some(withdrawal) = self.withdrawal.take() {
            let (mut book, now) = self.account.open(None);
            if let Kind::Budget(budget) = &mut book.kind {
                budget.refund(now, withdrawal);
            }
            self.account.turn_page(&book);
        }
    }
}

/// Builds a [`RetryBudget`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct RetryBudgetBuilder(BudgetConfig);

impl RetryBudgetBuilder {
    /// Retries per request: 0, or 0.000 001 to 1000; 0.2 by default, so that an outage adds a fifth to the load.
    pub fn ratio(mut self, ratio: f64) -> Self {
        self.0.ratio = ratio;
        self
    }

    /// Retries per second that are allowed however few requests there are: at most 1 000 000; 10 by default.
    pub fn min_per_second(mut self, retries: u32) -> Self {
        self.0.min_per_second = retries;
        self
    }

    /// How long requests and retries are remembered: 100 ms to 24 hours, 10 seconds by default.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.0.ttl = ttl;
        self
    }

    /// The budget, or which setting is refused and why.
    ///
    /// # Errors
    ///
    /// When a value is out of its range, or no retry would ever be allowed.
    pub fn build(self) -> Result<RetryBudget, ConfigError> {
        self.0.check()?;
        Ok(RetryBudget::of(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use tokio::runtime::Builder;
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Runs this with a clock that begins now.
    fn paused<R>(test: impl Future<Output = R>) -> R {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        runtime.unwrap().block_on(test)
    }

    #[test]
    fn a_budget_forgets_in_its_time_when_the_clock_goes_back() {
        let budget = RetryBudget::builder().ratio(1.0).min_per_second(0);
        let budget = budget.ttl(10 * SECOND).build().unwrap();
        paused(async {
            advance(3_600 * SECOND).await;
            (0..10).for_each(|_| budget.request(&mut Entry::new()));
            assert_eq!(budget.balance(), 10);
        });
        paused(async {
            (0..5).for_each(|_| budget.request(&mut Entry::new()));
            assert_eq!(budget.balance(), 15);
            advance(5 * SECOND).await;
            (0..3).for_each(|_| budget.request(&mut Entry::new()));
            assert_eq!(budget.balance(), 18);
            advance(6 * SECOND).await;
            assert_eq!(budget.balance(), 3);
            advance(6 * SECOND).await;
            assert_eq!(budget.balance(), 0);
        });
    }

    #[test]
    fn requests_are_counted_on_the_page_that_the_clock_shows() {
        let budget = RetryBudget::builder().ratio(1.0).min_per_second(0);
        let budget = budget.ttl(10 * SECOND).build().unwrap();
        paused(async {
            advance(3_600 * SECOND).await;
            budget.request(&mut Entry::new());
        });
        paused(async {
            // Nobody asks for the balance: the first request has to find out.
            for _ in 0..30 {
                budget.request(&mut Entry::new());
                advance(SECOND).await;
            }
            assert!((9..=10).contains(&budget.balance()), "{budget:?}");
        });
    }

    #[test]
    fn only_throttling_locks_to_record_a_failure() {
        let budget = RetryBudget::new();
        let locked = budget.0.book.lock().unwrap();
        let (done, is_done) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                budget.record(false);
                budget.record(true);
                budget.failed();
                done.send(())
            });
            let recorded = is_done.recv_timeout(Duration::from_secs(10));
            drop(locked);
            assert_eq!(recorded, Ok(()), "a failure waits for the lock");
        });
        assert_eq!(budget.balance(), RetryBudget::new().balance());

        let throttle = RetryBudget::throttle(2, 1.0).unwrap();
        assert_eq!(throttle.balance(), 1);
        throttle.record(false);
        assert_eq!(throttle.balance(), 0);
        throttle.record(true);
        assert_eq!(throttle.balance(), 1);
    }
}
