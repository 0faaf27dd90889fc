//! A caller that keeps calling something broken wastes its own time and hinders the other's recovery. A
//! circuit breaker notices from the outcomes, rejects calls for a while, and then finds out with a few
//! probes whether the trouble is over (Nygard, "Release It!").
//!
//! ```text
//! Closed     -> Open        a rule trips
//! Open       -> HalfOpen    the open time is over, and a call comes to be the first probe
//! HalfOpen   -> Open        the probes are bad, or do not come back
//! HalfOpen   -> Closed      the probes are well
//! HalfOpen   -> Recovering  the same, where the recovery is stepwise
//! Recovering -> Open        a rule trips
//! Recovering -> Closed      the last step is over
//! any        -> ForcedOpen, ForcedClosed, Closed    by hand
//! ```
//!
//! One sequential state machine: whoever shares it puts a lock around it, and [`Breaker::front`] says
//! how far it may be done without. The *epoch* rises with every change of state; what was admitted in
//! one epoch says nothing in another, and every state starts with an empty window.

mod config;
mod half_open;
mod ramp;
mod report;
mod rules;
mod ticket;

use std::time::Duration;

pub(crate) use self::{
    config::Config,
    report::View,
    ticket::{Decision, Ticket},
};
pub use self::{
    config::{Mode, OnCancel, Recovery},
    report::{Cause, State, Transition},
};
use self::{
    half_open::Probes,
    ramp::Ramp,
    rules::{Rules, Verdict},
    ticket::Kind,
};
use super::evidence::Evidence;
use super::window::{Counts, Samples};
use crate::vocabulary::outcome::Outcome;

/// The state, and what only that state needs.
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
    config: Config,
    evidence: Evidence,
    phase: Phase,
    epoch: u64,
    /// When the phase began.
    entered: Duration,
    /// The latest time it was told.
    now: Duration,
    window: Samples,
    consecutive_failures: u64,
    /// Until when the upstream itself asked, in this epoch, to be left alone.
    asked_until: Duration,
    failed_recoveries: u32,
    opened: u64,
}

impl Breaker {
    pub(crate) fn new(config: Config, now: Duration) -> Self {
        Self {
            evidence: config.evidence(now),
            phase: Phase::Closed,
            epoch: 0,
            entered: now,
            now,
            window: Samples::new(&config.window, now),
            consecutive_failures: 0,
            asked_until: Duration::ZERO,
            failed_recoveries: 0,
            opened: 0,
            config,
        }
    }

    /// Made of the settings when they are asked for: an instance is small.
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

