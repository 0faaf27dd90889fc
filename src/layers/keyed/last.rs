//! The instance of the last call of a service.

#![allow(
    private_bounds,
    private_interfaces,
    missing_debug_implementations,
    reason = "users cannot name what is hidden"
)]

use super::group::{Group, Instance};
use crate::runtime::shared::Shared;

/// The instance of the last call. It is not looked up again for a call with the same key.
pub struct Last<A: Instance>(Option<Shared<A>>);

impl<A: Instance> Last<A> {
    /// The instance of a key: the last one, if it has this key.
    #[inline]
    pub(super) fn pick(&mut self, group: &Group<A>, key: &str) -> &mut Shared<A> {
        let is_last = |last: &Shared<A>| {
            let emitter = last.emitter();
            emitter.instance().has_key(key) && !emitter.is_temporary()
        };
        if !self.0.as_ref().is_some_and(is_last) {
            // Before the lookup, so that the old instance can leave.
            self.0 = None;
        }
        self.0.get_or_insert_with(|| group.get(key))
    }

    /// The same for a key that the call carries.
    #[cold]
    pub(super) fn pick_override(&mut self, group: &Group<A>, key: &str) -> &mut Shared<A> {
        self.pick(group, key)
    }
}

impl<A: Instance> Default for Last<A> {
    fn default() -> Self {
        Self(None)
    }
}

impl<A: Instance> Clone for Last<A> {
    fn clone(&self) -> Self {
        let last = self.0.as_ref();
        Self(last.filter(|last| !last.emitter().is_temporary()).cloned())
    }
}
