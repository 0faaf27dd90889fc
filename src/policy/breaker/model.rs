//! A model of the breaker that keeps every record and computes everything from them. Probes are
//! evaluated by trying all possible outcomes of the remaining ones.

use super::*;
use crate::policy::window::{Extent, Window};

#[derive(Debug, Clone, Copy)]
struct Record {
    at: Duration,
    failed: bool,
    slow: bool,
}

#[derive(Debug, Clone, Copy)]
struct Probe {
    until: Duration,
    gone: bool,
    answered: Option<Duration>,
}

pub(super) struct Model {
    config: Config,
    pub(super) state: State,
    epoch: u64,
    now: Duration,
    /// From here on, only the current epoch.
    since: Duration,
    log: Vec<Record>,
    probes: Vec<Probe>,
    asked: Vec<Duration>,
    shares: Vec<u64>,
    open_until: Duration,
    failed_recoveries: u32,
}

/// A transition without its open time, which is partly random and checked separately.
type Change = Option<(State, State, Cause)>;

pub(super) fn change(transition: Option<&Transition>) -> Change {
    transition.map(|t| (t.from, t.to, t.cause))
}

impl Model {
    pub(super) fn new(config: Config, now: Duration) -> Self {
        Self {
            config,
            state: State::Closed,
            epoch: 0,
            now,
            since: now,
            log: Vec::new(),
            probes: Vec::new(),
            asked: Vec::new(),
            shares: Vec::new(),
            open_until: Duration::ZERO,
            failed_recoveries: 0,
        }
    }

    pub(super) fn admit(
        &mut self,
        now: Duration,
        actual: Option<&Transition>,
    ) -> (Decision, Change) {
        self.now = self.now.max(now);
        let now = self.now;
        let ticket = |epoch, kind| Decision::Admit(Ticket::new(epoch, kind));
        if self.config.mode == Mode::Off {
            return (ticket(self.epoch, Kind::Counted), None);
        }
        let change = if self.state == State::Open && now >= self.open_until {
            self.enter(State::HalfOpen, Cause::OpenTimeOver)
        } else {
            self.settle(actual)
        };
        let no = match self.state {
            State::Closed | State::ForcedClosed => {
                return (ticket(self.epoch, Kind::Counted), change);
            }
            State::Open => Some(self.open_until - now),
            State::ForcedOpen => None,
            State::HalfOpen => {
                let waiting = self.probes.iter().filter(|p| !p.gone).count();
                if waiting + self.log.len() < self.config.probes as usize {
                    let until = now + self.config.probe_life();
                    let (gone, answered) = (false, None);
                    self.probes.push(Probe {
                        until,
                        gone,
                        answered,
                    });
                    let serial = self.probes.len() as u64 - 1;
                    return (ticket(self.epoch, Kind::Probe(serial)), change);
                }
                None
            }
            State::Recovering => {
                let Recovery::Stepwise { steps, over } = self.config.recovery else {
                    panic!("recovering without steps");
                };
                let begun = (1..steps)
                    .filter(|n| (now - self.since) * steps >= over * *n)
                    .count();
                let whole = u64::from(steps) + 1;
                let before = (u64::from(steps) + self.shares.iter().sum::<u64>()) / whole;
                self.shares.push(begun as u64 + 1);
                let after = (u64::from(steps) + self.shares.iter().sum::<u64>()) / whole;
                if after > before {
                    return (ticket(self.epoch, Kind::Counted), change);
                }
                None
            }
        };
        if self.config.mode == Mode::Shadow {
            return (ticket(self.epoch, Kind::WouldReject), change);
        }
        (Decision::Reject { retry_after: no }, change)
    }

