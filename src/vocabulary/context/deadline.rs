//! The deadline of the current request.

use std::cell::Cell;
use std::time::Duration;

use crate::runtime::Moment;

thread_local! {
    static DEADLINE: Cell<Deadline> = const { Cell::new(Deadline::NEVER) };
}

/// The deadline of a request.
///
/// A configured limit is propagated to the next service. A default limit holds only in this
/// process: the next service may know better, and could end a stream by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deadline {
    /// For the wire: the caller's deadline, or a configured limit.
    propagated: Moment,
    /// For the layers of this process. Never later than `propagated`.
    local: Moment,
    /// The length in nanoseconds of the layer's limit behind `local`, or `FOREIGN`.
    limit: u64,
    /// Since when the service can answer: [`Moment::NEVER`] while it waits for more of the body.
    answerable: Moment,
}

/// Nothing is known about the body.
const ALWAYS: Moment = Moment::from_bits(0);

const FOREIGN: u64 = u64::MAX;

impl Deadline {
    /// No deadline.
    pub(crate) const NEVER: Self = Self::foreign(Moment::NEVER);

    /// A deadline from outside: from the wire, or from
    /// [`Context::with_timeout`](super::Context::with_timeout).
    #[inline]
    pub(crate) const fn foreign(at: Moment) -> Self {
        Self {
            propagated: at,
            local: at,
            limit: FOREIGN,
            answerable: ALWAYS,
        }
    }

    /// The deadline from a layer's limit, in nanoseconds. It is propagated only if the limit is `set`, not a
    /// default.
    #[inline]
    pub(crate) const fn of_limit(from: Moment, nanos: u64, set: bool) -> Self {
        // A limit beyond the end of the clock is no limit.
        let at = from.after_nanos(nanos);
        if at.to_bits() == Moment::NEVER.to_bits() {
            return Self::NEVER;
        }
        Self {
            propagated: if set { at } else { Moment::NEVER },
            local: at,
            limit: nanos,
            answerable: ALWAYS,
        }
    }

    /// The earlier deadline in each part. If both are equal, this one's limit wins.
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

    /// Sets since when the service can answer.
    #[inline]
    pub(crate) fn answerable_since(self, answerable: Moment) -> Self {
        Self { answerable, ..self }
    }

    /// Since when the service can answer; [`Moment::NEVER`] while it waits for more of the body.
    #[inline]
    pub(crate) const fn answerable(self) -> Moment {
        self.answerable
    }

    /// The deadline for the wire.
    #[inline]
    pub(crate) const fn propagated(self) -> Moment {
        self.propagated
    }

    /// The deadline for the layers of this process.
    #[inline]
    pub(crate) const fn local(self) -> Moment {
        self.local
    }

    /// The length of the layer's limit behind the local deadline; `None` without a deadline, or if
    /// it comes from outside.
    #[inline]
    pub(crate) const fn limit(self) -> Option<Duration> {
        match self.limit {
            FOREIGN => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }
}

/// The deadline of the current request.
#[inline]
pub(crate) fn current() -> Deadline {
    DEADLINE.get()
}

/// Restores the outer deadline when dropped.
#[derive(Debug)]
pub(crate) struct DeadlineScope(Deadline);

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
mod tests;
