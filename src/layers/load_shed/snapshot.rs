//! The snapshot of a load shedder.

use std::fmt;

use super::load::{Books, Load, first_limit};
use super::settings::Settings;
use crate::layers::keyed::{Group, KeyCounts, NameAndKey, Target};
#[cfg(feature = "serde")]
use crate::observe::snapshot::as_str;
use crate::observe::snapshot::{
    InFlight, InMode, Latency, Outcomes, Rejections, WouldReject, limited,
};
use crate::runtime::Moment;
use crate::vocabulary::mode::Mode;

/// The state of a load shedder: see [`snapshot`](crate::snapshot).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// `load_shed`.
    pub layer: &'static str,
    /// The name of the instance.
    pub name: String,
    /// The key of the instance, or `None` without one.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub key: Option<String>,
    /// The keys of a layer with a limit for each [key](crate::keyed). The snapshot of all keys has
    /// the sum of their counts, and the limit of a new key.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub keys: Option<KeyCounts>,
    /// Whether the load shedder rejects calls, only reports, or is off.
    #[cfg_attr(feature = "serde", serde(serialize_with = "as_str"))]
    pub mode: Mode,
    /// Calls in flight. Under an adaptive limit, a call is in flight until the head of its
    /// response.
    pub in_flight: u32,
    /// Calls that only stream the body of their response. They no longer count against an adaptive
    /// limit. Always 0 under a fixed limit.
    pub streaming: u32,
    /// The current limit of calls in flight, or `None` without a limit.
    pub limit: Option<u32>,
    /// Outcomes of admitted calls that are over.
    pub outcomes: Outcomes,
    /// Rejected calls.
    pub rejections: Rejections,
    /// Calls that only [shadow mode](Mode::Shadow) admitted. Their outcomes are in `outcomes`.
    pub would_reject: Rejections,
    /// Latencies of the last minute. `None` if every call was answered at its first poll, and for
    /// a single key: all keys share one histogram.
    pub latency: Option<Latency>,
}

impl Snapshot {
    pub(super) fn of(target: &Target<Load>) -> Self {
        match target {
            Target::One(load) => Self::of_one(load),
            Target::Group(group) => Self::of_group(group),
        }
    }

    fn of_group(group: &Group<Load>) -> Self {
        let (settings, emitter) = (group.settings(), group.emitter());
        let (mut in_flight, mut streaming) = (0_u32, 0_u32);
        let totals = group.sum(|load, totals| {
            let books = load.books();
            in_flight = in_flight.saturating_add(books.in_flight);
            streaming = streaming.saturating_add(books.streaming);
            totals.add(&books.totals(load));
        });
        Self {
            layer: emitter.layer(),
            name: emitter.name().to_owned(),
            key: None,
            keys: Some(KeyCounts::of(group)),
            mode: settings.mode,
            in_flight,
            streaming,
            limit: limit_of_new(&settings),
            outcomes: totals.outcomes,
            rejections: totals.rejections,
            would_reject: totals.would_reject,
            latency: group.common().latencies().last_minute(Moment::now()),
        }
    }

    fn of_one(load: &Load) -> Self {
        let is_keyed = load.emitter.group().is_some();
        let latency = (!is_keyed).then(|| load.latencies.last_minute(Moment::now()));
        let Books {
            in_flight,
            streaming,
            outcomes,
        } = load.books();
        Self {
            layer: load.emitter.layer(),
            name: load.emitter.name().to_owned(),
            key: load.emitter.key().map(str::to_owned),
            keys: None,
            mode: load.mode(),
            in_flight,
            streaming,
            limit: limited(load.limit()),
            outcomes,
            rejections: load.emitter.rejections(),
            would_reject: load.emitter.would_reject(),
            latency: latency.flatten(),
        }
    }
}

/// The limit of a new key.
pub(super) fn limit_of_new(settings: &Settings) -> Option<u32> {
    let first = settings.is_on().then(|| first_limit(&settings.limit));
    first.and_then(limited)
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            layer,
            name,
            key,
            keys,
            mode,
            in_flight,
            streaming,
            limit,
            outcomes,
            rejections,
            would_reject,
            latency,
        } = self;
        let (mode, would_reject) = (InMode(*mode), WouldReject(would_reject));
        write!(f, "{layer} {}: ", NameAndKey(name, key.as_deref()))?;
        if let Some(keys) = keys {
            write!(f, "{keys}; ")?;
        }
        let in_flight = InFlight(*in_flight, limit.filter(|_| keys.is_none()));
        write!(
            f,
            "{in_flight}{mode}, {streaming} streaming; {outcomes}; \
             {rejections}{would_reject}"
        )?;
        match latency {
            Some(latency) => write!(f, "; {latency}"),
            None => Ok(()),
        }
    }
}
