//! The emitter and counts that the instances of all keys of a layer share.

use std::collections::HashSet;
use std::sync::PoisonError;

use super::Emitter;
use crate::observe::meter::{Handles, Slot};
use crate::observe::snapshot::Totals;
use crate::runtime::sync::Mutex;

/// The label of the keys that have no label of their own.
const OTHER: &str = "other";

/// The emitter of all instances of a group, and the counts of those that were never stored.
pub(crate) struct GroupEmitter {
    /// It has the name of the layer, and no key.
    pub(crate) emitter: Emitter,
    /// The counts of temporary instances that are gone.
    temporary: Mutex<Totals>,
    /// How many keys have a label of their own. With 0 no key has a label.
    labels: usize,
    /// The keys that have a label. They keep it for ever, so that their number is bounded.
    labelled: Mutex<HashSet<Box<str>>>,
    /// The metrics of the other keys, if keys have labels.
    other: Slot,
}

/// The label for the key of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyLabel {
    /// There is none: all keys share the metrics of the group.
    None,
    Own,
    Other,
}

impl GroupEmitter {
    pub(crate) fn new(emitter: Emitter, labels: usize) -> Self {
        Self {
            emitter,
            temporary: Mutex::new(Totals::default()),
            labels,
            labelled: Mutex::new(HashSet::new()),
            other: Slot::new(),
        }
    }

    /// The label of a new instance.
    pub(super) fn label(&self, key: &str, is_temporary: bool) -> KeyLabel {
        if self.labels == 0 || key.is_empty() {
            return KeyLabel::None;
        }
        if is_temporary {
            return KeyLabel::Other;
        }
        let labelled = self.labelled.lock();
        let mut labelled = labelled.unwrap_or_else(PoisonError::into_inner);
        let has_room = labelled.len() < self.labels;
        if labelled.contains(key) || has_room && labelled.insert(key.into()) {
            KeyLabel::Own
        } else {
            KeyLabel::Other
        }
    }

    /// The metric handles of the keys without a label of their own, if there is a recorder.
    pub(super) fn other_handles(&self) -> Option<&Handles> {
        if self.other.get().is_none() {
            let Emitter { kind, instance, .. } = &self.emitter;
            self.other.look(kind, instance, Some(OTHER));
        }
        self.other.get()
    }

    /// The same, if a recorder was found before.
    pub(super) fn known_other_handles(&self) -> Option<&Handles> {
        self.other.get()
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
