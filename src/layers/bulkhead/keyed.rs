//! The permits of a key.

use std::sync::Arc;

use super::layer::LAYER;
use super::permits::{Books, Permits};
use super::settings::Settings;
use crate::layers::keyed::{Instance, dropped};
use crate::observe::emitter::Emitter;
use crate::observe::snapshot::Totals;
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::mode::Mode;

impl Books {
    /// The counts of the calls that are over.
    pub(super) fn totals(&self, permits: &Permits) -> Totals {
        Totals {
            outcomes: self.outcomes,
            rejections: permits.emitter.rejections(),
            would_reject: permits.emitter.would_reject(),
            given_up: self.given_up,
            ..Totals::default()
        }
    }
}

impl Instance for Permits {
    type Settings = Settings;
    /// Whether calls can queue.
    type Fixed = bool;
    type Common = ();

    fn new(settings: &Settings, can_queue: &bool, emitter: Emitter, _: Option<&Arc<()>>) -> Self {
        Self::new(settings.clone(), *can_queue, emitter)
    }

    fn check(can_queue: &bool, settings: &Settings) -> Result<(), ConfigError> {
        if let (false, Some(queue)) = (*can_queue, &settings.queue) {
            let rule = "this bulkhead was built without a queue: build it with `queueable()`";
            let calls = format_args!("{} calls", queue.calls);
            return Err(ConfigError::new(LAYER, "queue", calls, rule));
        }
        Ok(())
    }

    fn is_measured(settings: &Settings) -> bool {
        settings.mode != Mode::Off
    }

    /// Without calls it is as good as new.
    fn is_plain(&self) -> bool {
        true
    }

    fn totals(&self) -> Totals {
        self.books().totals(self)
    }
}

impl Drop for Permits {
    fn drop(&mut self) {
        dropped(self);
    }
}
