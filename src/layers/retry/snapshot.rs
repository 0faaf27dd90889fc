//! Counters and snapshot of a retry layer.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::budget::RetryBudget;
use super::settings::Settings;
use crate::layers::handle::Adjust;
use crate::observe::emit::Emit;
use crate::observe::emitter::Emitter;
use crate::observe::event::EventKind;
use crate::observe::meter::Handles;
use crate::observe::snapshot::{Counts, InMode, Rejections, Words};
#[cfg(feature = "serde")]
use crate::observe::snapshot::{as_str, counts};
use crate::policy::retry::{RetryCause, RetryRefused};
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::mode::Mode;

/// The snapshot of a retry layer: see [`snapshot`](crate::snapshot).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// `retry`.
    pub layer: &'static str,
    /// The name of the instance.
    pub name: String,
    /// Whether the layer retries, only reports, or is off. A retry that shadow mode prevents is in
    /// `refused`.
    #[cfg_attr(feature = "serde", serde(serialize_with = "as_str"))]
    pub mode: Mode,
    /// Attempts after the first, by cause.
    #[cfg_attr(feature = "serde", serde(serialize_with = "counts"))]
    pub retries: Vec<(RetryCause, u64)>,
    /// Retries that were refused, by reason.
    #[cfg_attr(feature = "serde", serde(serialize_with = "counts"))]
    pub refused: Vec<(RetryRefused, u64)>,
    /// The number of `retries` whose callers gave up during the back-off.
    ///
    /// The number of attempts is calls + `retries` - `given_up` - retries refused as `not_ready`.
    pub given_up: u64,
    /// Retries that the budget allows now, if there is one.
    pub balance: Option<u64>,
    /// Calls whose response was dropped for a retry for which the inner service was not ready.
    pub rejections: Rejections,
}

/// The settings in force, the budget, the counters and the emitter of an instance.
pub(crate) struct Stats {
    /// The attempts of a call; 1 if the layer is off.
    attempts: AtomicU32,
    replay_limit: AtomicUsize,
    has_budget: AtomicBool,
    /// Whether the policy ever retries.
    can_retry: bool,
    settings: Mutex<Settings>,
    /// Used only while the settings have one.
    budget: RetryBudget,
    pub(super) emitter: Emitter,
    causes: Counts<{ RetryCause::ALL.len() }>,
    refused: Counts<{ RetryRefused::ALL.len() }>,
    given_up: AtomicU64,
}

impl Stats {
    /// Without a `budget` of its user, it has one of its own.
    pub(super) fn new(
        settings: Settings,
        budget: Option<RetryBudget>,
        can_retry: bool,
        emitter: Emitter,
    ) -> Self {
        let own = || RetryBudget::of(settings.budget.unwrap_or_default());
        let stats = Self {
            attempts: AtomicU32::new(0),
            replay_limit: AtomicUsize::new(0),
            has_budget: AtomicBool::new(false),
            can_retry,
            budget: budget.unwrap_or_else(own),
            settings: Mutex::new(settings),
            emitter,
            causes: Counts::new(),
            refused: Counts::new(),
            given_up: AtomicU64::new(0),
        };
        stats.publish(&stats.lock());
        stats
    }

    /// Puts the settings in force that calls read without the lock.
    fn publish(&self, settings: &Settings) {
        let has_budget = settings.budget.is_some() && settings.mode != Mode::Off;
        self.has_budget.store(has_budget, Ordering::Relaxed);
        self.replay_limit
            .store(settings.replay_limit, Ordering::Relaxed);
        self.attempts
            .store(settings.attempts_now(), Ordering::Relaxed);
    }

    pub(super) fn can_retry(&self) -> bool {
        self.can_retry
    }

    #[inline]
    pub(super) fn attempts(&self) -> u32 {
        self.attempts.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn replay_limit(&self) -> usize {
        self.replay_limit.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn budget(&self) -> Option<&RetryBudget> {
        self.has_budget
            .load(Ordering::Relaxed)
            .then_some(&self.budget)
    }

    fn lock(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Several layers may share a budget, so the budget has its own settings.
    fn with_budget(&self, mut settings: Settings) -> Settings {
        if let Some(budget) = &mut settings.budget {
            *budget = self.budget.settings();
        }
        settings
    }

    /// The caller of an announced retry gave up.
    #[cold]
    pub(super) fn gave_up(&self, waited: Duration) {
        self.given_up.fetch_add(1, Ordering::Relaxed);
        self.emitter.emit(|| EventKind::GivenUp { waited });
    }

    pub(super) fn retrying(&self, cause: RetryCause) {
        self.causes.add(&RetryCause::ALL, cause);
    }

    pub(super) fn refused(&self, why: RetryRefused) {
        self.refused.add(&RetryRefused::ALL, why);
    }
}

impl Emit for Stats {
    #[inline]
    fn emitter(&self) -> &Emitter {
        &self.emitter
    }

    fn set_gauges(&self, handles: &Handles) {
        if let Some(budget) = self.budget() {
            handles.balance(budget.balance());
        }
    }
}

impl Adjust for Stats {
    type Settings = Settings;

    fn settings(&self) -> Settings {
        self.with_budget(self.lock().clone())
    }

    fn in_force(mut settings: Settings) -> Settings {
        settings.backoff = Some(settings.backoff());
        settings
    }

    fn check(&self, settings: &Settings) -> Result<(), ConfigError> {
        if !self.can_retry && settings.mode != Mode::Off {
            let rule = "must be `off`: this client was built without a retry policy";
            return Err(ConfigError::new(
                super::layer::LAYER,
                "mode",
                settings.mode,
                rule,
            ));
        }
        Ok(())
    }

    fn put(&self, before: &Settings, new: &Settings) -> bool {
        let mut settings = self.lock();
        if self.with_budget(settings.clone()) != *before {
            return false;
        }
        if let Some(budget) = &new.budget {
            self.budget.adjust(budget);
        }
        settings.clone_from(new);
        self.publish(&settings);
        self.emitter.set_measured(new.mode != Mode::Off);
        true
    }
}

impl Snapshot {
    pub(super) fn of(stats: &Stats) -> Self {
        Self {
            layer: stats.emitter.layer(),
            name: stats.emitter.name().to_owned(),
            mode: stats.lock().mode,
            retries: stats.causes.of(&RetryCause::ALL),
            refused: stats.refused.of(&RetryRefused::ALL),
            given_up: stats.given_up.load(Ordering::Relaxed),
            balance: stats.budget().map(RetryBudget::balance),
            rejections: stats.emitter.rejections(),
        }
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = |counts: &mut dyn Iterator<Item = u64>| counts.sum::<u64>();
        let retries = total(&mut self.retries.iter().map(|(_, count)| *count));
        let refused = total(&mut self.refused.iter().map(|(_, count)| *count));
        let mode = InMode(self.mode);
        write!(f, "{} {}: {retries} retries{mode}", self.layer, self.name)?;
        if retries > 0 {
            let words = self.retries.iter().map(|(of, count)| (of.as_str(), *count));
            write!(f, " ({})", Words(words))?;
        }
        write!(f, ", {refused} refused")?;
        if refused > 0 {
            let words = self.refused.iter().map(|(of, count)| (of.as_str(), *count));
            write!(f, " ({})", Words(words))?;
        }
        if self.given_up > 0 {
            write!(f, ", {} given up", self.given_up)?;
        }
        match self.balance {
            Some(balance) => write!(f, "; budget for {balance} more"),
            None => f.write_str("; no budget"),
        }
    }
}
