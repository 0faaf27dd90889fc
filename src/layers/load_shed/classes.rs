//! The limits of the classes of priority.

use std::sync::atomic::Ordering;

use super::load::Load;
use crate::observe::snapshot::MOST_CALLS;
use crate::policy::priority;
use crate::vocabulary::context;
use crate::vocabulary::priority::Priority;

impl Load {
    /// The limit for the current call.
    #[inline]
    pub(super) fn limit_of_call(&self) -> u32 {
        let (limit, class) = (self.limit(), context::priority());
        if class as u32 == self.highest.load(Ordering::Relaxed) {
            limit
        } else {
            self.limit_of_class(limit, class)
        }
    }

    #[cold]
    fn limit_of_class(&self, limit: u32, class: Priority) -> u32 {
        let highest = self.record_class(class);
        if limit >= MOST_CALLS {
            return limit;
        }
        priority::limit_of(limit, class, highest)
    }

    /// Records that a call of this class has come. Returns the highest class so far. A call that is
    /// rejected before it is asked for its class counts, too: it is the reason for a reserve.
    #[cold]
    pub(super) fn record_class(&self, class: Priority) -> Priority {
        let before = self.highest.fetch_max(class as u32, Ordering::Relaxed);
        class.max(Priority::from_bits(before))
    }
}
