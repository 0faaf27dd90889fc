//! The snapshot of a rate limit.

use std::fmt;
use std::time::Duration;

use super::limiter::Limiter;
#[cfg(feature = "serde")]
use crate::observe::snapshot::seconds;
use crate::observe::snapshot::{GivenUp, Outcomes, Rejections};

/// The state of a rate limit: see [`snapshot`](crate::snapshot).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// `rate_limit`.
    pub layer: &'static str,
    /// The name of the instance.
    pub name: String,
    /// Permits per period.
    pub permits: u32,
    /// The period.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "per_seconds", serialize_with = "seconds")
    )]
    pub per: Duration,
    /// The most permits that can be available.
    pub burst: u32,
    /// Permits that are available now.
    pub available: u32,
    /// Calls in the queue.
    pub waiting: u32,
    /// Outcomes of admitted calls that are over.
    pub outcomes: Outcomes,
    /// Rejected calls.
    pub rejections: Rejections,
    /// Calls given up by their callers while they waited in the queue.
    pub given_up: u64,
}

impl Snapshot {
    pub(super) fn of(limiter: &Limiter) -> Self {
        Self {
            layer: limiter.emitter.layer(),
            name: limiter.emitter.name().to_owned(),
            permits: limiter.rate.permits,
            per: limiter.rate.per,
            burst: limiter.rate.burst(),
            available: limiter.available(),
            waiting: limiter.queue.len(),
            outcomes: limiter.outcomes(),
            rejections: limiter.emitter.rejections(),
            given_up: limiter.given_up(),
        }
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            layer,
            name,
            permits,
            per,
            burst,
            available,
            waiting,
            outcomes,
            rejections,
            given_up,
        } = self;
        let given_up = GivenUp(*given_up);
        write!(
            f,
            "{layer} {name}: {permits} per {per:?}, {available} of {burst} available, \
             {waiting} waiting; {outcomes}; {rejections}{given_up}"
        )
    }
}
