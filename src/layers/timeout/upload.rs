//! The progress of a request's body, for time limits and as evidence.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::runtime::Moment;

/// The progress of a request's body.
#[derive(Debug, Clone)]
pub struct Progress(Arc<Flags>);

/// Relaxed atomics: they publish nothing else.
#[derive(Debug)]
struct Flags {
    /// When the last piece has been sent.
    until: AtomicU64,
    /// Whether the service waits for the next piece.
    waits: AtomicBool,
}

impl Progress {
    #[cfg(feature = "http")]
    pub(crate) fn new() -> Self {
        Self(Arc::new(Flags {
            until: AtomicU64::new(0),
            waits: AtomicBool::new(false),
        }))
    }

    /// The service took a piece that needs this time on the wire.
    #[cfg(feature = "http")]
    pub(crate) fn moved(&self, takes: Duration) {
        let until = Moment::now().after(takes);
        // The next piece may be taken before this one is sent.
        self.0.until.fetch_max(until.to_bits(), Ordering::Relaxed);
    }

    /// Sets whether the service waits for the next piece.
    #[cfg(feature = "http")]
    pub(crate) fn waits(&self, waits: bool) {
        self.0.waits.store(waits, Ordering::Relaxed);
    }

    /// When the last piece has been sent; the origin of the clock without one.
    pub(super) fn last(&self) -> Moment {
        Moment::from_bits(self.0.until.load(Ordering::Relaxed))
    }

    /// Since when the service can answer; `NEVER` while it waits for the next piece.
    pub(super) fn answerable(&self) -> Moment {
        if self.0.waits.load(Ordering::Relaxed) {
            Moment::NEVER
        } else {
            self.last()
        }
    }
}

/// The knowledge of a request's body while it is sent.
#[derive(Debug, Clone)]
pub enum Upload {
    /// No body, or nothing is known.
    None,
    /// It records its progress.
    Moves(Progress),
    /// The same, but the caller may wait for an answer before it sends more, as in gRPC.
    Converses(Progress),
    /// It is in memory, and takes this time on a slow line.
    Whole(Duration),
}
