//! How a layer emits its decisions.

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
pub trait Emit {
    /// The sinks of the instance.
    fn emitter(&self) -> &Emitter;

    /// Sets the gauges to what holds now.
    fn set_gauges(&self, handles: &Handles);

    /// Emits an event, which is made only if anything receives it.
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

    /// Emits an event that is also logged: a change, of which there are few.
    #[cold]
    fn emit_and_log(&self, kind: impl Fn() -> EventKind)
    where
        Self: Sized,
    {
        if log::is_on() {
            // The subscriber of `tracing` is user code.
            isolate(|| log::event(self.emitter(), &kind));
        }
        self.emit(kind);
    }

    /// Makes a rejection, counts and emits it.
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

    /// Ends a call by a time limit.
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
        log::rejected(emitter, rejection);
        emitter.count_rejection(rejection.reason());
        emitter.look_again();
        self.emit(|| EventKind::Rejected(rejection.clone()));
    }

    /// A call begins that may emit nothing else: its metrics are there from the first call on.
    #[inline]
    fn begin(&self)
    where
        Self: Sized,
    {
        let emitter = self.emitter();
        if emitter.is_new() {
            emitter.handles(&|handles| self.set_gauges(handles));
        }
    }

    /// Records a metric that is not an event, if there is a recorder. Whether there is one.
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

    /// Records a metric that goes with one that was recorded before.
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

/// Sets a gauge to a value that may change meanwhile: of two who set it at once, the last one sets
/// what is true.
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
