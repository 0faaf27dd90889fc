//! Whether the numbers of a stack go together: pure arithmetic.
//!
//! Each layer checks its own. Here is what only shows when they stand in one stack: an error where a setting could never have an effect
//! or nothing would work, a warning where it works but hardly as it was meant.

use std::time::Duration;

use super::description::Warning;
use crate::policy::backoff::Backoff;
use crate::policy::breaker::Config;
use crate::{ConfigError, Limit};

/// A timer's grain is 1 ms: what is a few times that is mostly rounding.
const COARSE: Duration = Duration::from_millis(5);
/// Any body pauses for so long now and then: a garbage collection, a lost packet.
const PAUSE: Duration = Duration::from_secs(1);
/// All that the retries of a stack may keep, before somebody should know.
const MUCH: u64 = 1 << 30;

/// The longest back-off of a stack that was not given one, as a part of the time for the whole call.
const BACKOFF_SHARE: u32 = 20;

/// What ends bodies.
#[derive(Debug, Clone, Copy)]
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
    /// How many can be in it, those that wait among them.
    pub(super) const fn most(self) -> u32 {
        self.limit.saturating_add(self.queue)
    }
}

/// The retry of a stack.
#[derive(Debug, Clone, Copy)]
pub(super) struct RetryNumbers {
    pub(super) attempts: u32,
    pub(super) backoff: Backoff,
    pub(super) has_budget: bool,
    pub(super) replay_limit: usize,
}

pub(super) struct Checks {
    component: &'static str,
    warnings: Vec<Warning>,
}

impl Checks {
    pub(super) const fn new(component: &'static str) -> Self {
        Self {
            component,
            warnings: Vec::new(),
        }
    }

    pub(super) fn warnings(self) -> Vec<Warning> {
        self.warnings
    }

    fn refuse(
        &self,
        field: &'static str,
        value: Duration,
        rule: String,
    ) -> Result<(), ConfigError> {
        let value = format_args!("{value:?}").to_string();
        Err(ConfigError::new(self.component, field, value, rule))
    }

