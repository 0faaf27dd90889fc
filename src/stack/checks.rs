//! Checks that the numbers of a stack go together.
//!
//! Each layer checks its own numbers. The checks here compare those of several layers: an error where a setting could never have an
//! effect or nothing would work, a warning where the stack works, but most likely not as it was meant.

use std::time::Duration;

use super::description::{Description, Warning};
use super::numbers::{
    BACKOFF_SHARE, BodyNumbers, BulkheadNumbers, COARSE, LEAST, Numbers, RetryNumbers, WAITS_SHARE,
    room, round, wait,
};
use crate::policy::SHORTEST;
use crate::policy::breaker::Config;
use crate::policy::limit::Limit;
use crate::vocabulary::config::ConfigError;

/// Any body pauses for so long now and then: a garbage collection, a lost packet.
const PAUSE: Duration = Duration::from_secs(1);
/// All that the retries of a stack may keep, before somebody should know.
const MUCH: u64 = 1 << 30;

/// Checks the numbers of a stack against each other. What is only unwise becomes a warning of its description.
pub(super) fn check(numbers: &Numbers, description: &mut Description) -> Result<(), ConfigError> {
    let Numbers {
        total,
        body,
        attempt,
        retry,
        breaker,
        load_shed,
        bulkhead,
    } = numbers;
    let mut checks = Checks {
        component: description.kind,
        warnings: Vec::new(),
    };
    checks.timeout(*total, *body)?;
    if let Some(bulkhead) = *bulkhead {
        checks.queue(*total, retry.attempts, bulkhead)?;
        if let Some(limit) = load_shed {
            checks.load_shed(limit, bulkhead);
        }
    }
    checks.attempts(*total, *attempt, *retry, *bulkhead)?;
    if let Some(breaker) = breaker {
        checks.breaker(*attempt, breaker, *bulkhead)?;
    }
    description.warnings = checks.warnings;
    description.log();
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

    /// A time limit against what it says of bodies.
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
            self.warn(&["timeout"], format!("timeout = {total:?} is within what timers are late by: they count in milliseconds; {COARSE:?} or more would fit"));
        }
        // What must be shorter than that anyway has no other choice.
        let has_choice = !body.whole || total.is_none_or(|total| total > PAUSE);
        if let Some(idle) = body.idle
            && idle < PAUSE
            && has_choice
        {
            self.warn(&["timeout.body_idle"], format!("timeout.body_idle = {idle:?} ends bodies that only pause; {PAUSE:?} or more would fit"));
        }
        Ok(())
    }

    /// The queue of a bulkhead, in which each attempt may wait, against the time for the whole call.
    fn queue(
        &mut self,
        total: Option<Duration>,
        attempts: u32,
        bulkhead: BulkheadNumbers,
    ) -> Result<(), ConfigError> {
        let (Some(total), Some(wait)) = (total, bulkhead.max_wait) else {
            return Ok(());
        };
        let fit = round(total / WAITS_SHARE / attempts.max(1)).max(LEAST);
        if wait >= total {
            let rule = format!(
                "must be shorter than timeout, which is {total:?}: a call would time out in the queue; {fit:?} would leave it some time"
            );
            return self.refuse("bulkhead.queue.max_wait", wait, rule);
        }
        if wait > total / 2 {
            self.warn(&["bulkhead.queue", "timeout"], format!("bulkhead.queue: a call may wait {wait:?} of the {total:?} that timeout gives it, and has less than half for its work; {fit:?} would fit"));
        }
        Ok(())
    }

    /// The limit of a load shedder against that of the bulkhead within.
    fn load_shed(&mut self, limit: &Limit, bulkhead: BulkheadNumbers) {
        let Some((least, most)) = limit.range() else {
            return;
        };
        let (places, room) = (bulkhead.limit, bulkhead.room());
        if least > room {
            let queue = match bulkhead.queue {
                0 => String::new(),
                queue => format!(" with a queue of {queue}"),
            };
            self.warn(&["load_shed", "bulkhead"], format!("load_shed = {limit} is never reached: bulkhead = {places}{queue} rejects before; a limit of at most {room} would fit, or a larger bulkhead"));
        }
        if room > places && most <= places {
            self.warn(&["load_shed", "bulkhead.queue"], format!("bulkhead.queue: nobody ever waits: load_shed = {limit} lets through no more than bulkhead = {places} has places for; a limit of at least {room} would fit"));
        }
    }

    /// Attempts, their back-off and their own time against the time for the whole call.
    fn attempts(
        &mut self,
        total: Option<Duration>,
        attempt: Option<Duration>,
        retry: RetryNumbers,
        bulkhead: Option<BulkheadNumbers>,
    ) -> Result<(), ConfigError> {
        if let Some(limit) = attempt
            && limit < COARSE
            && total.is_none_or(|total| total >= COARSE)
        {
            self.warn(&["attempt_timeout"], format!("attempt_timeout = {limit:?} is within what timers are late by: they count in milliseconds; {COARSE:?} or more would fit"));
        }
        if let (Some(total), Some(limit)) = (total, attempt)
            && limit > total
        {
            let mut rule = format!(
                "must be at most timeout, which is {total:?}: it could never end an attempt"
            );
            let fit = (1..=retry.attempts).rev();
            let mut fit = fit
                .filter_map(|n| Some((room(total, &retry.with(n, total), bulkhead)?, counted(n))));
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
                round(total / BACKOFF_SHARE).max(LEAST)
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
        limit: Duration,
        retry: RetryNumbers,
        bulkhead: Option<BulkheadNumbers>,
    ) {
        let attempts = retry.attempts;
        let wait = wait(bulkhead);
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
            format!(", each {wait:?} in the bulkhead's queue before")
        };
        let shorter = room(total, &retry, bulkhead);
        let shorter = shorter.map(|shorter| format!("attempt_timeout = {shorter:?}"));
        let fewer = (1..attempts).rev().find(|fewer| {
            let retry = retry.with(*fewer, total);
            longest(limit, &retry) <= total
        });
        let fit = match (shorter, fewer.map(counted)) {
            (Some(shorter), Some(fewer)) => format!("{shorter}, or {fewer},"),
            (Some(fit), None) | (None, Some(fit)) => fit,
            (None, None) => "shorter waits".to_owned(),
        };
        self.warn(&["retry", "attempt_timeout", "timeout"], format!("retry: {attempts} attempts of attempt_timeout = {limit:?}{queue} and {waits:?} of back-off come to {worst:?}, and timeout = {total:?} cuts the last ones short; {fit} would fit"));
    }

    /// What a circuit breaker waits for against what an attempt may take.
    fn breaker(
        &mut self,
        attempt: Option<Duration>,
        breaker: &Config,
        bulkhead: Option<BulkheadNumbers>,
    ) -> Result<(), ConfigError> {
        if let (Some(attempt), Some((threshold, _))) = (attempt, breaker.slow_calls)
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