    pub(super) fn record(
        &mut self,
        now: Duration,
        ticket: Ticket,
        outcome: Outcome,
        elapsed: Duration,
        retry_after: Option<Duration>,
        actual: Option<&Transition>,
    ) -> Change {
        self.now = self.now.max(now);
        if self.config.mode == Mode::Off {
            return None;
        }
        if let Some(change) = self.settle(actual) {
            return Some(change);
        }
        if ticket.epoch != self.epoch || ticket.kind() == Kind::WouldReject {
            return None;
        }
        if let Kind::Probe(serial) = ticket.kind() {
            let probe = &mut self.probes[serial as usize];
            if probe.gone {
                return None;
            }
            probe.gone = true;
        }
        let failed = match outcome {
            Outcome::Success => false,
            Outcome::Failure => true,
            Outcome::Ignored | Outcome::Cancelled => return None,
        };
        if outcome == Outcome::Failure {
            self.asked.extend(retry_after.map(|ask| self.now + ask));
        }
        self.log.push(Record {
            at: self.now,
            failed,
            slow: self.slow(elapsed),
        });
        match self.state {
            State::HalfOpen => self.decide(Cause::ProbesFailed, actual),
            State::Closed | State::Recovering => {
                let cause = self.tripped()?;
                if self.state == State::Recovering {
                    self.failed_recoveries += 1;
                }
                self.open(cause, actual)
            }
            _ => None,
        }
    }

    pub(super) fn answered(
        &mut self,
        now: Duration,
        ticket: Ticket,
        elapsed: Duration,
        actual: Option<&Transition>,
    ) -> Change {
        self.now = self.now.max(now);
        if self.config.mode == Mode::Off {
            return None;
        }
        let change = self.settle(actual);
        if let (Kind::Probe(serial), None, true) =
            (ticket.kind(), change, ticket.epoch == self.epoch)
        {
            self.probes[serial as usize].answered = Some(elapsed);
        }
        change
    }

    pub(super) fn force(&mut self, now: Duration, to: State) -> Change {
        self.now = self.now.max(now);
        let cause = if to == State::Closed {
            Cause::Reset
        } else {
            Cause::Forced
        };
        if to == self.state && to != State::Closed {
            return None;
        }
        self.enter(to, cause).filter(|(from, to, _)| from != to)
    }

    pub(super) fn force_time(&mut self, now: Duration) {
        self.now = self.now.max(now);
    }

    /// Calls, failures, slow calls, and failures in a row.
    pub(super) fn counts(&self) -> (u64, u64, u64, u64) {
        let inside = self.inside();
        (
            inside.len() as u64,
            inside.iter().filter(|r| r.failed).count() as u64,
            inside.iter().filter(|r| r.slow).count() as u64,
            self.log.iter().rev().take_while(|r| r.failed).count() as u64,
        )
    }

    fn slow(&self, elapsed: Duration) -> bool {
        self.config
            .slow_calls
            .is_some_and(|slow| elapsed > slow.threshold)
    }

    fn inside(&self) -> Vec<Record> {
        let log = self.log.iter().copied();
        if self.state == State::HalfOpen {
            return log.collect();
        }
        match self.config.window {
            Window {
                extent: Extent::Count(size),
                ..
            } => log.rev().take(size as usize).collect(),
            Window {
                extent: Extent::Time(span),
                buckets,
            } => {
                let buckets = u128::from(buckets.unwrap_or(10));
                let number = |at: Duration| at.as_nanos() / (span.as_nanos() / buckets);
                log.filter(|r| number(r.at) + buckets > number(self.now))
                    .collect()
            }
        }
    }

    fn tripped(&self) -> Option<Cause> {
        let (calls, failures, slow, in_a_row) = self.counts();
        let config = &self.config;
        if config
            .consecutive_failures
            .is_some_and(|limit| in_a_row >= u64::from(limit))
        {
            return Some(Cause::ConsecutiveFailures);
        }
        let enough = calls >= u64::from(config.min_calls);
        let share = |part: u64| part as f64 / calls as f64;
        if enough
            && config
                .failure_rate
                .is_some_and(|rate| share(failures) >= rate)
        {
            return Some(Cause::FailureRate);
        }
        if enough
            && config
                .slow_calls
                .is_some_and(|rule| share(slow) >= rule.rate)
        {
            return Some(Cause::SlowCallRate);
        }
        None
    }

