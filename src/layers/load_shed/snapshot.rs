//! What a load shedder looks like at one moment.

use std::fmt;

use super::load::Load;
use crate::observe::snapshot::{InFlight, Latency, Outcomes, Rejections, limited};
use crate::runtime::Moment;

/// A load shedder at one moment: see [`snapshot`](crate::snapshot).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// `load_shed`.
    pub layer: &'static str,
    /// The name of the instance.
    pub name: String,
    /// How many calls are in flight. Under an adaptive limit a call is until the head of its
    /// response is out.
    pub in_flight: u32,
    /// How many calls only stream the body of their response: they no longer count against an
    /// adaptive limit. Always 0 under a fixed limit.
    pub streaming: u32,
    /// How many may be at the moment; `None` if there is no limit.
    pub limit: Option<u32>,
    /// How the calls went that were let through.
    pub outcomes: Outcomes,
    /// What was not let through.
    pub rejections: Rejections,
    /// How long calls took in the last minute, if any had to wait.
    pub latency: Option<Latency>,
}

impl Snapshot {
    pub(super) fn of(load: &Load) -> Self {
        Self {
            layer: load.emitter.layer(),
            name: load.emitter.name().to_owned(),
            in_flight: load.in_flight(),
            streaming: load.streaming(),
            limit: limited(load.limit()),
            outcomes: load.outcomes(),
            rejections: load.emitter.rejections(),
            latency: load.latencies.last_minute(Moment::now()),
        }
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            layer,
            name,
            in_flight,
            streaming,
            limit,
            outcomes,
            rejections,
            latency,
        } = self;
        let in_flight = InFlight(*in_flight, *limit);
        write!(
            f,
            "{layer} {name}: {in_flight}, {streaming} streaming; {outcomes}; {rejections}"
        )?;
        match latency {
            Some(latency) => write!(f, "; {latency}"),
            None => Ok(()),
        }
    }
}
