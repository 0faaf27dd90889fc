//! What a layer with a user's policy looks like at one moment.

use std::fmt;

use super::policy::Governed;
use crate::observe::snapshot::{Outcomes, Rejections};

/// A layer with a policy of the user's own at one moment: see [`snapshot`](crate::snapshot).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// The kind of layer, as it was given to the builder.
    pub layer: &'static str,
    /// The name of the instance.
    pub name: String,
    /// How many calls are in flight.
    pub in_flight: u64,
    /// How the calls went that were admitted and are over.
    pub outcomes: Outcomes,
    /// What was rejected.
    pub rejections: Rejections,
}

impl Snapshot {
    pub(super) fn of<P>(governed: &Governed<P>) -> Self {
        Self {
            layer: governed.emitter.layer(),
            name: governed.emitter.name().to_owned(),
            in_flight: governed.in_flight(),
            outcomes: governed.outcomes(),
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
