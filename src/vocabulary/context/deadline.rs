//! The deadline of the request that is being worked on.

use std::cell::Cell;
use std::time::Duration;

use crate::runtime::{Moment, nanos};

// A cell of its own: see the others in `context`.
thread_local! {
    static DEADLINE: Cell<Deadline> = const { Cell::new(Deadline::NEVER) };
}

/// By when a request must be answered, in three parts.
///
/// A limit that somebody set is propagated to the next service. A default limit that nobody set is only obeyed here: the next
/// service may know better, and would cut a stream by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deadline {
    /// Goes on the wire: the caller's deadline, or a limit that somebody set.
    propagated: Moment,
    /// The layers of this process obey it. Never later than `propagated`.
    local: Moment,
    /// The length in nanoseconds of the layer's limit that `local` follows from; `FOREIGN` where it follows from none.
    limit: u64,
    /// Since when the request can be answered, as far as its body says: [`Moment::NEVER`] while its service waits for more of it.
    answerable: Moment,
}

/// The body says nothing.
const ALWAYS: Moment = Moment::from_bits(0);

const FOREIGN: u64 = u64::MAX;

impl Deadline {
    /// No deadline.
    pub(crate) const NEVER: Self = Self::foreign(Moment::NEVER);

    /// A deadline from outside: from the wire, or from [`Context::with_timeout`](super::Context::with_timeout).
    #[inline]
    pub(crate) const fn foreign(at: Moment) -> Self {
        Self {
            propagated: at,
            local: at,
            limit: FOREIGN,
            answerable: ALWAYS,
        }
    }

    /// The deadline that follows from a layer's limit. `set` is whether somebody set the limit: a default is propagated to nobody.
    #[inline]
    pub(crate) fn of_limit(from: Moment, limit: Duration, set: bool) -> Self {
        // A limit beyond the end of the clock is no limit.
        let at = from.after(limit);
        if at == Moment::NEVER {
            return Self::NEVER;
        }
        Self {
            propagated: if set { at } else { Moment::NEVER },
            local: at,
            limit: nanos(limit),
            answerable: ALWAYS,
        }
    }

    /// Both at once: in each part the earlier one. Of two equal ones, this one's limit is the one that is named.
    #[inline]
    pub(crate) fn and(self, other: Self) -> Self {
        let (local, limit) = if self.local <= other.local {
            (self.local, self.limit)
        } else {
            (other.local, other.limit)
        };
        Self {
            propagated: self.propagated.min(other.propagated),
            local,
            limit,
            answerable: self.answerable.max(other.answerable),
        }
    }

    /// The same for a request that can be answered since then.
    #[inline]
    pub(crate) fn answerable_since(self, answerable: Moment) -> Self {
        Self { answerable, ..self }
    }

    /// Since when the request can be answered; [`Moment::NEVER`] while its service waits for more of its body.
    #[inline]
    pub(crate) const fn answerable(self) -> Moment {
        self.answerable
    }

    /// What goes on the wire.
    #[inline]
    pub(crate) const fn propagated(self) -> Moment {
        self.propagated
    }

    /// What the layers of this process obey.
    #[inline]
    pub(crate) const fn local(self) -> Moment {
        self.local
    }

    /// The length of the layer's limit that the local deadline follows from; `None` where it follows from none: there is no
    /// deadline, or it is one from outside.
    #[inline]
    pub(crate) const fn limit(self) -> Option<Duration> {
        match self.limit {
            FOREIGN => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }
}

/// The deadline of the request that is being worked on.
#[inline]
pub(crate) fn current() -> Deadline {
    DEADLINE.get()
}

/// While it lives, the current deadline is this one.
#[derive(Debug)]
pub struct DeadlineScope(Deadline);

impl DeadlineScope {
    #[inline]
    pub(crate) fn enter(deadline: Deadline) -> Self {
        Self(DEADLINE.replace(deadline))
    }
}

impl Drop for DeadlineScope {
    #[inline]
    fn drop(&mut self) {
        DEADLINE.set(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn of_two_deadlines_each_part_is_the_earlier_one() {
        let now = Moment::now();
        let set = Deadline::of_limit(now, 2 * SECOND, true);
        let default = Deadline::of_limit(now, SECOND, false);
        let foreign = Deadline::foreign(now.after(3 * SECOND));

        for both in [set.and(default), default.and(set)] {
            assert_eq!(both.propagated(), now.after(2 * SECOND));
            assert_eq!(both.local(), now.after(SECOND));
            assert_eq!(both.limit(), Some(SECOND));
        }
        for both in [foreign.and(default), default.and(foreign)] {
            assert_eq!(both.propagated(), now.after(3 * SECOND));
            assert_eq!(both.local(), now.after(SECOND));
            assert_eq!(both.limit(), Some(SECOND));
        }
        let short = Deadline::foreign(now.after(SECOND / 2));
        for both in [short.and(set).and(default), default.and(set).and(short)] {
            assert_eq!(both, short);
            assert_eq!(both.limit(), None);
        }
    }

    #[test]
    fn a_limit_beyond_the_end_of_the_clock_is_none() {
        let endless = Deadline::of_limit(Moment::now(), Duration::MAX, true);
        assert_eq!(endless, Deadline::NEVER);
        assert_eq!(Deadline::NEVER.limit(), None);
        let set = Deadline::of_limit(Moment::now(), SECOND, true);
        assert_eq!(Deadline::NEVER.and(set), set);
    }
}
