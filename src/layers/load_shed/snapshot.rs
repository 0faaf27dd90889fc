//! The snapshot of a load shedder.

use std::fmt;

use super::load::{Books, Load};
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
    /// Latencies of the last minute. `None` if every call was answered at its first poll.
    pub latency: Option<Latency>,
}

impl Snapshot {
    pub(super) fn of(load: &Load) -> Self {
        let Books {
            in_flight,
            streaming,
            outcomes,
        } = load.books();
        Self {
            layer: load.emitter.layer(),
            name: load.emitter.name().to_owned(),
            mode: load.mode(),
            in_flight,
            streaming,
            limit: limited(load.limit()),
            outcomes,
            rejections: load.emitter.rejections(),
            would_reject: load.emitter.would_reject(),
            latency: load.latencies.last_minute(Moment::now()),
        }
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            layer,
            name,
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
        let in_flight = InFlight(*in_flight, *limit);
        write!(
            f,
            "{layer} {name}: {in_flight}{mode}, {streaming} streaming; {outcomes}; \
             {rejections}{would_reject}"
        )?;
        match latency {
            Some(latency) => write!(f, "; {latency}"),
            None => Ok(()),
        }
    }
}
