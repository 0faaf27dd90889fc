//! What there is without the feature `metrics`: nothing.

use std::time::Duration;

use crate::observe::event::EventKind;
use crate::policy::breaker::State;
use crate::vocabulary::name::Origin;
use crate::vocabulary::reason::Reason;

#[derive(Debug, Default)]
pub(crate) struct Metered;

/// The metrics of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meter;

/// What would be told of an instance.
#[allow(
    missing_debug_implementations,
    reason = "nobody outside can get hold of one"
)]
pub struct Handles;

macro_rules! nothing {
    ($($name:ident($($argument:ident: $type:ty),*);)*) => {
        impl Handles {$(
            #[inline]
            pub(crate) fn $name(&self, $($argument: $type),*) {
                let _ = ($($argument,)*);
            }
        )*}
    };
}

nothing! {
    hear(kind: &EventKind, show: &dyn Fn(&Self));
    entered();
    left();
    rejected(reason: Reason);
    limit(limit: Option<u32>);
    state(state: State);
    balance(retries: u64);
    queued();
    dequeued(waited: Duration);
    deadline(remaining: Duration);
}

impl Meter {
    pub(crate) const NOBODY: Self = Self;

    #[inline]
    pub(crate) const fn of(_: &'static Origin) -> Self {
        Self
    }

    #[inline]
    pub(crate) const fn of_number(_: u32) -> Self {
        Self
    }

    #[inline]
    pub(crate) const fn number(self) -> u32 {
        0
    }

    #[inline]
    pub(crate) const fn is_on(self) -> bool {
        false
    }

    #[inline]
    pub(crate) fn tell(self, _: impl FnOnce(&Handles)) {}
}

#[inline]
pub(crate) const fn is_recorded() -> bool {
    false
}

#[inline]
pub(crate) fn tell_of(_: &'static Origin, _: impl FnOnce(&Handles)) {}

#[inline]
pub(crate) fn tell_of_again(_: &'static Origin, _: impl FnOnce(&Handles)) {}

impl Metered {
    pub(crate) const fn new() -> Self {
        Self
    }
}
