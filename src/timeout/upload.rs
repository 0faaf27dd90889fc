//! The body of a request, as far as a default time limit is concerned.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::runtime::Moment;

/// Until when the body of a request moved.
#[derive(Debug, Clone)]
pub struct Progress(Arc<AtomicU64>);

impl Progress {
    #[cfg(feature = "http")]
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(0)))
    }

    /// A piece of the body was taken, which is on the wire for so long.
    #[cfg(feature = "http")]
    pub(crate) fn moved(&self, takes: Duration) {
        let until = Moment::now().after(takes);
        // A flag of its own kind: nothing else is published by it. The next piece may be taken before this one is sent.
        self.0.fetch_max(until.to_bits(), Ordering::Relaxed);
    }

    /// Until when the last piece moved; the beginning of time if none did.
    pub(super) fn last(&self) -> Moment {
        Moment::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// What is known of a request's body while it is sent.
#[derive(Debug, Clone)]
pub enum Upload {
    /// There is none, or nothing is known of it.
    None,
    /// It tells when it moves.
    Moves(Progress),
    /// It is in memory, and takes this long on a slow line.
    Whole(Duration),
}
