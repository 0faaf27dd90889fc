//! Stand-ins without the feature `metrics`.

use std::time::Duration;

use crate::observe::event::EventKind;
use crate::policy::breaker::State;
use crate::vocabulary::kind::Kind;
use crate::vocabulary::name::InstanceName;

/// The metric handles of one instance.
#[allow(missing_debug_implementations, reason = "not reachable from outside")]
pub(crate) struct Handles;

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
    record(kind: &EventKind, set_gauges: &dyn Fn(&Self));
    entered();
    left();
    limit(limit: Option<u32>);
    state(from: Option<State>, to: Option<State>);
    balance(retries: u64);
    queued();
    dequeued(waited: Duration);
    deadline(remaining: Duration);
}

/// The place of an instance's handles.
pub(crate) struct Slot;

impl Slot {
    pub(crate) const fn new() -> Self {
        Self
    }

    #[inline]
    pub(crate) const fn get(&self) -> Option<&Handles> {
        None
    }

    #[inline]
    pub(crate) const fn look(&self, _: &'static Kind, _: &InstanceName, _: Option<&str>) -> bool {
        false
    }
}

#[inline]
pub(crate) const fn is_recorded() -> bool {
    false
}
