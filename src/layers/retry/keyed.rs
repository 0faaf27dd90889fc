//! The retries of a key.

use std::sync::Arc;

use super::budget::RetryBudget;
use super::layer::LAYER;
use super::settings::Settings;
use super::snapshot::Stats;
use crate::layers::keyed::{Instance, dropped};
use crate::observe::emitter::Emitter;
use crate::observe::snapshot::Totals;
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::mode::Mode;

/// The settings of a retry layer that cannot change.
pub(crate) struct Fixed {
    /// The user's own budget, which there is only without keys.
    pub(super) budget: Option<RetryBudget>,
    /// Whether the policy ever retries.
    pub(super) can_retry: bool,
}

impl Fixed {
    pub(super) fn check(can_retry: bool, settings: &Settings) -> Result<(), ConfigError> {
        if !can_retry && settings.mode != Mode::Off {
            let rule = "must be `off`: this client was built without a retry policy";
            return Err(ConfigError::new(LAYER, "mode", settings.mode, rule));
        }
        Ok(())
    }
}

impl Instance for Stats {
    type Settings = Settings;
    type Fixed = Fixed;
    type Common = ();

    fn new(settings: &Settings, fixed: &Fixed, emitter: Emitter, _: Option<&Arc<()>>) -> Self {
        let budget = fixed.budget.clone();
        Self::new(settings.clone(), budget, fixed.can_retry, emitter)
    }

    fn check(fixed: &Fixed, settings: &Settings) -> Result<(), ConfigError> {
        Fixed::check(fixed.can_retry, settings)
    }

    fn is_measured(settings: &Settings) -> bool {
        settings.mode != Mode::Off
    }

    /// Whether its budget allows as many retries as a new one.
    fn is_plain(&self) -> bool {
        self.budget().is_none_or(RetryBudget::is_full)
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
