//! The limits of the classes of priority.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::load::Load;
use crate::observe::snapshot::MOST_CALLS;
use crate::policy::priority;
use crate::runtime::{Moment, nanos};
use crate::vocabulary::context;
use crate::vocabulary::priority::Priority;

/// A class that did not come for this long, and at most twice as long, has no reserve any more. Such
/// calls come in an outage, and it lasts longer than that.
const MEMORY: Duration = Duration::from_secs(60);

/// The classes that come.
pub(super) struct Classes {
    /// The highest [`Priority`] of late, at least the default.
    highest: AtomicU32,
    /// The highest one in this period.
    recent: AtomicU32,
    /// The end of the period, in nanoseconds since the origin of the clock.
    ends: AtomicU64,
}

impl Classes {
    pub(super) fn new() -> Self {
        Self {
            highest: AtomicU32::new(Priority::Normal as u32),
            recent: AtomicU32::new(Priority::Normal as u32),
            ends: AtomicU64::new(0),
        }
    }

    #[inline]
    fn highest(&self) -> u32 {
        self.highest.load(Ordering::Relaxed)
    }

    /// Records that a call of this class has come. Returns the highest class of late.
    fn record(&self, class: Priority) -> Priority {
        let bits = class as u32;
        // Most calls have the default class, and only read.
        for highest in [&self.recent, &self.highest] {
            if bits > highest.load(Ordering::Relaxed) {
                highest.fetch_max(bits, Ordering::Relaxed);
            }
        }
        class.max(Priority::from_bits(self.highest()))
    }

    /// Forgets the classes that do not come any more. A class that comes meanwhile is recorded again
    /// by its next call.
    #[inline]
    pub(super) fn forget(&self, now: Moment) {
        if self.highest() != Priority::Normal as u32 {
            self.forget_now(nanos(now.since_origin()));
        }
    }

    #[cold]
    fn forget_now(&self, now: u64) {
        let ends = self.ends.load(Ordering::Relaxed);
        let next = now.saturating_add(nanos(MEMORY));
        let is_over = now >= ends
            && self
                .ends
                .compare_exchange(ends, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if is_over {
            let recent = self.recent.swap(Priority::Normal as u32, Ordering::Relaxed);
            self.highest.store(recent, Ordering::Relaxed);
        }
    }
}

impl Load {
    /// The limit for the current call.
    #[inline]
    pub(super) fn limit_of_call(&self) -> u32 {
        let (limit, class) = (self.limit(), context::priority());
        let usual = Priority::Normal as u32;
        if class as u32 == usual && self.classes.highest() == usual {
            limit
        } else {
            self.limit_of_class(limit, class)
        }
    }

    fn limit_of_class(&self, limit: u32, class: Priority) -> u32 {
        let highest = self.record_class(class);
        if limit >= MOST_CALLS {
            return limit;
        }
        priority::limit_of(limit, class, highest)
    }

    /// The limit of the calls without a priority.
    pub(super) fn limit_of_most(&self) -> u32 {
        let (limit, highest) = (self.limit(), Priority::from_bits(self.classes.highest()));
        if limit >= MOST_CALLS {
            return limit;
        }
        priority::limit_of(limit, Priority::Normal, highest)
    }

    /// Records that a call of this class has come. Returns the highest class of late. A call that is
    /// rejected before it is asked for its class counts, too: it is the reason for a reserve.
    pub(super) fn record_class(&self, class: Priority) -> Priority {
        self.classes.record(class)
    }
}