    /// Decides about a call. At most one change of state comes with it.
    pub(crate) fn admit(&mut self, now: Duration, random: f64) -> (Decision, Option<Transition>) {
        let now = self.pass(now);
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
        let places = u64::from(self.config.probes);
        let life = self.config.probe_life;
        let admitted = match &mut self.phase {
            Phase::Closed | Phase::ForcedClosed => Ok(Kind::Counted),
            Phase::Open { until } => Err(Some(until.saturating_sub(now))),
            Phase::HalfOpen(probes) => probes
                .admit(places, now.saturating_add(life))
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

    /// The outcome that a call counts as: without an answer it is a failure, or ignored. `limit` is the length of the
    /// program's own time limit that holds for the call. Also takes note of how long a success took.
    pub(crate) fn weigh(
        &mut self,
        now: Duration,
        outcome: Outcome,
        elapsed: Duration,
        limit: Option<Duration>,
    ) -> Outcome {
        let now = self.pass(now);
        match outcome {
            Outcome::Success => self.evidence.succeeded(now, elapsed),
            Outcome::Cancelled if self.evidence.is_failure(now, elapsed, limit) => {
                return Outcome::Failure;
            }
            Outcome::Cancelled => return Outcome::Ignored,
            Outcome::Failure | Outcome::Ignored => {}
        }
        outcome
    }

    /// Counts a call's outcome, as it was [weighed](Self::weigh).
    ///
    /// `elapsed` is how long it ran, `retry_after` what the upstream asked for when it failed.
    pub(crate) fn record(
        &mut self,
        now: Duration,
        ticket: Ticket,
        outcome: Outcome,
        elapsed: Duration,
        retry_after: Option<Duration>,
        random: f64,
    ) -> Option<Transition> {
        let now = self.pass(now);
        if self.config.mode == Mode::Off {
            return None;
        }
        if let Some(transition) = self.settle(now, random) {
            // The state that the call was admitted in is over.
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
            && !probes.leave(serial)
        {
            // Its time was over, and something has been counted for it.
            return None;
        }
        let failed = counted?;
        if let (Outcome::Failure, Some(ask)) = (outcome, retry_after) {
            self.asked_until = self.asked_until.max(now.saturating_add(ask));
        }
        match (&mut self.phase, ticket.kind()) {
            (Phase::HalfOpen(probes), Kind::Probe(_)) => {
                probes.report(failed, slow);
                let verdict =
                    probes.judge(&Rules::new(&self.config), u64::from(self.config.probes));
                self.conclude(verdict, Cause::ProbesFailed, random)
            }
            (Phase::Closed | Phase::Recovering(_) | Phase::ForcedClosed, Kind::Counted) => {
                self.count(now, failed, slow, random)
            }
            _ => None,
        }
    }

    /// Takes note that a call's response has begun well, so many after the call; its outcome comes later.
    pub(crate) fn answered(
        &mut self,
        now: Duration,
        ticket: Ticket,
        elapsed: Duration,
        random: f64,
    ) -> Option<Transition> {
        let now = self.pass(now);
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
            // Closed -> Open: a rule tripped.
            Phase::Closed => Some(self.open(cause, random)),
            // Recovering -> Open: the recovery failed.
            Phase::Recovering(_) => {
                self.failed_recoveries = self.failed_recoveries.saturating_add(1);
                Some(self.open(cause, random))
            }
            _ => None,
        }
    }

    /// Adds plain successes, neither slow nor probes, that were counted elsewhere: all in the current
    /// epoch and bucket, and since this breaker was last changed.
    pub(crate) fn credit(&mut self, successes: u64) {
        let counts = matches!(self.phase, Phase::Closed | Phase::ForcedClosed);
        if successes > 0 && counts && self.config.mode != Mode::Off {
            self.window.credit(successes);
            self.consecutive_failures = 0;
        }
    }

    /// Rejects every call until further notice.
    pub(crate) fn force_open(&mut self, now: Duration) -> Option<Transition> {
        self.pass(now);
        // Any -> ForcedOpen: by hand.
        (self.state() != State::ForcedOpen).then(|| self.enter(Phase::ForcedOpen, Cause::Forced))
    }

    /// Lets every call through until further notice.
    pub(crate) fn force_closed(&mut self, now: Duration) -> Option<Transition> {
        self.pass(now);
        // Any -> ForcedClosed: by hand.
        (self.state() != State::ForcedClosed)
            .then(|| self.enter(Phase::ForcedClosed, Cause::Forced))
    }

    /// Makes it as new: closed, with nothing counted. What is under way now is not counted either.
    pub(crate) fn reset(&mut self, now: Duration) -> Option<Transition> {
        self.pass(now);
        // Any -> Closed: by hand. A closed breaker forgets too, which is a new epoch but no transition.
        let transition = self.enter(Phase::Closed, Cause::Reset);
        (transition.from != State::Closed).then_some(transition)
    }

    /// The time is the latest that anybody has told; an earlier one was read before a wait for the lock.
    fn pass(&mut self, now: Duration) -> Duration {
        self.now = self.now.max(now);
        self.now
    }

    /// Makes the change of state that time alone has brought about, if there is one. Open to half-open
    /// is none of those: that takes a call that becomes a probe.
    fn settle(&mut self, now: Duration, random: f64) -> Option<Transition> {
        let verdict = match &mut self.phase {
            Phase::HalfOpen(probes) => {
                let (life, places) = (self.config.probe_life, u64::from(self.config.probes));
                probes.expire(now, life, &Rules::new(&self.config), places)
            }
            // Recovering -> Closed: the last step is over.
            Phase::Recovering(ramp) if ramp.is_over(now) => {
                return Some(self.enter(Phase::Closed, Cause::Recovered));
            }
            _ => Verdict::Unknown,
        };
        self.conclude(verdict, Cause::ProbeTimedOut, random)
    }

    fn conclude(&mut self, verdict: Verdict, failed: Cause, random: f64) -> Option<Transition> {
        match (verdict, self.config.recovery) {
            (Verdict::Unknown, _) => None,
            // HalfOpen -> Open: the probes are bad, or do not come back.
            (Verdict::Failed, _) => {
                self.failed_recoveries = self.failed_recoveries.saturating_add(1);
                Some(self.open(failed, random))
            }
            // HalfOpen -> Closed: the probes are well.
            (Verdict::Succeeded, Recovery::AtOnce) => {
                Some(self.enter(Phase::Closed, Cause::ProbesSucceeded))
            }
            // HalfOpen -> Recovering: the probes are well.
            (Verdict::Succeeded, Recovery::Stepwise { steps, over }) => {
                let recovering = Phase::Recovering(Ramp::new(self.now, steps, over));
                Some(self.enter(recovering, Cause::ProbesSucceeded))
            }
        }
    }

    fn open(&mut self, cause: Cause, random: f64) -> Transition {
        // What the upstream asked for lengthens it, but not over the cap either.
        let asked = self.asked_until.saturating_sub(self.now);
        let open_for = self
            .config
            .open_time(self.failed_recoveries, random)
            .max(asked.min(self.config.open_max));
        let until = self.now.saturating_add(open_for);
        self.opened = self.opened.saturating_add(1);
        let transition = self.enter(Phase::Open { until }, cause);
        Transition {
            open_for: Some(open_for),
            ..transition
        }
    }

    /// Every change of state comes through here: a new epoch, with nothing counted.
    fn enter(&mut self, phase: Phase, cause: Cause) -> Transition {
        let (from, counts) = (self.state(), self.counts());
        if matches!(from, State::Open | State::ForcedOpen) {
            // Nothing could succeed meanwhile, and what is remembered of it must not be forgotten for that.
            self.evidence.pause(self.now.saturating_sub(self.entered));
        }
        self.entered = self.now;
        self.phase = phase;
        self.epoch = self.epoch.saturating_add(1);
        self.window.clear(self.now);
        self.consecutive_failures = 0;
        self.asked_until = Duration::ZERO;
        let to = self.state();
        if matches!(to, State::Closed | State::ForcedOpen | State::ForcedClosed) {
            // The open time grows over failed recoveries in a row only.
            self.failed_recoveries = 0;
        }
        Transition::new(from, to, cause, counts)
    }

    fn counts(&self) -> Counts {
        match &self.phase {
            Phase::HalfOpen(probes) => probes.reported(),
            _ => self.window.counts(),
        }
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod tests;
