//! The report of a call that only shadow mode did not end.

use super::future::{Sending, Until};
use super::limits::TimeLimits;
use crate::observe::emit::Emit as _;
use crate::runtime::Moment;
use crate::runtime::shared::Held;
use crate::vocabulary::rejection::Rejection;

/// A call in shadow mode. When the call is over or given up, this is dropped, and reports it if it
/// took longer than its limit.
pub(super) struct Shadow {
    limits: Held<TimeLimits>,
    /// The limit that would end the call.
    until: Until,
    /// If the request's body is observed: the limit may restart with each piece of it.
    sending: Option<Sending>,
}

impl Shadow {
    #[inline]
    pub(super) const fn new(
        limits: Held<TimeLimits>,
        until: Until,
        sending: Option<Sending>,
    ) -> Self {
        Self {
            limits,
            until,
            sending,
        }
    }
}

impl Drop for Shadow {
    #[cold]
    fn drop(&mut self) {
        let until = match &self.sending {
            Some(sending) => sending.until(),
            None => self.until,
        };
        let deadline = until.local();
        // An answer at the last moment counts.
        if deadline != Moment::NEVER && deadline < Moment::now() {
            let instance = self.limits.emitter.instance();
            let rejection = Rejection::timed_out(instance, until.limit(deadline));
            self.limits.would_have(&rejection);
        }
    }
}
