//! The numbers of a stack that must go together, and the numbers that follow from them. Pure arithmetic.

use std::time::Duration;

use crate::layers::retry::{MOST_ATTEMPTS, Settings};
use crate::policy::backoff::Backoff;
use crate::policy::breaker::Config;
use crate::policy::limit::Limit;

/// A timer's grain is 1 ms: what is a few times that is mostly rounding.
pub(super) const COARSE: Duration = Duration::from_millis(5);
/// What the first back-off of a stack that was not given one comes to at most, as a part of the time for the whole call.
pub(super) const BACKOFF_SHARE: u32 = 20;
/// The same for all its back-offs together, and for all the waits in a queue that would fit.
pub(super) const WAITS_SHARE: u32 = 4;
/// The least that any time can be.
pub(super) const LEAST: Duration = Duration::from_nanos(1);

/// The numbers of all layers of a stack.
#[derive(Debug, Clone, Default)]
pub(super) struct Numbers {
    /// The time for the whole call.
    pub(super) total: Option<Duration>,
    pub(super) body: BodyNumbers,
    /// The time for each attempt.
    pub(super) attempt: Option<Duration>,
    pub(super) retry: RetryNumbers,
    pub(super) breaker: Option<Config>,
    pub(super) load_shed: Option<Limit>,
    /// `None` where there is no limit, so that nothing follows from it.
    pub(super) bulkhead: Option<BulkheadNumbers>,
}

/// The limits on bodies.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct BodyNumbers {
    pub(super) whole: bool,
    /// Only where it was set.
    pub(super) idle: Option<Duration>,
}

/// The bulkhead of a stack.
#[derive(Debug, Clone, Copy)]
pub(super) struct BulkheadNumbers {
    pub(super) limit: u32,
    /// How many may wait.
    pub(super) queue: u32,
    pub(super) max_wait: Option<Duration>,
}

impl BulkheadNumbers {
    /// How many there can be in it, in flight or waiting.
    pub(super) fn room(self) -> u32 {
        self.limit.saturating_add(self.queue)
    }
}

/// The retry of a stack.
#[derive(Debug, Clone, Copy)]
pub(super) struct RetryNumbers {
    pub(super) attempts: u32,
    pub(super) backoff: Backoff,
    /// Whether the back-off follows from the time for the whole call.
    pub(super) follows: bool,
    pub(super) has_budget: bool,
    pub(super) replay_limit: usize,
}

/// No retry.
impl Default for RetryNumbers {
    fn default() -> Self {
        Self {
            attempts: 1,
            backoff: Backoff::default(),
            follows: false,
            has_budget: true,
            replay_limit: 0,
        }
    }
}

impl RetryNumbers {
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            attempts: settings.attempts,
            backoff: settings.backoff,
            follows: false,
            has_budget: settings.budget.is_some(),
            replay_limit: settings.replay_limit,
        }
    }

    /// The same with so many attempts.
    pub(super) fn with(self, attempts: u32, total: Duration) -> Self {
        let backoff = if self.follows {
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

/// The back-off of a stack for which nobody set one: the usual one, but shorter in a short call and in one with many attempts, so that
/// all waits together take at most a quarter of the time.
pub(super) fn backoff_for(total: Duration, attempts: u32) -> Backoff {
    // More are refused, but not yet.
    let attempts = attempts.min(MOST_ATTEMPTS);
    let (usual, base) = (Backoff::default(), total / BACKOFF_SHARE);
    let base = base.max(LEAST);
    let backoff = if base < usual.base() {
        Backoff::exponential(base)
    } else {
        usual
    };
    let most = total / WAITS_SHARE;
    if attempts < 2 || backoff.worst(attempts) <= most {
        return backoff;
    }
    let each = round(most / (attempts - 1)).max(LEAST);
    Backoff::exponential(backoff.base().min(each)).cap(each)
}

/// How long an attempt may take so that all of them fit, with the longest waits between them, if that is more than what is lost in the
/// grain of timers.
pub(super) fn room(
    total: Duration,
    retry: &RetryNumbers,
    bulkhead: Option<BulkheadNumbers>,
) -> Option<Duration> {
    let (left, share) = shares(total, retry, bulkhead);
    let left = round(left);
    (left >= COARSE.min(share / 2).max(LEAST)).then_some(left)
}

/// What the waits leave for each attempt, and what there would be without them.
fn shares(
    total: Duration,
    retry: &RetryNumbers,
    bulkhead: Option<BulkheadNumbers>,
) -> (Duration, Duration) {
    let attempts = retry.attempts.max(1);
    let waits = retry.backoff.worst(attempts);
    let queue = wait(bulkhead).saturating_mul(attempts);
    let left = total.saturating_sub(waits).saturating_sub(queue);
    (left / attempts, total / attempts)
}

/// Down to what one would write: two or three digits.
pub(super) fn round(time: Duration) -> Duration {
    let nanos = time.as_nanos();
    let mut unit = 1;
    while nanos / unit >= 1_000 {
        unit *= 10;
    }
    Duration::from_nanos(u64::try_from(nanos / unit * unit).unwrap_or(u64::MAX))
}

/// How long an attempt may wait in the bulkhead's queue.
pub(super) fn wait(bulkhead: Option<BulkheadNumbers>) -> Duration {
    bulkhead.and_then(|b| b.max_wait).unwrap_or_default()
}