    fn settle(&mut self, actual: Option<&Transition>) -> Change {
        match (self.state, self.config.recovery) {
            (State::Recovering, Recovery::Stepwise { over, .. })
                if self.now - self.since >= over =>
            {
                self.enter(State::Closed, Cause::Recovered)
            }
            (State::HalfOpen, _) => {
                for serial in 0..self.probes.len() {
                    let probe = &mut self.probes[serial];
                    if !probe.gone && probe.until <= self.now {
                        probe.gone = true;
                        let answered = probe.answered;
                        self.log.push(Record {
                            at: self.now,
                            failed: answered.is_none(),
                            slow: self.slow(answered.unwrap_or(self.config.probe_life())),
                        });
                        let change = self.decide(Cause::ProbeTimedOut, actual);
                        if change.is_some() {
                            return change;
                        }
                    }
                }
                None
            }
            _ => None,
        }
    }

    fn decide(&mut self, cause: Cause, actual: Option<&Transition>) -> Change {
        let mut ends = vec![
            self.log
                .iter()
                .map(|r| (r.failed, r.slow))
                .collect::<Vec<_>>(),
        ];
        for _ in self.log.len()..self.config.probes as usize {
            ends = ends
                .into_iter()
                .flat_map(|end| {
                    [(false, false), (false, true), (true, false), (true, true)]
                        .map(|next| [end.as_slice(), &[next]].concat())
                })
                .collect();
        }
        let bad = ends.iter().filter(|end| self.bad(end)).count();
        if bad == ends.len() {
            self.failed_recoveries += 1;
            self.open(cause, actual)
        } else if bad == 0 {
            let to = match self.config.recovery {
                Recovery::AtOnce => State::Closed,
                Recovery::Stepwise { .. } => State::Recovering,
            };
            self.enter(to, Cause::ProbesSucceeded)
        } else {
            None
        }
    }

    fn bad(&self, probes: &[(bool, bool)]) -> bool {
        let all = probes.len();
        let share = |n: usize| n as f64 / all as f64;
        let failures = probes.iter().filter(|p| p.0).count();
        let slow = probes.iter().filter(|p| p.1).count();
        failures == all
            || self
                .config
                .failure_rate
                .is_some_and(|rate| share(failures) >= rate)
            || self
                .config
                .slow_calls
                .is_some_and(|rule| share(slow) >= rule.rate)
            || self.config.consecutive_failures.is_some_and(|limit| {
                probes
                    .windows((limit as usize).min(all))
                    .any(|run| run.iter().all(|p| p.0))
            })
    }

    /// Checks the breaker's open time, and takes it over.
    fn open(&mut self, cause: Cause, actual: Option<&Transition>) -> Change {
        let open_for = actual.and_then(|t| t.open_for).expect("it opens");
        let mut grown = self.config.open_for.as_secs_f64();
        for _ in 0..self.failed_recoveries {
            grown = (grown * self.config.open_factor).min(self.config.open_max.as_secs_f64());
        }
        let asked = self.asked.iter().max().map_or(0.0, |asked| {
            asked
                .saturating_sub(self.now)
                .min(self.config.open_max)
                .as_secs_f64()
        });
        let (least, most) = (
            grown * (1.0 - self.config.jitter),
            grown * (1.0 + self.config.jitter),
        );
        let open = open_for.as_secs_f64();
        assert!(
            open >= least.max(asked) - 1e-6,
            "{open} is less than {least} or {asked}"
        );
        assert!(
            open <= most.max(asked) + 1e-6,
            "{open} is more than {most} and {asked}"
        );
        assert!(
            open_for <= self.config.open_max,
            "the cap holds after jitter"
        );
        self.open_until = self.now + open_for;
        self.enter(State::Open, cause)
    }

    fn enter(&mut self, to: State, cause: Cause) -> Change {
        let from = std::mem::replace(&mut self.state, to);
        self.epoch += 1;
        self.since = self.now;
        self.log.clear();
        self.probes.clear();
        self.asked.clear();
        self.shares.clear();
        if matches!(to, State::Closed | State::ForcedOpen | State::ForcedClosed) {
            self.failed_recoveries = 0;
        }
        Some((from, to, cause))
    }
}
