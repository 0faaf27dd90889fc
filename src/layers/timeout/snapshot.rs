//! The snapshot of a time limit.

use std::fmt;

use crate::observe::emitter::Emitter;
use crate::observe::snapshot::Rejections;

/// The snapshot of a time limit: see [`snapshot`](crate::snapshot).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// `timeout`, or `attempt_timeout` in a standard stack.
    pub layer: &'static str,
    /// The name of the instance.
    pub name: String,
    /// Calls that were ended or rejected.
    pub rejections: Rejections,
}

impl Snapshot {
    pub(super) fn of(emitter: &Emitter) -> Self {
        Self {
            layer: emitter.layer(),
            name: emitter.name().to_owned(),
            rejections: emitter.rejections(),
        }
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            layer,
            name,
            rejections,
        } = self;
        write!(f, "{layer} {name}: {rejections}")
    }
}
