//! The snapshot of a time limit.

use std::fmt;

use super::limits::TimeLimits;
#[cfg(feature = "serde")]
use crate::observe::snapshot::as_str;
use crate::observe::snapshot::{InMode, Rejections, WouldReject};
use crate::vocabulary::mode::Mode;

/// The snapshot of a time limit: see [`snapshot`](crate::snapshot).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// `timeout`, or `attempt_timeout` in a standard stack.
    pub layer: &'static str,
    /// The name of the instance.
    pub name: String,
    /// Whether the time limit ends calls, only reports, or is off.
    #[cfg_attr(feature = "serde", serde(serialize_with = "as_str"))]
    pub mode: Mode,
    /// Calls that were ended or rejected.
    pub rejections: Rejections,
    /// Calls that only [shadow mode](Mode::Shadow) did not end or reject.
    pub would_reject: Rejections,
}

impl Snapshot {
    pub(crate) fn of(limits: &TimeLimits) -> Self {
        Self {
            layer: limits.emitter.layer(),
            name: limits.emitter.name().to_owned(),
            mode: limits.mode(),
            rejections: limits.emitter.rejections(),
            would_reject: limits.emitter.would_reject(),
        }
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            layer,
            name,
            mode,
            rejections,
            would_reject,
        } = self;
        let (mode, would_reject) = (InMode(*mode), WouldReject(would_reject));
        write!(f, "{layer} {name}: {rejections}{mode}{would_reject}")
    }
}
