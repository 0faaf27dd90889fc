//! Looks for a recorder, and resolves the metric handles of an instance once.

use std::mem::size_of_val;
use std::sync::OnceLock;

use metrics::Recorder;

use super::handles::{Handles, describe};
use crate::runtime::isolate::isolate;
use crate::vocabulary::kind::Kind;
use crate::vocabulary::name::InstanceName;

/// The handles of an instance, once there is a recorder.
pub(crate) struct Slot(OnceLock<Box<Handles>>);

impl Slot {
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    #[inline]
    pub(crate) fn get(&self) -> Option<&Handles> {
        self.0.get().map(|handles| &**handles)
    }

    /// Makes the handles if there is a recorder, with the label of a key if any. Returns `true` if this call made them.
    #[cold]
    pub(crate) fn look(
        &self,
        kind: &'static Kind,
        instance: &InstanceName,
        key: Option<&str>,
    ) -> bool {
        let find = |recorder: &dyn Recorder| {
            (!records_nothing(recorder)).then(|| {
                // Even if another instance has done so: a recorder cannot be identified by its
                // address, which another one may reuse.
                describe(recorder);
                Box::new(Handles::new(kind, instance, key, recorder))
            })
        };
        // A recorder is foreign code, so it runs without a lock: of two concurrent threads, one
        // drops the handles that it made.
        let found = isolate(|| metrics::with_recorder(find)).flatten();
        found.is_some_and(|handles| self.0.set(handles).is_ok())
    }
}

/// Whether this is the facade's own recorder, the only one of size 0.
fn records_nothing(recorder: &dyn Recorder) -> bool {
    size_of_val(recorder) == 0
}

/// Whether there is a recorder.
pub(crate) fn is_recorded() -> bool {
    metrics::with_recorder(|recorder| !records_nothing(recorder))
}
