//! Counters and snapshot of a retry layer.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::budget::RetryBudget;
use super::keyed::Fixed;
use super::settings::Settings;
use crate::layers::handle::Adjust;
use crate::layers::keyed::{Group, KeyCounts, NameAndKey, Target};
use crate::observe::emit::Emit;
use crate::observe::emitter::Emitter;
use crate::observe::event::EventKind;
use crate::observe::meter::Handles;
use crate::observe::snapshot::{Counts, InMode, Rejections, Totals, Words};
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
    /// The key of the instance, or `None` without one.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub key: Option<String>,
    /// The keys of a layer with a budget for each [key](crate::keyed). The snapshot of all keys has
    /// the sum of their counts, and the lowest balance of any budget, also of the
    /// [overall](crate::retry#a-budget-for-each-key) one.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub keys: Option<KeyCounts>,
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
    /// Retries that the budget allows now, if there is one. With keys, the lowest of all budgets.
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
    /// Used only while the settings have one. It may be one for all keys or several layers.
    budget: RetryBudget,
    pub(super) emitter: Emitter,
    causes: Counts<{ RetryCause::ALL.len() }>,
    refused: Counts<{ RetryRefused::ALL.len() }>,
    given_up: AtomicU64,
}

impl Stats {
    pub(super) fn new(
        settings: Settings,
        budget: RetryBudget,
        can_retry: bool,
        emitter: Emitter,
    ) -> Self {
        let stats = Self {
            attempts: AtomicU32::new(0),
            replay_limit: AtomicUsize::new(0),
            has_budget: AtomicBool::new(false),
            can_retry,
            budget,
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

    /// Counts and emits a refused retry.
    #[cold]
    pub(super) fn refuse(&self, why: RetryRefused) {
        self.refused.add(&RetryRefused::ALL, why);
        self.emit_and_log(|| EventKind::RetryRefused(why));
    }

    pub(super) fn counts(&self) -> Totals {
        Totals {
            rejections: self.emitter.rejections(),
            given_up: self.given_up.load(Ordering::Relaxed),
            retries: self.causes.of(&RetryCause::ALL),
            retries_refused: self.refused.of(&RetryRefused::ALL),
            ..Totals::default()
        }
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
        Fixed::check(self.can_retry, settings)
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
    pub(super) fn of(target: &Target<Stats>) -> Self {
        match target {
            Target::One(stats) => {
                let balance = stats.budget().map(RetryBudget::balance);
                let key = stats.emitter.key().map(str::to_owned);
                let mode = stats.lock().mode;
                Self {
                    key,
                    ..Self::new(&stats.emitter, mode, balance, stats.counts())
                }
            }
            Target::Group(group) => Self::of_group(group),
        }
    }

    fn of_group(group: &Group<Stats>) -> Self {
        let settings = group.settings();
        let mut lowest: Option<u64> = None;
        let totals = group.sum(|stats, totals| {
            totals.add(&stats.counts());
            if let Some(budget) = stats.budget() {
                let balance = budget.own_balance();
                lowest = Some(lowest.map_or(balance, |lowest| lowest.min(balance)));
            }
        });
        if settings.mode != Mode::Off
            && let Some(overall) = group
                .common()
                .overall()
                .or_else(|| group.fixed().shared_budget(&settings))
        {
            let balance = overall.balance();
            lowest = Some(lowest.map_or(balance, |lowest| lowest.min(balance)));
        }
        Self {
            keys: Some(KeyCounts::of(group)),
            ..Self::new(group.emitter(), settings.mode, lowest, totals)
        }
    }

    fn new(emitter: &Emitter, mode: Mode, balance: Option<u64>, totals: Totals) -> Self {
        Self {
            layer: emitter.layer(),
            name: emitter.name().to_owned(),
            key: None,
            keys: None,
            mode,
            retries: totals.retries,
            refused: totals.retries_refused,
            given_up: totals.given_up,
            balance,
            rejections: totals.rejections,
        }
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = |counts: &mut dyn Iterator<Item = u64>| counts.sum::<u64>();
        let retries = total(&mut self.retries.iter().map(|(_, count)| *count));
        let refused = total(&mut self.refused.iter().map(|(_, count)| *count));
        let mode = InMode(self.mode);
        let name = NameAndKey(&self.name, self.key.as_deref());
        write!(f, "{} {name}: ", self.layer)?;
        if let Some(keys) = &self.keys {
            write!(f, "{keys}; ")?;
        }
        write!(f, "{retries} retries{mode}")?;
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
            Some(balance) if self.keys.is_some() => {
                write!(f, "; lowest budget for {balance} more")
            }
            Some(balance) => write!(f, "; budget for {balance} more"),
            None => f.write_str("; no budget"),
        }
    }
}
