//! Emits the events of a layer.

use std::time::Duration;

use crate::observe::emitter::Emitter;
use crate::observe::event::EventKind;
use crate::observe::log;
use crate::observe::meter::Handles;
use crate::runtime::isolate::isolate;
use crate::vocabulary::{
    reason::Reason,
    rejection::{Rejection, TimeLimit},
};

/// The state of a layer that emits events.
pub(crate) trait Emit {
    /// The sinks of the instance.
    fn emitter(&self) -> &Emitter;

    /// Sets the gauges to their current values.
    fn set_gauges(&self, handles: &Handles);

    /// Emits an event. It is made only if there is a sink.
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn emit(&self, kind: impl FnOnce() -> EventKind)
    where
        Self: Sized,
    {
        let emitter = self.emitter();
        if emitter.has_sinks() {
            emitter.emit_to_all(kind(), &|handles| self.set_gauges(handles));
        }
    }

    /// Emits and logs an event, such as a change of state.
    #[cold]
    fn emit_and_log(&self, kind: impl Fn() -> EventKind)
    where
        Self: Sized,
    {
        if log::is_on() {
            // The `tracing` subscriber is user code.
            isolate(|| log::event(self.emitter(), &kind));
        }
        self.emit(kind);
    }

    /// Emits and logs an event even if the layer is switched off.
    #[cold]
    fn announce(&self, kind: impl Fn() -> EventKind)
    where
        Self: Sized,
    {
        let emitter = self.emitter();
        if log::is_on() {
            // The `tracing` subscriber is user code.
            isolate(|| log::event(emitter, &kind));
        }
        emitter.announce(kind(), &|handles| self.set_gauges(handles));
    }

    /// Makes, counts and emits a rejection.
    #[cold]
    fn reject(&self, reason: Reason, retry_after: Option<Duration>) -> Rejection
    where
        Self: Sized,
    {
        let mut rejection = Rejection::by(self.emitter().instance(), reason);
        if let Some(after) = retry_after {
            rejection = rejection.with_retry_after(after);
        }
        self.rejected(&rejection);
        rejection
    }

    /// Makes, counts and emits the rejection of a call that this limit ended.
    #[cold]
    fn timed_out(&self, limit: TimeLimit) -> Rejection
    where
        Self: Sized,
    {
        let rejection = Rejection::timed_out(self.emitter().instance(), limit);
        self.rejected(&rejection);
        rejection
    }

    /// Counts and emits a rejection.
    #[cold]
    fn rejected(&self, rejection: &Rejection)
    where
        Self: Sized,
    {
        let emitter = self.emitter();
        emitter.count_rejection(rejection.reason());
        // The subscriber of `tracing` is user code.
        isolate(|| log::rejected(emitter, rejection));
        emitter.look_again();
        self.emit(|| EventKind::Rejected(rejection.clone()));
    }

    /// Counts, logs and emits a call that only shadow mode admits.
    #[cold]
    fn would_reject(&self, reason: Reason, retry_after: Option<Duration>)
    where
        Self: Sized,
    {
        let mut rejection = Rejection::by(self.emitter().instance(), reason);
        if let Some(after) = retry_after {
            rejection = rejection.with_retry_after(after);
        }
        self.would_have(&rejection);
    }

    /// Counts, logs and emits a rejection that only shadow mode prevents.
    #[cold]
    fn would_have(&self, rejection: &Rejection)
    where
        Self: Sized,
    {
        let emitter = self.emitter();
        emitter.count_would_reject(rejection.reason());
        // The subscriber of `tracing` is user code.
        isolate(|| log::would_reject(emitter, rejection));
        emitter.look_again();
        self.emit(|| EventKind::WouldReject(rejection.clone()));
    }

    /// Called at the beginning of a call that may emit nothing, so that its metrics exist.
    #[inline]
    fn begin(&self)
    where
        Self: Sized,
    {
        let emitter = self.emitter();
        if emitter.begins() {
            emitter.handles(&|handles| self.set_gauges(handles));
        }
    }

    /// Records a metric that is no event. Returns whether there is a recorder.
    #[inline]
    fn record(&self, record: impl FnOnce(&Handles)) -> bool
    where
        Self: Sized,
    {
        let emitter = self.emitter();
        let handles = if emitter.has_sinks() {
            emitter.handles(&|handles| self.set_gauges(handles))
        } else {
            None
        };
        if let Some(handles) = handles {
            isolate(|| record(handles));
        }
        handles.is_some()
    }

    /// Records a metric that follows an earlier one of the same call.
    fn record_again(&self, record: impl FnOnce(&Handles)) {
        if let Some(handles) = self.emitter().known_handles() {
            isolate(|| record(handles));
        }
    }
}

impl Emit for Emitter {
    fn emitter(&self) -> &Emitter {
        self
    }

    fn set_gauges(&self, _: &Handles) {}
}

/// Sets a gauge to a value that may change meanwhile. Of two concurrent calls, the last one sets
/// the current value.
pub(crate) fn set_newest<T: Copy + PartialEq>(read: impl Fn() -> T, set: impl Fn(T)) {
    let mut last = read();
    loop {
        set(last);
        let newest = read();
        if newest == last {
            return;
        }
        last = newest;
    }
}
