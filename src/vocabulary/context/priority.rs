//! The priority of the current request.

use std::cell::Cell;

use crate::vocabulary::priority::Priority;

thread_local! {
    static PRIORITY: Cell<Priority> = const { Cell::new(Priority::Normal) };
}

/// The priority of the current request.
#[inline]
pub(crate) fn current() -> Priority {
    PRIORITY.get()
}

/// Restores the outer priority when dropped.
#[derive(Debug)]
pub(crate) struct PriorityScope(Priority);

impl PriorityScope {
    #[inline]
    pub(crate) fn enter(priority: Priority) -> Self {
        Self(PRIORITY.replace(priority))
    }
}

impl Drop for PriorityScope {
    #[inline]
    fn drop(&mut self) {
        PRIORITY.set(self.0);
    }
}
