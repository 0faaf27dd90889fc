//! User code whose panic must not affect the call.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs an observer, a recorder or other user code that is not part of a call. Returns `None` if it
/// panics, so that the call continues and releases its permits.
///
/// The payload of the panic is user code too. If its `drop` panics, the second payload is leaked.
#[inline]
pub(crate) fn isolate<R>(run: impl FnOnce() -> R) -> Option<R> {
    // A panic cannot break invariants of this crate: the code has no access to its state.
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => Some(result),
        Err(payload) => {
            if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                mem::forget(second);
            }
            None
        }
    }
}

#[cfg(test)]
#[path = "isolate_tests.rs"]
mod tests;
