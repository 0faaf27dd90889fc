//! What the instances of a layer with an instance for each key share.

use std::sync::PoisonError;

use super::Emitter;
use crate::observe::snapshot::Totals;
use crate::runtime::sync::Mutex;

/// The emitter of all instances of a group, and the counts of those that were never stored.
pub(crate) struct GroupEmitter {
    /// Its name is that of the layer, without a key.
    pub(crate) emitter: Emitter,
    /// The counts of temporary instances that are gone.
    temporary: Mutex<Totals>,
}

impl GroupEmitter {
    pub(crate) fn new(emitter: Emitter) -> Self {
        Self {
            emitter,
            temporary: Mutex::new(Totals::default()),
        }
    }

    /// Adds the counts of a temporary instance whose calls are over.
    pub(crate) fn add_temporary(&self, totals: &Totals) {
        let mut sum = self
            .temporary
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        sum.add(totals);
    }

    /// The counts of temporary instances that are gone.
    pub(crate) fn temporary(&self) -> Totals {
        let sum = self
            .temporary
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        sum.clone()
    }
}
