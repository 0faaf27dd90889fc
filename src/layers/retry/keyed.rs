//! The retries of a key.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::budget::RetryBudget;
use super::layer::LAYER;
use super::settings::Settings;
use super::snapshot::Stats;
use crate::call::entry::Entry;
use crate::layers::keyed::{Instance, dropped};
use crate::observe::emitter::Emitter;
use crate::observe::snapshot::Totals;
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::mode::Mode;

/// The settings of a retry layer that cannot change.
pub(crate) struct Fixed {
    /// The user's own budget, which all keys share.
    pub(super) budget: Option<RetryBudget>,
    /// Whether the policy ever retries.
    pub(super) can_retry: bool,
}

impl Fixed {
    /// The user's own budget, if it is in use.
    pub(super) fn shared_budget(&self, settings: &Settings) -> Option<&RetryBudget> {
        let is_used = settings.budget.is_some() && settings.mode != Mode::Off;
        self.budget.as_ref().filter(|_| is_used)
    }

    pub(super) fn check(can_retry: bool, settings: &Settings) -> Result<(), ConfigError> {
        if !can_retry && settings.mode != Mode::Off {
            let rule = "must be `off`: this client was built without a retry policy";
            return Err(ConfigError::new(LAYER, "mode", settings.mode, rule));
        }
        Ok(())
    }
}

/// The state that the retries of all keys share.
///
/// Each budget has a minimum of its own. Without an overall budget, the minimum of many keys would
/// be many times as high, even if all keys are one upstream.
#[derive(Default)]
pub(crate) struct Common {
    /// Used only while the settings of all keys have a budget.
    overall: RetryBudget,
    has_budget: AtomicBool,
}

impl Common {
    /// The budget of all keys.
    #[inline]
    pub(super) fn overall(&self) -> Option<&RetryBudget> {
        self.has_budget
            .load(Ordering::Relaxed)
            .then_some(&self.overall)
    }

    /// A request of any key is sent for the first time.
    pub(super) fn request(&self, entry: &mut Entry) {
        if let Some(overall) = self.overall() {
            overall.request(entry);
        }
    }
}

impl Instance for Stats {
    type Settings = Settings;
    type Fixed = Fixed;
    type Common = Common;

    fn new(
        settings: &Settings,
        fixed: &Fixed,
        emitter: Emitter,
        common: Option<&Arc<Common>>,
    ) -> Self {
        let own = || RetryBudget::of_key(settings.budget.unwrap_or_default(), common.cloned());
        let budget = fixed.budget.clone().unwrap_or_else(own);
        Self::new(settings.clone(), budget, fixed.can_retry, emitter)
    }

    fn publish(common: &Common, fixed: &Fixed, settings: &Settings) {
        if let Some(budget) = &settings.budget {
            let overall = fixed.budget.as_ref().unwrap_or(&common.overall);
            overall.adjust(budget);
        }
        let has_budget = settings.budget.is_some() && fixed.budget.is_none();
        common.has_budget.store(has_budget, Ordering::Relaxed);
    }

    fn refresh(fixed: &Fixed, settings: &mut Settings) {
        if let (Some(shared), Some(budget)) = (&fixed.budget, &mut settings.budget) {
            *budget = shared.settings();
        }
    }

    fn check(fixed: &Fixed, settings: &Settings) -> Result<(), ConfigError> {
        Fixed::check(fixed.can_retry, settings)
    }

    fn is_measured(settings: &Settings) -> bool {
        settings.mode != Mode::Off
    }

    /// Whether its budget allows as many retries as a new one. A budget that all keys share does not
    /// depend on this instance.
    fn is_plain(&self) -> bool {
        self.budget()
            .is_none_or(|budget| !budget.is_of_key() || budget.is_full())
    }

    fn totals(&self) -> Totals {
        self.counts()
    }
}

impl Drop for Stats {
    fn drop(&mut self) {
        dropped(self);
    }
}
