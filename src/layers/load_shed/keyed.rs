//! The load shedder of a key.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::layer::LAYER;
use super::load::{Books, Load};
use super::settings::Settings;
use crate::layers::keyed::{Instance, dropped};
use crate::observe::emitter::Emitter;
use crate::observe::snapshot::{Latencies, Totals};
use crate::runtime::shared::Shared;
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::mode::Mode;

/// The state that the load shedders of all keys share.
#[derive(Default)]
pub(crate) struct Common {
    latencies: Latencies,
    /// The mode of the layer. Readiness depends on it, before the key of a call is known.
    mode: AtomicU32,
}

impl Common {
    /// The latencies of all keys.
    pub(super) const fn latencies(&self) -> &Latencies {
        &self.latencies
    }

    #[inline]
    pub(super) fn mode(&self) -> Mode {
        Mode::from_bits(self.mode.load(Ordering::Relaxed))
    }
}

/// Refuses a limit by scheduler lag for each key. The lag is that of the whole process, and many
/// keys with a few calls each would never be limited.
pub(super) fn check_keys(has_keys: bool, settings: &Settings) -> Result<(), ConfigError> {
    if has_keys && settings.is_on() && settings.limit.is_by_lag() {
        let rule = "must be `fixed`, `aimd` or `gradient2` with keys: the scheduler's lag is that of \
                    the whole process";
        return Err(ConfigError::new(LAYER, "limit", settings.limit, rule));
    }
    Ok(())
}

impl Books {
    /// The counts of the calls that are over.
    pub(super) fn totals(&self, load: &Load) -> Totals {
        Totals {
            outcomes: self.outcomes,
            rejections: load.emitter.rejections(),
            would_reject: load.emitter.would_reject(),
            ..Totals::default()
        }
    }
}

impl Instance for Load {
    type Settings = Settings;
    /// Whether there can be keys.
    type Fixed = bool;
    type Common = Common;

    fn new(settings: &Settings, _: &bool, emitter: Emitter, common: Option<&Arc<Common>>) -> Self {
        let shared = common.map(|common| common.latencies().share());
        let latencies = shared.unwrap_or_default();
        Self::new(settings.clone(), emitter, latencies)
    }

    fn shared(shared: &Shared<Self>) {
        // Set once, so it does not fail.
        let _ = shared.weak_self.set(Arc::downgrade(Shared::arc(shared)));
    }

    fn publish(common: &Common, _: &bool, settings: &Settings) {
        common.mode.store(settings.mode as u32, Ordering::Relaxed);
    }

    fn check(has_keys: &bool, settings: &Settings) -> Result<(), ConfigError> {
        check_keys(*has_keys, settings)
    }

    fn is_measured(settings: &Settings) -> bool {
        settings.is_on()
    }

    /// Whether its limit is that of a new key.
    fn is_plain(&self) -> bool {
        !self.is_by_latency() || self.has_first_limit()
    }

    fn totals(&self) -> Totals {
        self.books().totals(self)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        dropped(self);
    }
}
