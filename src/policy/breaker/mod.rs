//! The circuit breaker as a state machine (Nygard, "Release It!"). It detects a failing upstream
//! from the outcomes of calls, rejects calls for a while, and then admits a few probes to see
//! whether the upstream has recovered.
//!
//! ```text
//! Closed     -> Open        a rule trips
//! Open       -> HalfOpen    the open time is over, and a call arrives: the first probe
//! HalfOpen   -> Open        the probes fail or expire
//! HalfOpen   -> Closed      the probes succeed
//! HalfOpen   -> Recovering  the same, if the recovery is stepwise
//! Recovering -> Open        a rule trips
//! Recovering -> Closed      the last step is over
//! any        -> ForcedOpen, ForcedClosed, Closed    through the handle
//! ```
//!
//! The machine is sequential: its users share it behind a lock, and [`Breaker::front`] says which
//! calls need no lock. The *epoch* rises with every change of state. The outcome of a call admitted
//! in an earlier epoch does not count, and every state starts with an empty window.

mod config;
mod half_open;
mod ramp;
mod report;
mod rules;
mod ticket;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::{
    config::Settings as Config,
    report::View,
    ticket::{Decision, Ticket},
};
pub use self::{
    config::{OnCancel, Recovery, Settings, SlowCalls},
    report::{Cause, State, Transition},
};
use self::{
    half_open::Probes,
    ramp::Ramp,
    rules::{Evaluation, Rules},
    ticket::Kind,
};
use super::evidence::{FLOOR, SlowestSuccess};
use super::window::{Counts, Samples};
use crate::vocabulary::{mode::Mode, outcome::Outcome};

/// The state with its own data.
#[derive(Debug, Clone)]
enum Phase {
    Closed,
    Open { until: Duration },
    HalfOpen(Probes),
    Recovering(Ramp),
    ForcedOpen,
    ForcedClosed,
}

#[derive(Debug, Clone)]
pub(crate) struct Breaker {
    /// The circuits of all keys share it.
    config: Arc<Config>,
    slowest: SlowestSuccess,
    phase: Phase,
    epoch: u64,
    /// The begin of the phase.
    entered: Duration,
    /// The latest `now` of any call.
    now: Duration,
    window: Samples,
    consecutive_failures: u64,
    /// The latest end of a `Retry-After` hint from the upstream in this epoch.
    hinted_until: Duration,
    failed_recoveries: u32,
    opened: u64,
}

impl Breaker {
    pub(crate) fn new(config: impl Into<Arc<Config>>, now: Duration) -> Self {
        let config = config.into();
        Self {
            slowest: SlowestSuccess::new(now),
            phase: Phase::Closed,
            epoch: 0,
            entered: now,
            now,
            window: Samples::new(&config.window, now),
            consecutive_failures: 0,
            hinted_until: Duration::ZERO,
            failed_recoveries: 0,
            opened: 0,
            config,
        }
    }

    /// The settings as they were set.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Changes the settings. The state and the counts of the window stay, as far as they mean
    /// something in the new window, and an open circuit stays open for its time.
    pub(crate) fn adjust(&mut self, now: Duration, config: impl Into<Arc<Config>>) {
        let config = config.into();
        let now = self.advance(now);
        if config.window != self.config.window {
            self.window = self.window.resized(&config.window, now);
        }
        self.config = config;
    }

    /// Whether a cancelled call is a failure.
    fn is_failure(&mut self, now: Duration, elapsed: Duration, limit: Option<Duration>) -> bool {
        let rules = self.config.cancel_rules();
        self.slowest.is_failure(rules, now, elapsed, limit)
    }

    /// Computed on demand, which keeps an instance small.
    fn rules(&self) -> Rules {
        Rules::new(&self.config)
    }

