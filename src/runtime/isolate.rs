//! User code whose panic must not end what runs it.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs an observer, a recorder, or other user code that is not part of a call. If it panics, the call goes on and releases
/// what it holds. `None` if it panicked.
///
/// The payload of a panic is the user's, too, and its `drop` may panic. It is dropped here, and if that panics, the second payload is leaked.
#[inline]
pub(crate) fn isolate<R>(run: impl FnOnce() -> R) -> Option<R> {
    // Whatever the code leaves half done is its own: nothing of this crate is in it.
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
mod tests {
    use super::*;
    use std::panic::panic_any;

    /// Panics whenever it is dropped, with itself.
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic_any(Self);
        }
    }

    #[test]
    fn a_payload_that_panics_when_it_is_dropped_goes_no_further() {
        assert_eq!(isolate(|| 1), Some(1));
        assert_eq!(isolate(|| -> i32 { panic!("a plain one") }), None);
        assert_eq!(isolate(|| -> i32 { panic_any(Bomb) }), None);
    }
}
