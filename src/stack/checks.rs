//! Checks of a stack's settings against each other.
//!
//! Each layer checks its own settings. The checks here compare settings of several layers. A
//! setting without any effect, or one that fails every call, is an error. A stack that works, but
//! most likely not as intended, gets a warning.

use std::time::Duration;

use super::description::{Description, Warning};
use super::numbers::{
    BACKOFF_SHARE, BodyNumbers, BulkheadNumbers, COARSE, LEAST, Numbers, RetryNumbers, WAITS_SHARE,
    Wait, fitting_attempt, round,
};
use crate::policy::SHORTEST;
use crate::policy::breaker::Config;
use crate::policy::limit::Limit;
use crate::vocabulary::config::ConfigError;

/// A healthy body may pause this long: a garbage collection, a lost packet.
const PAUSE: Duration = Duration::from_secs(1);
/// Memory of replays, in bytes, from which a warning is due.
const MUCH: u64 = 1 << 30;

/// Checks the numbers of a stack and adds the warnings to its description.
pub(super) fn check(numbers: &Numbers, description: &mut Description) -> Result<(), ConfigError> {
    let Numbers {
        total,
        body,
        attempt,
        retry,
        breaker,
        load_shed,
        bulkhead,
        ..
    } = numbers;
    let waits = numbers.waits();
    let wait = waits
        .iter()
        .fold(Duration::ZERO, |sum, wait| sum.saturating_add(wait.time));
    let mut checks = Checks {
        component: description.kind,
        warnings: Vec::new(),
    };
    checks.timeout(*total, *body)?;
    if let Some(total) = *total {
        checks.waits(total, retry.attempts, &waits)?;
    }
    if let (Some(limit), Some(bulkhead)) = (load_shed, *bulkhead) {
        checks.load_shed(limit, bulkhead);
    }
    checks.attempts(*total, *attempt, *retry, *bulkhead, wait)?;
    if let Some(breaker) = breaker {
        checks.breaker(*attempt, breaker, *bulkhead)?;
    }
    description.warnings = checks.warnings;
    Ok(())
}

struct Checks {
    component: &'static str,
    warnings: Vec<Warning>,
}

impl Checks {
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

