//! What loom lacks.

use self::atomic::{AtomicBool, Ordering};
use super::Mutex;

/// loom's atomics, with all orders of their operations.
///
/// loom explores another order of two operations only where the later one is not a load and the
/// earlier one was the last before it. A load by one thread, then a load and a store by another:
/// here it misses that the store may come first. So each operation follows an addition to a count
/// that nobody reads: two additions are never without an order, and they synchronize nothing.
pub(crate) mod atomic {
    pub(crate) use loom::sync::atomic::Ordering;

    use loom::sync::atomic as of_loom;

    macro_rules! atomics {
        ($($atomic:ident: $value:ty { $($operation:ident($($argument:ident: $kind:ty),+) $(-> $result:ty)?;)+ })+) => {$(
            #[derive(Debug)]
            pub(crate) struct $atomic {
                value: of_loom::$atomic,
                operations: of_loom::AtomicUsize,
            }

            #[allow(dead_code, reason = "not every file needs every operation")]
            impl $atomic {
                pub(crate) fn new(value: $value) -> Self {
                    Self {
                        value: of_loom::$atomic::new(value),
                        operations: of_loom::AtomicUsize::new(0),
                    }
                }

                $(
                    #[track_caller]
                    pub(crate) fn $operation(&self, $($argument: $kind),+) $(-> $result)? {
                        self.operations.fetch_add(1, Ordering::Relaxed);
                        self.value.$operation($($argument),+)
                    }
                )+
            }

            impl Default for $atomic {
                fn default() -> Self {
                    Self::new(<$value>::default())
                }
            }
        )+};
        (integers: $($atomic:ident: $value:ty),+) => {
            atomics! {$(
                $atomic: $value {
                    load(order: Ordering) -> $value;
                    store(value: $value, order: Ordering);
                    fetch_add(value: $value, order: Ordering) -> $value;
                    fetch_sub(value: $value, order: Ordering) -> $value;
                    fetch_and(value: $value, order: Ordering) -> $value;
                    fetch_or(value: $value, order: Ordering) -> $value;
                    compare_exchange(from: $value, to: $value, success: Ordering, failure: Ordering) -> Result<$value, $value>;
                    compare_exchange_weak(from: $value, to: $value, success: Ordering, failure: Ordering) -> Result<$value, $value>;
                }
            )+}
        };
    }

    atomics!(integers: AtomicU32: u32, AtomicU64: u64, AtomicUsize: usize);
    atomics! {
        AtomicBool: bool {
            load(order: Ordering) -> bool;
            store(value: bool, order: Ordering);
        }
    }
}

/// A cell that is written once, with the ordering of the standard library's.
pub(crate) struct OnceLock<T> {
    is_set: AtomicBool,
    writer: Mutex<()>,
    value: std::sync::OnceLock<T>,
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> OnceLock<T> {
    pub(crate) fn new() -> Self {
        Self {
            is_set: AtomicBool::new(false),
            writer: Mutex::new(()),
            value: std::sync::OnceLock::new(),
        }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        if self.is_set.load(Ordering::Acquire) {
            self.value.get()
        } else {
            None
        }
    }

    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        if let Some(value) = self.get() {
            return value;
        }
        let _writer = self.writer.lock();
        let value = self.value.get_or_init(make);
        self.is_set.store(true, Ordering::Release);
        value
    }
}
