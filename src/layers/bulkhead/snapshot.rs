//! What a bulkhead looks like at one moment.

use std::fmt;

use super::places::Places;
use crate::observe::snapshot::{InFlight, Outcomes, Rejections, limited};

/// A bulkhead at one moment: see [`snapshot`](crate::snapshot).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// `bulkhead`.
    pub layer: &'static str,
    /// The name of the instance.
    pub name: String,
    /// How many calls are in flight.
    pub in_flight: u32,
    /// How many may be; `None` if there is no limit.
    pub limit: Option<u32>,
    /// How many calls wait in the queue.
    pub waiting: u32,
    /// How many may; 0 without a queue.
    pub queue_limit: u32,
    /// How the calls went that were let through.
    pub outcomes: Outcomes,
    /// What was not let through.
    pub rejections: Rejections,
    /// How many calls were given up by their callers before they were admitted: while they waited in the queue, or before their future was
    /// first polled. Every call is in exactly one of these: `in_flight`, `waiting`, `outcomes`, `rejections`, `given_up`.
    pub given_up: u64,
}

impl Snapshot {
    pub(super) fn of(places: &Places) -> Self {
        Self {
            layer: places.emitter.layer(),
            name: places.emitter.name().to_owned(),
            in_flight: places.in_flight(),
            limit: limited(places.limit()),
            waiting: places.waiting(),
            queue_limit: places.queue_limit(),
            outcomes: places.outcomes(),
            rejections: places.emitter.rejections(),
            given_up: places.given_up(),
        }
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            layer,
            name,
            in_flight,
            limit,
            waiting,
            outcomes,
            rejections,
            given_up,
            ..
        } = self;
        let in_flight = InFlight(*in_flight, *limit);
        write!(
            f,
            "{layer} {name}: {in_flight}, {waiting} waiting; {outcomes}; {rejections}"
        )?;
        match given_up {
            0 => Ok(()),
            calls => write!(f, ", {calls} given up"),
        }
    }
}
