//! Reports of shadow mode.

use super::circuit::Circuit;
use crate::observe::emit::Emit;
use crate::observe::event::EventKind;
use crate::observe::log;
use crate::runtime::isolate::isolate;
use crate::vocabulary::{reason::Reason, rejection::Rejection};

impl Circuit {
    /// Counts, logs and emits a call that only shadow mode admitted.
    #[cold]
    pub(super) fn would_reject(&self) {
        let emitter = self.emitter();
        let reason = Reason::CircuitOpen;
        let mut rejection = Rejection::by(emitter.instance(), reason);
        if let Some(left) = self.open_time_left() {
            rejection = rejection.with_retry_after(left);
        }
        emitter.count_would_reject();
        // The subscriber of `tracing` is user code.
        isolate(|| log::would_reject(emitter, &rejection));
        emitter.look_again();
        self.emit(|| EventKind::WouldReject(rejection.clone()));
    }
}
