//! How a layer tells what it decides.

use std::sync::Arc;
use std::time::Duration;

use crate::observe::event::{EventKind, Observer};
use crate::observe::log;
use crate::observe::meter::{self, Handles, Meter};
use crate::observe::subscribers::Listeners;
use crate::runtime::isolate::isolate;
use crate::vocabulary::name::Origin;
use crate::vocabulary::{
    reason::Reason,
    rejection::{Rejection, TimeLimit},
};

/// A layer that tells what it decides.
pub trait Tells {
    /// Who hears of it.
    fn listeners(&self) -> &Listeners;

    /// Sets the gauges to what holds now.
    fn show(&self, handles: &Handles);

    /// Tells everyone. What is told is only made when someone listens.
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn tell(&self, kind: impl FnOnce() -> EventKind)
    where
        Self: Sized,
    {
        let listeners = self.listeners();
        if listeners.any() {
            listeners.tell_all(kind(), &|handles| self.show(handles));
        }
    }

    /// The same for what is also logged: changes, of which there are few.
    #[cold]
    fn tell_and_log(&self, kind: impl Fn() -> EventKind)
    where
        Self: Sized,
    {
        if log::is_on() {
            // The subscriber of `tracing` is user code.
            isolate(|| log::event(self.listeners().origin(), &kind));
        }
        self.tell(kind);
    }

    /// Makes a rejection, and tells of it.
    #[cold]
    fn reject(&self, reason: Reason, retry_after: Option<Duration>) -> Rejection
    where
        Self: Sized,
    {
        let mut rejection = Rejection::by(self.listeners().origin(), reason);
        if let Some(after) = retry_after {
            rejection = rejection.with_retry_after(after);
        }
        self.rejected(&rejection);
        rejection
    }

    /// Counts and emits a rejection.
    #[cold]
    fn rejected(&self, rejection: &Rejection)
    where
        Self: Sized,
    {
        log::rejected(self.listeners().origin(), rejection);
        self.listeners().rejected.add(rejection.reason());
        self.listeners().look_again();
        self.tell(|| EventKind::Rejected(rejection.clone()));
    }

    /// A call begins, of which nothing else may be told.
    #[inline]
    fn greet(&self)
    where
        Self: Sized,
    {
        let listeners = self.listeners();
        if listeners.is_new() {
            listeners.meter(&|handles| self.show(handles));
        }
    }

    /// The metrics of the layer.
    #[inline]
    fn meter(&self) -> Meter
    where
        Self: Sized,
    {
        let listeners = self.listeners();
        if listeners.any() {
            listeners.meter(&|handles| self.show(handles))
        } else {
            Meter::NOBODY
        }
    }
}

impl Tells for Listeners {
    fn listeners(&self) -> &Listeners {
        self
    }

    fn show(&self, _: &Handles) {}
}

/// Shows what may change meanwhile: of two who show it at once, the one that comes last shows what is.
pub(crate) fn show_newest<T: Copy + PartialEq>(look: impl Fn() -> T, show: impl Fn(T)) {
    let mut shown = look();
    loop {
        show(shown);
        let newest = look();
        if newest == shown {
            return;
        }
        shown = newest;
    }
}

/// Who rejects, and who is told of it: for layers without shared state, which pay for listeners only
/// where there are any.
#[derive(Clone)]
pub(crate) struct Teller {
    origin: &'static Origin,
    listeners: Option<Arc<Listeners>>,
}

impl Teller {
    pub(crate) const fn new(origin: &'static Origin) -> Self {
        Self {
            origin,
            listeners: None,
        }
    }

    /// The same under another name, with the same observer.
    pub(crate) fn renamed(self, origin: &'static Origin) -> Self {
        let observer = self.listeners.and_then(|of| of.observer().cloned());
        Self::new(origin).told(observer)
    }

    pub(crate) fn told(mut self, observer: Option<Arc<dyn Observer>>) -> Self {
        self.listeners =
            observer.map(|observer| Arc::new(Listeners::new(self.origin, Some(observer))));
        self
    }

    pub(crate) fn origin(&self) -> &'static Origin {
        self.origin
    }

    #[cold]
    pub(crate) fn reject(&self, reason: Reason) -> Rejection {
        self.emit(Rejection::by(self.origin, reason))
    }

    /// Ends a call by a time limit.
    #[cold]
    pub(crate) fn timed_out(&self, limit: TimeLimit) -> Rejection {
        self.emit(Rejection::timed_out(self.origin, limit))
    }

    fn emit(&self, rejection: Rejection) -> Rejection {
        let reason = rejection.reason();
        self.origin.rejected().add(reason);
        if let Some(listeners) = &self.listeners {
            listeners.rejected(&rejection);
            return rejection;
        }
        log::rejected(self.origin, &rejection);
        meter::tell_of_again(self.origin, |handles| handles.rejected(reason));
        rejection
    }
}
