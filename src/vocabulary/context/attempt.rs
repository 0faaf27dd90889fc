//! The number of the current attempt.

use std::cell::Cell;
use std::fmt;

use crate::runtime::scoped::Scope;

thread_local! {
    static ATTEMPT: Cell<u32> = const { Cell::new(0) };
}

/// The number of the attempt.
#[inline]
pub(crate) fn current() -> u32 {
    Attempt::current().number()
}

/// A flag beside the number: the call was refused so often that the next refusal is a failure.
const REFUSALS_COUNT: u32 = 1 << 31;

/// Whether a request that a server refuses unprocessed counts as a failure. It does not while a
/// retry handles it.
#[cfg(feature = "http")]
pub(crate) fn refusals_count() -> bool {
    ATTEMPT.get() & REFUSALS_COUNT != 0
}

/// Restores the outer attempt when dropped.
#[derive(Debug)]
pub(crate) struct AttemptScope(u32);

/// The number of an attempt, from 1, and whether a refusal of it is a failure.
#[derive(Clone, Copy)]
pub(crate) struct Attempt(u32);

/// Compares only the number.
impl PartialEq for Attempt {
    fn eq(&self, other: &Self) -> bool {
        self.number() == other.number()
    }
}

impl Eq for Attempt {}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(f)
    }
}

impl Attempt {
    #[inline]
    pub(crate) const fn number(self) -> u32 {
        self.0 & !REFUSALS_COUNT
    }

    #[inline]
    pub(super) fn current() -> Self {
        Self(ATTEMPT.get())
    }

    #[inline]
    pub(crate) const fn new(number: u32) -> Self {
        Self(number)
    }

    /// Sets whether a refusal is a failure.
    #[inline]
    pub(crate) const fn refusals_count(self, count: bool) -> Self {
        Self(if count {
            self.0 | REFUSALS_COUNT
        } else {
            self.0
        })
    }
}

impl Scope for Attempt {
    type Entered<'a> = AttemptScope;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn enter(&self) -> AttemptScope {
        AttemptScope(ATTEMPT.replace(self.0))
    }
}

impl Drop for AttemptScope {
    #[inline]
    fn drop(&mut self) {
        ATTEMPT.set(self.0);
    }
}
