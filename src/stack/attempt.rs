//! The time limit of an attempt.

use std::time::Duration;

use crate::context;
use crate::timeout::{CallLimit, PerRequest};

/// How long an attempt of a [`ClientStack`](super::ClientStack) may take.
#[derive(Debug, Clone, Copy)]
pub struct AttemptLimit {
    pub(super) limit: Duration,
    /// It follows from the time for the whole call: it is there so that there is some left for the next attempt, and where none can follow there is no reason
    /// for it.
    pub(super) follows: bool,
}

impl AttemptLimit {
    /// Where there is none.
    pub(super) const NONE: Self = Self {
        limit: Duration::MAX,
        follows: true,
    };
}

impl<Req> PerRequest<Req> for AttemptLimit {
    #[inline]
    fn limit(&self, _: &Req) -> Option<CallLimit> {
        let set = !self.follows;
        (set || context::more_attempts()).then_some(CallLimit {
            length: self.limit,
            set,
        })
    }
}
