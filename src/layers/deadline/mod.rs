//! The deadline layer: it writes the remaining time into each request, and rejects a request whose
//! deadline has passed. The public layers are in `protocol` and `stack`: they know the requests.

mod millis;
mod service;

use std::time::Duration;

use crate::vocabulary::sealed::Sealed;

#[cfg(feature = "http")]
pub(crate) use millis::parse_digits;
pub(crate) use millis::{FIELD, format, parse};
pub use service::{Deadline, DeadlineFuture};

pub(crate) use crate::vocabulary::kind::DEADLINE as KIND;

pub(crate) const LAYER: &str = crate::vocabulary::kind::Id::Deadline.layer();

/// The default floor of a caller's limit.
pub(crate) const FLOOR: Duration = Duration::from_millis(10);

/// Raises a caller's limit to the floor, except zero: that caller has no time left.
#[inline]
pub(crate) fn at_least(floor: Duration, asked: Duration) -> Duration {
    if asked.is_zero() {
        asked
    } else {
        asked.max(floor)
    }
}

/// Writes the remaining time into requests, on behalf of a [`Deadline`].
///
/// This trait is sealed: only mainstay implements it.
pub trait WriteDeadline<Req>: Sealed {
    /// Writes the remaining time, unless the request has a shorter limit.
    fn write(&self, request: &mut Req, remaining: Duration);
}
