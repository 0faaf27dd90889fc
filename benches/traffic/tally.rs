//! What became of honest calls.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts calls and failures by kind of call.
#[derive(Clone, Default)]
pub(crate) struct Tally(Arc<Mutex<Counts>>);

#[derive(Clone, Default)]
pub(crate) struct Counts {
    pub(crate) calls: BTreeMap<&'static str, u64>,
    /// By kind of call and how it failed.
    pub(crate) failures: BTreeMap<(&'static str, String), u64>,
}

impl Tally {
    pub(crate) fn count(&self, kind: &'static str, result: Result<(), String>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.calls.entry(kind).or_default() += 1;
        if let Err(why) = result {
            *counts.failures.entry((kind, why)).or_default() += 1;
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.clone()
    }
}

impl Counts {
    pub(crate) fn all_calls(&self) -> u64 {
        self.calls.values().sum()
    }

    pub(crate) fn all_failures(&self) -> u64 {
        self.failures.values().sum()
    }
}
