//! Shadow mode: what a circuit would have rejected.

use std::sync::atomic::Ordering;

use super::circuit::Circuit;
use crate::observe::emit::Tells;
use crate::observe::event::EventKind;
use crate::observe::log;
use crate::vocabulary::{reason::Reason, rejection::Rejection};

impl Circuit {
    /// Counts, logs and emits that a call was admitted only because of the mode.
    #[cold]
    pub(super) fn would_reject(&self) {
        let origin = self.listeners().origin();
        let reason = Reason::CircuitOpen;
        let mut rejection = Rejection::by(origin, reason);
        if let Some(left) = self.open_time_left() {
            rejection = rejection.with_retry_after(left);
        }
        self.would_reject.fetch_add(1, Ordering::Relaxed);
        log::would_reject(origin, &rejection);
        self.listeners().look_again();
        self.tell(|| EventKind::WouldReject(rejection.clone()));
    }
}
