//! The metric handles of an instance, resolved through the facade once.

use std::mem::size_of_val;
use std::sync::OnceLock;

use metrics::Recorder;

use super::handles::{Handles, describe};
use crate::runtime::isolate::isolate;
use crate::vocabulary::kind::Kind;
use crate::vocabulary::name::InstanceName;

/// Where an instance keeps its handles, once a recorder was found.
pub(crate) struct Slot(OnceLock<Box<Handles>>);

impl Slot {
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    #[inline]
    pub(crate) fn get(&self) -> Option<&Handles> {
        self.0.get().map(|handles| &**handles)
    }

    /// Looks for a recorder, and makes the handles if there is one. `true` if they were made here.
    #[cold]
    pub(crate) fn look(&self, kind: &'static Kind, instance: &InstanceName) -> bool {
        let find = |recorder: &dyn Recorder| {
            (!records_nothing(recorder)).then(|| {
                // Also if another instance has done so: a recorder is not known by its address, at which
                // another one may stand next.
                describe(recorder);
                Box::new(Handles::new(kind, instance, recorder))
            })
        };
        // A recorder is somebody else's code: no lock is held while it runs, and of two threads
        // that look at once, one drops what it made.
        let found = isolate(|| metrics::with_recorder(find)).flatten();
        found.is_some_and(|handles| self.0.set(handles).is_ok())
    }
}

/// The facade's own recorder, which is there until another one is installed: the only one that is of
/// no size.
fn records_nothing(recorder: &dyn Recorder) -> bool {
    size_of_val(recorder) == 0
}

/// Whether there is a recorder.
pub(crate) fn is_recorded() -> bool {
    metrics::with_recorder(|recorder| !records_nothing(recorder))
}
