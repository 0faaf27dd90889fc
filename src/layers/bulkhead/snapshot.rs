//! The snapshot of a bulkhead.

use std::fmt;

use super::permits::{Books, Permits};
use crate::layers::keyed::{Group, KeyCounts, NameAndKey, Target};
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
    /// The key of the instance, or `None` without one.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub key: Option<String>,
    /// The keys of a layer with a limit for each [key](crate::keyed). The snapshot of all keys has
    /// the sum of their counts, and the limits of each of them.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub keys: Option<KeyCounts>,
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
    pub(super) fn of(target: &Target<Permits>) -> Self {
        match target {
            Target::One(permits) => Self::of_one(permits),
            Target::Group(group) => Self::of_group(group),
        }
    }

    fn of_group(group: &Group<Permits>) -> Self {
        let (settings, emitter) = (group.settings(), group.emitter());
        let (mut in_flight, mut waiting) = (0_u32, 0_usize);
        let totals = group.sum(|permits, totals| {
            let books = permits.books();
            in_flight = in_flight.saturating_add(books.in_flight);
            waiting += books.waiting;
            totals.add(&books.totals(permits));
        });
        Self {
            layer: emitter.layer(),
            name: emitter.name().to_owned(),
            key: None,
            keys: Some(KeyCounts::of(group)),
            in_flight,
            mode: settings.mode,
            limit: settings.limit,
            waiting: u32::try_from(waiting).unwrap_or(u32::MAX),
            queue_limit: settings.queue.map_or(0, |queue| queue.calls),
            outcomes: totals.outcomes,
            rejections: totals.rejections,
            would_reject: totals.would_reject,
            given_up: totals.given_up,
        }
    }

    fn of_one(permits: &Permits) -> Self {
        let Books {
            in_flight,
            waiting,
            outcomes,
            given_up,
        } = permits.books();
        Self {
            layer: permits.emitter.layer(),
            name: permits.emitter.name().to_owned(),
            key: permits.emitter.key().map(str::to_owned),
            keys: None,
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
            key,
            keys,
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
        write!(f, "{layer} {}: ", NameAndKey(name, key.as_deref()))?;
        if let Some(keys) = keys {
            write!(f, "{keys}; ")?;
        }
        let in_flight = InFlight(*in_flight, limit.filter(|_| keys.is_none()));
        let (given_up, mode) = (GivenUp(*given_up), InMode(*mode));
        let would_reject = WouldReject(would_reject);
        write!(
            f,
            "{in_flight}{mode}, {waiting} waiting; {outcomes}; \
             {rejections}{would_reject}{given_up}"
        )
    }
}