    pub(crate) fn state(&self) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen(_) => State::HalfOpen,
            Phase::Recovering(_) => State::Recovering,
            Phase::ForcedOpen => State::ForcedOpen,
            Phase::ForcedClosed => State::ForcedClosed,
        }
    }

    #[cfg(test)]
    pub(crate) const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Decides on a call. This makes at most one transition.
    pub(crate) fn admit(&mut self, now: Duration, random: f64) -> (Decision, Option<Transition>) {
        let now = self.advance(now);
        if self.config.mode == Mode::Off {
            return (Decision::Admit(Ticket::counted(self.epoch)), None);
        }
        let transition = match self.phase {
            // Open -> HalfOpen: the open time is over, and this call is the first probe.
            Phase::Open { until } if now >= until => {
                Some(self.enter(Phase::HalfOpen(Probes::default()), Cause::OpenTimeOver))
            }
            _ => self.settle(now, random),
        };
        let permits = u64::from(self.config.probes);
        let life = self.config.probe_life();
        let admitted = match &mut self.phase {
            Phase::Closed | Phase::ForcedClosed => Ok(Kind::Counted),
            Phase::Open { until } => Err(Some(until.saturating_sub(now))),
            Phase::HalfOpen(probes) => probes
                .admit(permits, now.saturating_add(life))
                .map(Kind::Probe)
                .ok_or(None),
            Phase::Recovering(ramp) => ramp.admit(now).then_some(Kind::Counted).ok_or(None),
            Phase::ForcedOpen => Err(None),
        };
        let decision = match admitted {
            Ok(kind) => Decision::Admit(Ticket::new(self.epoch, kind)),
            Err(_) if self.config.mode == Mode::Shadow => {
                Decision::Admit(Ticket::rejected_in_shadow(self.epoch))
            }
            Err(retry_after) => Decision::Reject { retry_after },
        };
        (decision, transition)
    }

    /// Classifies a cancelled call as a failure or as ignored, and records how long a success took.
    /// `limit` is the length of the program's own time limit for the call.
    pub(crate) fn effective_outcome(
        &mut self,
        now: Duration,
        outcome: Outcome,
        elapsed: Duration,
        limit: Option<Duration>,
    ) -> Outcome {
        let now = self.advance(now);
        match outcome {
            // A shorter one can be no threshold.
            Outcome::Success if elapsed >= FLOOR => self.slowest.record(now, elapsed),
            Outcome::Cancelled if self.is_failure(now, elapsed, limit) => {
                return Outcome::Failure;
            }
            Outcome::Cancelled => return Outcome::Ignored,
            Outcome::Success | Outcome::Failure | Outcome::Ignored => {}
        }
        outcome
    }

    /// Counts the outcome of a call, after [`effective_outcome`](Self::effective_outcome).
    ///
    /// `retry_after` is the upstream's hint with a failure.
    pub(crate) fn record(
        &mut self,
        now: Duration,
        ticket: Ticket,
        outcome: Outcome,
        elapsed: Duration,
        retry_after: Option<Duration>,
        random: f64,
    ) -> Option<Transition> {
        let now = self.advance(now);
        if self.config.mode == Mode::Off {
            return None;
        }
        if let Some(transition) = self.settle(now, random) {
            // The epoch of the call is over.
            return Some(transition);
        }
        if ticket.epoch != self.epoch || ticket.would_reject() {
            return None;
        }
        let slow = self.rules().is_slow(elapsed);
        let counted = match outcome {
            Outcome::Success => Some(false),
            Outcome::Failure => Some(true),
            Outcome::Cancelled | Outcome::Ignored => None,
        };
        if let (Phase::HalfOpen(probes), Kind::Probe(serial)) = (&mut self.phase, ticket.kind())
            && !probes.release(serial)
        {
            // It expired, and was counted then.
            return None;
        }
        let failed = counted?;
        if let (Outcome::Failure, Some(hint)) = (outcome, retry_after) {
            self.hinted_until = self.hinted_until.max(now.saturating_add(hint));
        }
        match (&mut self.phase, ticket.kind()) {
            (Phase::HalfOpen(probes), Kind::Probe(_)) => {
                probes.settle(failed, slow);
                let permits = u64::from(self.config.probes);
                let evaluation = probes.evaluate(&Rules::new(&self.config), permits);
                self.conclude(evaluation, Cause::ProbesFailed, random)
            }
            (Phase::Closed | Phase::Recovering(_) | Phase::ForcedClosed, Kind::Counted) => {
                self.count(now, failed, slow, random)
            }
            _ => None,
        }
    }

    /// Records a successful response head, `elapsed` after the call. The outcome follows later.
    pub(crate) fn answered(
        &mut self,
        now: Duration,
        ticket: Ticket,
        elapsed: Duration,
        random: f64,
    ) -> Option<Transition> {
        let now = self.advance(now);
        if self.config.mode == Mode::Off {
            return None;
        }
        let transition = self.settle(now, random);
        if transition.is_none()
            && ticket.epoch == self.epoch
            && let (Phase::HalfOpen(probes), Kind::Probe(serial)) = (&mut self.phase, ticket.kind())
        {
            probes.answered(serial, Rules::new(&self.config).is_slow(elapsed));
        }
        transition
    }

    fn count(
        &mut self,
        now: Duration,
        failed: bool,
        slow: bool,
        random: f64,
    ) -> Option<Transition> {
        self.window.record(now, failed, slow);
        self.consecutive_failures = if failed {
            self.consecutive_failures.saturating_add(1)
        } else {
            0
        };
        let cause = self
            .rules()
            .tripped(&self.window.counts(), self.consecutive_failures)?;
        match self.phase {
            Phase::Closed => Some(self.open(cause, random)),
            Phase::Recovering(_) => {
                self.failed_recoveries = self.failed_recoveries.saturating_add(1);
                Some(self.open(cause, random))
            }
            _ => None,
        }
    }

    /// Adds successes, neither slow nor probes, that were counted elsewhere: in the current epoch
    /// and bucket, since the last change of this breaker.
    pub(crate) fn credit(&mut self, successes: u64) {
        let counts = matches!(self.phase, Phase::Closed | Phase::ForcedClosed);
        if successes > 0 && counts && self.config.mode != Mode::Off {
            self.window.credit(successes);
            self.consecutive_failures = 0;
        }
    }

    pub(crate) fn force_open(&mut self, now: Duration) -> Option<Transition> {
        self.advance(now);
        (self.state() != State::ForcedOpen).then(|| self.enter(Phase::ForcedOpen, Cause::Forced))
    }

    pub(crate) fn force_closed(&mut self, now: Duration) -> Option<Transition> {
        self.advance(now);
        (self.state() != State::ForcedClosed)
            .then(|| self.enter(Phase::ForcedClosed, Cause::Forced))
    }

    /// Closes the breaker with empty counts. Calls in flight are not counted either.
    pub(crate) fn reset(&mut self, now: Duration) -> Option<Transition> {
        self.advance(now);
        // For a closed breaker this is a new epoch but no transition.
        let transition = self.enter(Phase::Closed, Cause::Reset);
        (transition.from != State::Closed).then_some(transition)
    }

    /// The latest time so far: an earlier one was read before a wait for the lock.
    fn advance(&mut self, now: Duration) -> Duration {
        self.now = self.now.max(now);
        self.now
    }

    /// Makes the transition that time alone causes, if any. Open to half-open is none of these: it
    /// needs a call as the first probe.
    fn settle(&mut self, now: Duration, random: f64) -> Option<Transition> {
        let evaluation = match &mut self.phase {
            Phase::HalfOpen(probes) => {
                let (life, permits) = (self.config.probe_life(), u64::from(self.config.probes));
                probes.expire(now, life, &Rules::new(&self.config), permits)
            }
            Phase::Recovering(ramp) if ramp.is_over(now) => {
                return Some(self.enter(Phase::Closed, Cause::Recovered));
            }
            _ => Evaluation::Undecided,
        };
        self.conclude(evaluation, Cause::ProbeTimedOut, random)
    }

    /// Leaves the half-open state once the probes decide.
    fn conclude(
        &mut self,
        evaluation: Evaluation,
        failed: Cause,
        random: f64,
    ) -> Option<Transition> {
        match (evaluation, self.config.recovery) {
            (Evaluation::Undecided, _) => None,
            (Evaluation::Failed, _) => {
                self.failed_recoveries = self.failed_recoveries.saturating_add(1);
                Some(self.open(failed, random))
            }
            (Evaluation::Succeeded, Recovery::AtOnce) => {
                Some(self.enter(Phase::Closed, Cause::ProbesSucceeded))
            }
            (Evaluation::Succeeded, Recovery::Stepwise { steps, over }) => {
                let recovering = Phase::Recovering(Ramp::new(self.now, steps, over));
                Some(self.enter(recovering, Cause::ProbesSucceeded))
            }
        }
    }

    fn open(&mut self, cause: Cause, random: f64) -> Transition {
        // The upstream's hint may lengthen the open time, up to the cap.
        let hint = self.hinted_until.saturating_sub(self.now);
        let open_for = self
            .config
            .open_time(self.failed_recoveries, random)
            .max(hint.min(self.config.open_max));
        let until = self.now.saturating_add(open_for);
        self.opened = self.opened.saturating_add(1);
        let transition = self.enter(Phase::Open { until }, cause);
        Transition {
            open_for: Some(open_for),
            ..transition
        }
    }

    /// Begins a new epoch with empty counts. Every transition goes through here.
    fn enter(&mut self, phase: Phase, cause: Cause) -> Transition {
        let (from, counts) = (self.state(), self.counts());
        if matches!(from, State::Open | State::ForcedOpen) {
            // No call could succeed meanwhile, so the recorded successes must not age.
            self.slowest.pause(self.now.saturating_sub(self.entered));
        }
        self.entered = self.now;
        self.phase = phase;
        self.epoch = self.epoch.saturating_add(1);
        self.window.clear(self.now);
        self.consecutive_failures = 0;
        self.hinted_until = Duration::ZERO;
        let to = self.state();
        if matches!(to, State::Closed | State::ForcedOpen | State::ForcedClosed) {
            // The open time grows only with failed recoveries in a row.
            self.failed_recoveries = 0;
        }
        Transition::new(from, to, cause, counts)
    }

    fn counts(&self) -> Counts {
        match &self.phase {
            Phase::HalfOpen(probes) => probes.settled(),
            _ => self.window.counts(),
        }
    }
}

#[cfg(test)]
mod half_open_tests;
#[cfg(test)]
mod inputs_tests;
#[cfg(test)]
mod model;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod tests;
