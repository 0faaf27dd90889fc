//! The snapshot of a rate limit.

use std::fmt;
use std::time::Duration;

use super::limiter::Limiter;
use crate::layers::keyed::{Group, Instance as _, KeyCounts, NameAndKey, Target};
use crate::observe::snapshot::{GivenUp, InMode, Outcomes, Rejections, WouldReject};
#[cfg(feature = "serde")]
use crate::observe::snapshot::{as_str, seconds};
use crate::vocabulary::mode::Mode;

/// The state of a rate limit: see [`snapshot`](crate::snapshot).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// `rate_limit`.
    pub layer: &'static str,
    /// The name of the instance.
    pub name: String,
    /// The key of the instance, or `None` without one.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub key: Option<String>,
    /// The keys of a layer with a rate for each [key](crate::keyed). The snapshot of all keys has
    /// the sum of their counts, the rate of each of them, and the permits that a new key has.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub keys: Option<KeyCounts>,
    /// Whether the rate limit rejects calls, only reports, or is off.
    #[cfg_attr(feature = "serde", serde(serialize_with = "as_str"))]
    pub mode: Mode,
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
    /// Calls that only [shadow mode](Mode::Shadow) admitted.
    pub would_reject: Rejections,
    /// Calls given up by their callers while they waited in the queue.
    pub given_up: u64,
}

impl Snapshot {
    pub(super) fn of(target: &Target<Limiter>) -> Self {
        match target {
            Target::One(limiter) => Self::of_one(limiter),
            Target::Group(group) => Self::of_group(group),
        }
    }

    fn of_group(group: &Group<Limiter>) -> Self {
        let (settings, emitter) = (group.settings(), group.emitter());
        let rate = settings.rate();
        let mut waiting = 0_u32;
        let totals = group.sum(|limiter, totals| {
            waiting = waiting.saturating_add(limiter.queue.len());
            totals.add(&limiter.totals());
        });
        Self {
            layer: emitter.layer(),
            name: emitter.name().to_owned(),
            key: None,
            keys: Some(KeyCounts::of(group)),
            mode: settings.mode,
            permits: rate.permits,
            per: rate.per,
            burst: rate.burst(),
            available: rate.burst(),
            waiting,
            outcomes: totals.outcomes,
            rejections: totals.rejections,
            would_reject: totals.would_reject,
            given_up: totals.given_up,
        }
    }

    fn of_one(limiter: &Limiter) -> Self {
        let rate = limiter.rate();
        Self {
            layer: limiter.emitter.layer(),
            name: limiter.emitter.name().to_owned(),
            key: limiter.emitter.key().map(str::to_owned),
            keys: None,
            mode: limiter.mode(),
            permits: rate.permits,
            per: rate.per,
            burst: rate.burst(),
            available: limiter.available(),
            waiting: limiter.queue.len(),
            outcomes: limiter.outcomes(),
            rejections: limiter.emitter.rejections(),
            would_reject: limiter.emitter.would_reject(),
            given_up: limiter.given_up(),
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
            mode,
            permits,
            per,
            burst,
            available,
            waiting,
            outcomes,
            rejections,
            would_reject,
            given_up,
        } = self;
        let (given_up, mode) = (GivenUp(*given_up), InMode(*mode));
        let would_reject = WouldReject(would_reject);
        let name = NameAndKey(name, key.as_deref());
        write!(f, "{layer} {name}: {permits} per {per:?}{mode}, ")?;
        match keys {
            Some(keys) => write!(f, "{keys}, ")?,
            None => write!(f, "{available} of {burst} available, ")?,
        }
        write!(
            f,
            "{waiting} waiting; {outcomes}; {rejections}{would_reject}{given_up}"
        )
    }
}
