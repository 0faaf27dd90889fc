//! The snapshot of a layer with a user's policy.

use std::fmt;

use super::policy::Governed;
use crate::observe::snapshot::{Outcomes, Rejections};

/// The state of a layer with a user's policy: see [`snapshot`](crate::snapshot).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// The name of the layer, as set in the builder.
    pub layer: &'static str,
    /// The name of the instance.
    pub name: String,
    /// Calls in flight.
    pub in_flight: u64,
    /// Outcomes of admitted calls that are over.
    pub outcomes: Outcomes,
    /// Rejected calls.
    pub rejections: Rejections,
}

impl Snapshot {
    pub(super) fn of<P>(governed: &Governed<P>) -> Self {
        let (in_flight, outcomes) = governed.books();
        Self {
            layer: governed.emitter.layer(),
            name: governed.emitter.name().to_owned(),
            in_flight,
            outcomes,
            rejections: governed.emitter.rejections(),
        }
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            layer,
            name,
            in_flight,
            outcomes,
            rejections,
        } = self;
        write!(
            f,
            "{layer} {name}: {in_flight} in flight; {outcomes}; {rejections}"
        )
    }
}
