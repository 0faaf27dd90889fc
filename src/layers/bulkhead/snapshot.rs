//! The snapshot of a bulkhead.

use std::fmt;

use super::permits::{Books, Permits};
#[cfg(feature = "serde")]
use crate::observe::snapshot::as_str;
use crate::observe::snapshot::{
    GivenUp, InFlight, InMode, Outcomes, Rejections, WouldReject, limited,
};
use crate::vocabulary::mode::Mode;

/// The state of a bulkhead: see [`snapshot`](crate::snapshot).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// `bulkhead`.
    pub layer: &'static str,
    /// The name of the instance.
    pub name: String,
    /// Calls in flight.
    pub in_flight: u32,
    /// Whether the bulkhead rejects calls, only reports, or is off.
    #[cfg_attr(feature = "serde", serde(serialize_with = "as_str"))]
    pub mode: Mode,
    /// The limit of calls in flight, or `None` without a limit.
    pub limit: Option<u32>,
    /// Calls in the queue.
    pub waiting: u32,
    /// The limit of calls in the queue. 0 without a queue.
    pub queue_limit: u32,
    /// Outcomes of admitted calls that are over.
    pub outcomes: Outcomes,
    /// Rejected calls.
    pub rejections: Rejections,
    /// Calls that only [shadow mode](Mode::Shadow) admitted. Their outcomes are in `outcomes`.
    pub would_reject: Rejections,
    /// Calls given up by their callers while they waited in the queue, or before the first poll of
    /// their future. Every call counts in exactly one of `in_flight`, `waiting`, `outcomes`,
    /// `rejections` and `given_up`, once a rejection that is just being made is counted.
    pub given_up: u64,
}

impl Snapshot {
    pub(super) fn of(permits: &Permits) -> Self {
        let Books {
            in_flight,
            waiting,
            outcomes,
            given_up,
        } = permits.books();
        Self {
            layer: permits.emitter.layer(),
            name: permits.emitter.name().to_owned(),
            in_flight,
            mode: permits.mode(),
            limit: limited(permits.limit()),
            waiting: u32::try_from(waiting).unwrap_or(u32::MAX),
            queue_limit: permits.queue_limit(),
            outcomes,
            rejections: permits.emitter.rejections(),
            would_reject: permits.emitter.would_reject(),
            given_up,
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
            would_reject,
            given_up,
            mode,
            ..
        } = self;
        let in_flight = InFlight(*in_flight, *limit);
        let (given_up, mode) = (GivenUp(*given_up), InMode(*mode));
        let would_reject = WouldReject(would_reject);
        write!(
            f,
            "{layer} {name}: {in_flight}{mode}, {waiting} waiting; {outcomes}; \
             {rejections}{would_reject}{given_up}"
        )
    }
}
