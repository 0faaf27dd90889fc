//! The time at which a call entered a stack, read once for all its layers.
//!
//! The nested `call`s of a stack follow each other within a fraction of a microsecond, and a clock
//! reading costs more than most layers. So the outermost layer that needs the time reads it, and
//! passes it on to the service that it wraps.
//!
//! Only that service takes it, and at once. It is identified by its address and its type, because a
//! wrapper begins at the address of the service it wraps. So neither another stack that is driven
//! inside `call` nor a later call sees the reading.

use std::any::type_name;
use std::cell::Cell;

use crate::runtime::Moment;

thread_local! {
    static PASSED: Cell<Passed> = const { Cell::new(Passed::NOTHING) };
}

#[derive(Clone, Copy)]
struct Passed {
    address: usize,
    kind: usize,
    now: Moment,
}

impl Passed {
    const NOTHING: Self = Self {
        address: 0,
        kind: 0,
        now: Moment::NEVER,
    };
}

/// The entry time of a call, read from the clock when first needed.
#[derive(Debug)]
pub(crate) struct Entry(Moment);

impl Entry {
    /// Not read yet.
    pub(crate) const fn new() -> Self {
        Self(Moment::NEVER)
    }

    /// The entry time that the outer layer passed on to this service; not read yet if it did not.
    #[inline]
    pub(crate) fn of<S>(service: &S) -> Self {
        let passed = PASSED.get();
        if passed.address == address(service) && passed.kind == kind::<S>() {
            PASSED.set(Passed::NOTHING);
            Self(passed.now)
        } else {
            Self::new()
        }
    }

    #[inline]
    pub(crate) fn now(&mut self) -> Moment {
        if self.0 == Moment::NEVER {
            self.0 = Moment::now();
        }
        self.0
    }

    /// Passes the time on to this service, if it was read, until the return value is dropped.
    #[inline]
    pub(crate) fn pass_on<S>(&self, service: &S) -> PassedOn {
        if self.0 != Moment::NEVER {
            PASSED.set(Passed {
                address: address(service),
                kind: kind::<S>(),
                now: self.0,
            });
        }
        PassedOn
    }
}

/// Clears a time that no service has taken.
pub(crate) struct PassedOn;

impl Drop for PassedOn {
    #[inline]
    fn drop(&mut self) {
        PASSED.set(Passed::NOTHING);
    }
}

fn address<S>(service: &S) -> usize {
    std::ptr::from_ref(service).addr()
}

/// Distinguishes a type from its wrappers: their names differ in length. A constant that needs no
/// `'static` bound, unlike a `TypeId`.
#[inline]
fn kind<S>() -> usize {
    size_of::<S>() << 16 ^ type_name::<S>().len()
}

#[cfg(test)]
mod tests;
