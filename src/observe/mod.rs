//! Events and their sinks (metrics, log, spans, observers, subscribers), counters and snapshots.

pub(crate) mod emit;
pub(crate) mod emitter;
pub(crate) mod event;
pub(crate) mod log;
pub(crate) mod meter;
#[cfg(feature = "metrics")]
pub mod metrics;
pub mod snapshot;
pub(crate) mod span;