    /// The time limit against the idle limit of bodies.
    fn timeout(&mut self, total: Option<Duration>, body: BodyNumbers) -> Result<(), ConfigError> {
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
            self.warn(&["timeout"], format!("timeout = {total:?} is close to the resolution of timers, 1ms; {COARSE:?} or more would fit"));
        }
        // A shorter time limit of the whole body forces a short idle limit.
        let has_choice = !body.whole || total.is_none_or(|total| total > PAUSE);
        if let Some(idle) = body.idle
            && idle < PAUSE
            && has_choice
        {
            self.warn(&["timeout.body_idle"], format!("timeout.body_idle = {idle:?} ends bodies that only pause; {PAUSE:?} or more would fit"));
        }
        Ok(())
    }

    /// The waits in queues against the limit of the whole call.
    fn waits(&mut self, total: Duration, attempts: u32, waits: &[Wait]) -> Result<(), ConfigError> {
        let shares = attempts.max(1).saturating_mul(waits.len().max(1) as u32);
        let fit = round(total / WAITS_SHARE / shares).max(LEAST);
        let mut left = total;
        for Wait { field, time, .. } in waits {
            if *time >= left {
                let limit = if left == total {
                    format!("timeout, which is {total:?}")
                } else {
                    format!("{left:?}, which the other wait leaves of timeout = {total:?}")
                };
                let mut rule =
                    format!("must be shorter than {limit}: a call would time out in the queue");
                let fit = fit.min(round(left / WAITS_SHARE)).max(LEAST);
                if fit < left {
                    rule = format!("{rule}; {fit:?} would leave it some time");
                }
                return self.refuse(field, *time, rule);
            }
            left -= *time;
        }
        let sum = total - left;
        if sum > total / 2 {
            let mut setters: Vec<_> = waits.iter().map(|wait| wait.setter).collect();
            let names = setters.join(" and ");
            let each = if waits.len() > 1 { " each" } else { "" };
            setters.push("timeout");
            self.warn(&setters, format!("{names}: a call may wait for {sum:?} of its timeout of {total:?}, which leaves less than half for its work; {fit:?}{each} would fit"));
        }
        Ok(())
    }

    /// The limit of the load shedder against the capacity of the bulkhead inside of it.
    fn load_shed(&mut self, limit: &Limit, bulkhead: BulkheadNumbers) {
        let Some((min, max)) = limit.range() else {
            return;
        };
        let (permits, capacity) = (bulkhead.limit, bulkhead.capacity());
        if min > capacity {
            let queue = match bulkhead.queue {
                0 => String::new(),
                queue => format!(" with a queue of {queue}"),
            };
            self.warn(&["load_shed", "bulkhead"], format!("load_shed = {limit} is never reached: bulkhead = {permits}{queue} rejects earlier; a limit of at most {capacity} would fit, or a larger bulkhead"));
        }
        if capacity > permits && max <= permits {
            self.warn(&["load_shed", "bulkhead.queue"], format!("bulkhead.queue is never used: load_shed = {limit} admits no more calls than bulkhead = {permits}; a limit of at least {capacity} would fit"));
        }
    }

    /// The attempts, their limit and their back-off against the limit of the whole call.
    fn attempts(
        &mut self,
        total: Option<Duration>,
        attempt: Option<Duration>,
        retry: RetryNumbers,
        bulkhead: Option<BulkheadNumbers>,
        wait: Duration,
    ) -> Result<(), ConfigError> {
        if let Some(limit) = attempt
            && limit < COARSE
            && total.is_none_or(|total| total >= COARSE)
        {
            self.warn(&["attempt_timeout"], format!("attempt_timeout = {limit:?} is close to the resolution of timers, 1ms; {COARSE:?} or more would fit"));
        }
        if let (Some(total), Some(limit)) = (total, attempt)
            && limit > total
        {
            let mut rule = format!(
                "must be at most timeout, which is {total:?}: it could never end an attempt"
            );
            let fit = (1..=retry.attempts).rev();
            let mut fit = fit.filter_map(|n| {
                let retry = retry.with_attempts(n, total);
                Some((fitting_attempt(total, &retry, wait)?, counted(n)))
            });
            if let Some((time, attempts)) = fit.next() {
                rule = format!("{rule}; {time:?} would fit {attempts}");
            }
            return self.refuse("attempt_timeout", limit, rule);
        }
        if retry.attempts < 2 {
            return Ok(());
        }
        if !retry.has_budget {
            self.warn(
                &["retry.without_budget"],
                format!(
                    "retry.without_budget: when every attempt fails, retries multiply the load by {}",
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
                    "retry.replay_limit = {} for each of the bulkhead's calls amounts to {} MiB",
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
                round(total / BACKOFF_SHARE).max(LEAST)
            );
            return self.refuse("retry.backoff", first, rule);
        }
        if let Some(attempt) = attempt {
            self.worst_case(total, attempt, retry, wait);
        }
        Ok(())
    }

    fn worst_case(
        &mut self,
        total: Duration,
        limit: Duration,
        retry: RetryNumbers,
        wait: Duration,
    ) {
        let attempts = retry.attempts;
        let longest = |limit: Duration, retry: &RetryNumbers| {
            let attempts = limit.saturating_add(wait).saturating_mul(retry.attempts);
            attempts.saturating_add(retry.backoff.worst(retry.attempts))
        };
        let waits = retry.backoff.worst(attempts);
        let worst = longest(limit, &retry);
        if worst <= total {
            return;
        }
        let queue = if wait.is_zero() {
            String::new()
        } else {
            format!(", each after {wait:?} in queues,")
        };
        let shorter = fitting_attempt(total, &retry, wait);
        let shorter = shorter.map(|shorter| format!("attempt_timeout = {shorter:?}"));
        let fewer = (1..attempts).rev().find(|fewer| {
            let retry = retry.with_attempts(*fewer, total);
            longest(limit, &retry) <= total
        });
        let fit = match (shorter, fewer.map(counted)) {
            (Some(shorter), Some(fewer)) => format!("{shorter}, or {fewer},"),
            (Some(fit), None) | (None, Some(fit)) => fit,
            (None, None) => "shorter waits".to_owned(),
        };
        self.warn(&["retry", "attempt_timeout", "timeout"], format!("retry: {attempts} attempts of attempt_timeout = {limit:?}{queue} and {waits:?} of back-off take up to {worst:?}, so timeout = {total:?} ends the last ones early; {fit} would fit"));
    }

    /// The durations of the circuit breaker against the limit of an attempt.
    fn breaker(
        &mut self,
        attempt: Option<Duration>,
        breaker: &Config,
        bulkhead: Option<BulkheadNumbers>,
    ) -> Result<(), ConfigError> {
        if let (Some(attempt), Some(threshold)) = (attempt, breaker.slow_after())
            && threshold >= attempt
        {
            let mut rule = format!(
                "must be shorter than attempt_timeout, which is {attempt:?}: no call would ever be slow"
            );
            let half = attempt / 2;
            if half >= SHORTEST {
                rule = format!("{rule}; {half:?} would fit");
            }
            return self.refuse("circuit_breaker.slow_calls", threshold, rule);
        }
        if let Some(attempt) = attempt
            && breaker.probe_life() < attempt
        {
            let life = breaker.probe_life();
            self.warn(&["circuit_breaker.probe_life", "attempt_timeout"], format!("circuit_breaker.probe_life = {life:?} fails a probe before attempt_timeout = {attempt:?} does; {attempt:?} would fit"));
        }
        if let Some(bulkhead) = bulkhead
            && bulkhead.limit < breaker.probes
        {
            let (probes, limit) = (breaker.probes, bulkhead.limit);
            self.warn(&["circuit_breaker.probes", "bulkhead"], format!("circuit_breaker.probes = {probes} are more than bulkhead = {limit} admits at a time; {limit} would fit"));
        }
        Ok(())
    }
}

fn counted(attempts: u32) -> String {
    let s = if attempts == 1 { "" } else { "s" };
    format!("{attempts} attempt{s}")
}
