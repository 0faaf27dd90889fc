//! The numbers of a stack that are checked against each other, and those derived from them. Pure
//! arithmetic.

use std::time::Duration;

use crate::layers::retry::{MOST_ATTEMPTS, Settings};
use crate::policy::backoff::Backoff;
use crate::policy::breaker::Config;
use crate::policy::limit::Limit;

/// The resolution of timers is 1 ms, so a shorter time than this is mostly rounding.
pub(super) const COARSE: Duration = Duration::from_millis(5);
/// The first derived back-off is at most this fraction (1/20) of the whole call's limit.
pub(super) const BACKOFF_SHARE: u32 = 20;
/// All derived back-offs, or all suggested waits in a queue, are at most this fraction (1/4).
pub(super) const WAITS_SHARE: u32 = 4;
/// The shortest duration.
pub(super) const LEAST: Duration = Duration::from_nanos(1);

/// The numbers of all layers of a stack.
#[derive(Debug, Clone, Default)]
pub(super) struct Numbers {
    /// The limit of the whole call.
    pub(super) total: Option<Duration>,
    pub(super) body: BodyNumbers,
    /// The limit of each attempt.
    pub(super) attempt: Option<Duration>,
    pub(super) retry: RetryNumbers,
    /// The longest wait for the rate limit; `None` without a queue.
    pub(super) rate_limit_wait: Option<Duration>,
    pub(super) breaker: Option<Config>,
    pub(super) load_shed: Option<Limit>,
    /// `None` if the bulkhead has no limit.
    pub(super) bulkhead: Option<BulkheadNumbers>,
    pub(super) derived: Derived,
}

/// The settings of a circuit breaker that are derived from other layers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Derived {
    pub(super) on_cancel: bool,
    pub(super) probe_life: bool,
}

impl Numbers {
    /// The waits of an attempt in queues, outermost first.
    pub(super) fn waits(&self) -> Vec<Wait> {
        let rate_limit = self.rate_limit_wait.map(|time| Wait {
            field: "rate_limit.max_wait",
            setter: "rate_limit.max_wait",
            time,
        });
        let bulkhead = self.bulkhead.and_then(|bulkhead| bulkhead.max_wait);
        let bulkhead = bulkhead.map(|time| Wait {
            field: "bulkhead.queue.max_wait",
            setter: "bulkhead.queue",
            time,
        });
        rate_limit.into_iter().chain(bulkhead).collect()
    }
}

/// The longest wait of an attempt in a queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wait {
    pub(super) field: &'static str,
    pub(super) setter: &'static str,
    pub(super) time: Duration,
}

/// The limits on bodies.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct BodyNumbers {
    pub(super) whole: bool,
    /// `None` if it was not set.
    pub(super) idle: Option<Duration>,
}

/// The bulkhead of a stack.
#[derive(Debug, Clone, Copy)]
pub(super) struct BulkheadNumbers {
    pub(super) limit: u32,
    pub(super) queue: u32,
    pub(super) max_wait: Option<Duration>,
}

impl BulkheadNumbers {
    /// The number of calls in flight and in the queue.
    pub(super) fn capacity(self) -> u32 {
        self.limit.saturating_add(self.queue)
    }
}

/// The retry of a stack.
#[derive(Debug, Clone, Copy)]
pub(super) struct RetryNumbers {
    pub(super) attempts: u32,
    pub(super) backoff: Backoff,
    /// Whether the back-off is derived from the limit of the whole call.
    pub(super) backoff_is_derived: bool,
    pub(super) has_budget: bool,
    pub(super) replay_limit: usize,
}

/// No retry.
impl Default for RetryNumbers {
    fn default() -> Self {
        Self {
            attempts: 1,
            backoff: Backoff::default(),
            backoff_is_derived: false,
            has_budget: true,
            replay_limit: 0,
        }
    }
}

impl RetryNumbers {
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            attempts: settings.attempts,
            backoff: settings.backoff(),
            backoff_is_derived: false,
            has_budget: settings.budget.is_some(),
            replay_limit: settings.replay_limit,
        }
    }

    pub(super) fn with_attempts(self, attempts: u32, total: Duration) -> Self {
        let backoff = if self.backoff_is_derived {
            backoff_for(total, attempts)
        } else {
            self.backoff
        };
        Self {
            attempts,
            backoff,
            ..self
        }
    }
}

/// The default back-off of a stack. It is shorter for a short call or for many attempts, so that
/// all back-offs together take at most a quarter of the call's limit.
pub(super) fn backoff_for(total: Duration, attempts: u32) -> Backoff {
    // More attempts are refused later.
    let attempts = attempts.min(MOST_ATTEMPTS);
    let (usual, base) = (Backoff::default(), total / BACKOFF_SHARE);
    let base = base.max(LEAST);
    let backoff = if base < usual.base() {
        Backoff::exponential(base)
    } else {
        usual
    };
    let max = total / WAITS_SHARE;
    if attempts < 2 || backoff.worst(attempts) <= max {
        return backoff;
    }
    let each = round(max / (attempts - 1)).max(LEAST);
    Backoff::exponential(backoff.base().min(each)).cap(each)
}

/// The longest limit of an attempt with which all attempts, each after a `wait` in queues, and the
/// longest back-offs fit into the call. `None` if that is below the resolution of timers.
pub(super) fn fitting_attempt(
    total: Duration,
    retry: &RetryNumbers,
    wait: Duration,
) -> Option<Duration> {
    let (left, share) = shares(total, retry, wait);
    let left = round(left);
    (left >= COARSE.min(share / 2).max(LEAST)).then_some(left)
}

/// The time of each attempt, with and without the waits.
fn shares(total: Duration, retry: &RetryNumbers, wait: Duration) -> (Duration, Duration) {
    let attempts = retry.attempts.max(1);
    let waits = retry.backoff.worst(attempts);
    let queue = wait.saturating_mul(attempts);
    let left = total.saturating_sub(waits).saturating_sub(queue);
    (left / attempts, total / attempts)
}

/// Rounds down to three significant digits.
pub(super) fn round(time: Duration) -> Duration {
    let nanos = time.as_nanos();
    let mut unit = 1;
    while nanos / unit >= 1_000 {
        unit *= 10;
    }
    Duration::from_nanos(u64::try_from(nanos / unit * unit).unwrap_or(u64::MAX))
}