    fn warn(&mut self, fields: &[&'static str], text: String) {
        self.warnings.push(Warning {
            fields: fields.to_vec(),
            text,
        });
    }

    /// A time limit against what it says of bodies.
    pub(super) fn timeout(
        &mut self,
        total: Option<Duration>,
        body: BodyNumbers,
    ) -> Result<(), ConfigError> {
        if let (Some(total), Some(idle), true) = (total, body.idle, body.whole)
            && idle >= total
        {
            let rule = format!(
                "must be shorter than timeout, which is {total:?} and covers the whole body: it could never end one"
            );
            return self.refuse("timeout.body_idle", idle, rule);
        }
        if let Some(total) = total
            && total < COARSE
        {
            self.warn(&["timeout"], format!("timeout = {total:?} is within what timers are late by: they count in milliseconds; {COARSE:?} or more would fit"));
        }
        if let Some(idle) = body.idle
            && idle < PAUSE
        {
            self.warn(&["timeout.body_idle"], format!("timeout.body_idle = {idle:?} ends bodies that only pause; {PAUSE:?} or more would fit"));
        }
        Ok(())
    }

    /// The queue of a bulkhead against the time for the whole call.
    pub(super) fn queue(
        &mut self,
        total: Option<Duration>,
        bulkhead: BulkheadNumbers,
    ) -> Result<(), ConfigError> {
        let (Some(total), Some(wait)) = (total, bulkhead.max_wait) else {
            return Ok(());
        };
        if wait >= total {
            let rule = format!(
                "must be shorter than timeout, which is {total:?}: a call would time out in the queue; {:?} would leave it some time",
                total / 4
            );
            return self.refuse("bulkhead.queue.max_wait", wait, rule);
        }
        if wait > total / 2 {
            self.warn(&["bulkhead.queue", "timeout"], format!("bulkhead.queue: a call may wait {wait:?} of the {total:?} that timeout gives it, and has less than half for its work; {:?} would fit", total / 4));
        }
        Ok(())
    }

    /// The limit of a load shedder against that of the bulkhead within.
    pub(super) fn load_shed(&mut self, limit: &Limit, bulkhead: BulkheadNumbers) {
        let (least, _) = limit.range();
        let most = bulkhead.most();
        if least > most {
            let queue = match bulkhead.queue {
                0 => String::new(),
                queue => format!(" with a queue of {queue}"),
            };
            self.warn(&["load_shed", "bulkhead"], format!("load_shed = {limit} is never reached: bulkhead = {}{queue} rejects before; a limit of at most {most} would fit, or a larger bulkhead", bulkhead.limit));
        }
    }

    /// Attempts, their back-off and their own time against the time for the whole call.
    pub(super) fn attempts(
        &mut self,
        total: Option<Duration>,
        attempt: Option<Duration>,
        retry: RetryNumbers,
        bulkhead: Option<BulkheadNumbers>,
    ) -> Result<(), ConfigError> {
        if let Some(attempt) = attempt
            && attempt < COARSE
            && total.is_none_or(|total| total >= COARSE)
        {
            self.warn(&["attempt_timeout"], format!("attempt_timeout = {attempt:?} is within what timers are late by: they count in milliseconds; {COARSE:?} or more would fit"));
        }
        if let (Some(total), Some(attempt)) = (total, attempt)
            && attempt > total
        {
            let rule = format!(
                "must be at most timeout, which is {total:?}: it could never end an attempt; {:?} would fit {}",
                fitting(total, &retry, bulkhead),
                counted(retry.attempts)
            );
            return self.refuse("attempt_timeout", attempt, rule);
        }
        if retry.attempts < 2 {
            return Ok(());
        }
        if !retry.has_budget {
            self.warn(
                &["retry.without_budget"],
                format!(
                    "retry.without_budget: when everything fails, the load is multiplied by {}",
                    retry.attempts
                ),
            );
        }
        let kept = bulkhead.map_or(0, |b| {
            u64::from(b.limit).saturating_mul(retry.replay_limit as u64)
        });
        if kept > MUCH {
            self.warn(
                &["retry.replay_limit", "bulkhead"],
                format!(
                    "retry.replay_limit = {} for each of the bulkhead's calls comes to {} MiB",
                    retry.replay_limit,
                    kept >> 20
                ),
            );
        }
        let Some(total) = total else {
            return Ok(());
        };
        let first = retry.backoff.delay(1, None, 0.0);
        if first >= total {
            let rule = format!(
                "must be shorter than timeout, which is {total:?}: no retry would ever be sent; {:?} would fit",
                total / BACKOFF_SHARE
            );
            return self.refuse("retry.backoff", first, rule);
        }
        if let Some(attempt) = attempt {
            self.worst_case(total, attempt, retry, bulkhead);
        }
        Ok(())
    }

    fn worst_case(
        &mut self,
        total: Duration,
        attempt: Duration,
        retry: RetryNumbers,
        bulkhead: Option<BulkheadNumbers>,
    ) {
        let RetryNumbers {
            attempts, backoff, ..
        } = retry;
        let wait = wait(bulkhead);
        let waits = backoff.worst(attempts);
        let worst = attempt
            .saturating_add(wait)
            .saturating_mul(attempts)
            .saturating_add(waits);
        if worst <= total {
            return;
        }
        let queue = if wait.is_zero() {
            String::new()
        } else {
            format!(", each {wait:?} in the bulkhead's queue before")
        };
        let mut fit = format!("attempt_timeout = {:?}", fitting(total, &retry, bulkhead));
        let fewer = (1..attempts).rev().find(|fewer| {
            let attempts = attempt.saturating_add(wait).saturating_mul(*fewer);
            attempts.saturating_add(backoff.worst(*fewer)) <= total
        });
        if let Some(fewer) = fewer {
            fit = format!("{fit}, or {},", counted(fewer));
        }
        self.warn(&["retry", "attempt_timeout", "timeout"], format!("retry: {attempts} attempts of attempt_timeout = {attempt:?}{queue} and {waits:?} of back-off come to {worst:?}, and timeout = {total:?} cuts the last ones short; {fit} would fit"));
    }

    /// What a circuit breaker waits for against what an attempt may take.
    pub(super) fn breaker(
        &mut self,
        attempt: Option<Duration>,
        breaker: &Config,
        bulkhead: Option<BulkheadNumbers>,
    ) -> Result<(), ConfigError> {
        if let (Some(attempt), Some((threshold, _))) = (attempt, breaker.slow_calls)
            && threshold >= attempt
        {
            let rule = format!(
                "must be shorter than attempt_timeout, which is {attempt:?}: no call would ever be slow; {:?} would fit",
                attempt / 2
            );
            return self.refuse("circuit_breaker.slow_calls", threshold, rule);
        }
        if let Some(attempt) = attempt
            && breaker.probe_life < attempt
        {
            let life = breaker.probe_life;
            self.warn(&["circuit_breaker.probe_life", "attempt_timeout"], format!("circuit_breaker.probe_life = {life:?} fails a probe that attempt_timeout = {attempt:?} would still wait for; {attempt:?} would fit"));
        }
        if let Some(bulkhead) = bulkhead
            && bulkhead.limit < breaker.probes
        {
            let (probes, limit) = (breaker.probes, bulkhead.limit);
            self.warn(&["circuit_breaker.probes", "bulkhead"], format!("circuit_breaker.probes = {probes} are more than bulkhead = {limit} lets through at a time; {limit} would fit"));
        }
        Ok(())
    }
}

fn counted(attempts: u32) -> String {
    let s = if attempts == 1 { "" } else { "s" };
    format!("{attempts} attempt{s}")
}

fn wait(bulkhead: Option<BulkheadNumbers>) -> Duration {
    bulkhead.and_then(|b| b.max_wait).unwrap_or_default()
}

/// The back-off of a stack that was given none: the usual one, but never so long that it eats up a short call's time.
pub(super) fn backoff_for(total: Duration) -> Backoff {
    let base = total / BACKOFF_SHARE;
    if base.is_zero() || base >= Duration::from_millis(50) {
        Backoff::default()
    } else {
        Backoff::exponential(base)
    }
}

/// How long an attempt may take so that all of them fit, with the longest waits between them; at least half of its even share.
pub(super) fn fitting(
    total: Duration,
    retry: &RetryNumbers,
    bulkhead: Option<BulkheadNumbers>,
) -> Duration {
    let attempts = retry.attempts.max(1);
    let waits = retry.backoff.worst(attempts);
    let queue = wait(bulkhead).saturating_mul(attempts);
    let left = total.saturating_sub(waits).saturating_sub(queue);
    let fitting = (left / attempts).max(total / attempts / 2);
    round(fitting).max(Duration::from_nanos(1)).min(total)
}

/// Down to what one would write: two or three digits.
fn round(time: Duration) -> Duration {
    let nanos = time.as_nanos();
    let mut unit = 1;
    while nanos / unit >= 1_000 {
        unit *= 10;
    }
    Duration::from_nanos(u64::try_from(nanos / unit * unit).unwrap_or(u64::MAX))
}
