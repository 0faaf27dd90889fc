//! The body of a request, as far as time limits and evidence are concerned.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::runtime::Moment;

/// How far the body of a request is.
#[derive(Debug, Clone)]
pub struct Progress(Arc<Taken>);

/// Flags of their own kind: nothing else is published by them.
#[derive(Debug)]
struct Taken {
    /// Until when the last piece moved.
    until: AtomicU64,
    /// Whether the next one was asked for and is not there.
    waits: AtomicBool,
}

impl Progress {
    #[cfg(feature = "http")]
    pub(crate) fn new() -> Self {
        Self(Arc::new(Taken {
            until: AtomicU64::new(0),
            waits: AtomicBool::new(false),
        }))
    }

    /// A piece of the body was taken, which is on the wire for so long.
    #[cfg(feature = "http")]
    pub(crate) fn moved(&self, takes: Duration) {
        let until = Moment::now().after(takes);
        // The next piece may be taken before this one is sent.
        self.0.until.fetch_max(until.to_bits(), Ordering::Relaxed);
    }

    /// The next piece was asked for: whether it is still to come.
    #[cfg(feature = "http")]
    pub(crate) fn waits(&self, waits: bool) {
        self.0.waits.store(waits, Ordering::Relaxed);
    }

    /// Until when the last piece moved; the beginning of time if none did.
    pub(super) fn last(&self) -> Moment {
        Moment::from_bits(self.0.until.load(Ordering::Relaxed))
    }

    /// Since when the request can be answered: not while its service waits for the next piece.
    pub(super) fn answerable(&self) -> Moment {
        if self.0.waits.load(Ordering::Relaxed) {
            Moment::NEVER
        } else {
            self.last()
        }
    }
}

/// What is known of a request's body while it is sent.
#[derive(Debug, Clone)]
pub enum Upload {
    /// There is none, or nothing is known of it.
    None,
    /// It tells when it moves.
    Moves(Progress),
    /// So does this one, but its caller may wait for an answer before it sends more, as in gRPC.
    Converses(Progress),
    /// It is in memory, and takes this long on a slow line.
    Whole(Duration),
}
