//! The rate limit of a key.

use std::sync::Arc;

use super::layer::KIND;
use super::limiter::Limiter;
use super::settings::Settings;
use crate::layers::keyed::{Instance, dropped};
use crate::observe::emitter::Emitter;
use crate::observe::snapshot::Totals;
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::mode::Mode;

impl Instance for Limiter {
    type Settings = Settings;
    /// Whether calls can queue.
    type Fixed = bool;
    type Common = ();

    fn new(settings: &Settings, can_queue: &bool, emitter: Emitter, _: Option<&Arc<()>>) -> Self {
        Self::new(settings.clone(), *can_queue, emitter)
    }

    fn check(can_queue: &bool, settings: &Settings) -> Result<(), ConfigError> {
        if let (false, Some(max_wait)) = (*can_queue, settings.max_wait) {
            let rule = "this rate limit was built without a wait: build it with `queueable()`";
            let max_wait = format_args!("{max_wait:?}");
            return Err(ConfigError::new(KIND.layer, "max_wait", max_wait, rule));
        }
        Ok(())
    }

    fn is_measured(settings: &Settings) -> bool {
        settings.mode != Mode::Off
    }

    /// Whether all permits are available.
    fn is_plain(&self) -> bool {
        self.available() >= self.rate().burst()
    }

    fn totals(&self) -> Totals {
        Totals {
            outcomes: self.outcomes(),
            rejections: self.emitter.rejections(),
            would_reject: self.emitter.would_reject(),
            given_up: self.given_up(),
            ..Totals::default()
        }
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        dropped(self);
    }
}
