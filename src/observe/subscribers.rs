//! Those who hear of what a layer decides: its observer, its subscribers, its metrics.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;

use crate::observe::event::{Event, Events};
use crate::observe::event::{EventKind, Observer};
use crate::observe::meter::{self, Handles, Meter};
use crate::observe::snapshot::Rejected;
use crate::runtime::isolate::isolate;
use crate::vocabulary::name::Origin;

/// How many events a subscription keeps for a reader that is behind.
const BACKLOG: usize = 256;

/// Those who listen to one instance.
#[allow(
    missing_debug_implementations,
    reason = "nobody outside can get hold of one"
)]
pub struct Listeners {
    /// Who listens, in one word: the only thing that is read when nobody does. The lowest bits are flags, the others the number of a meter.
    ears: AtomicU32,
    origin: &'static Origin,
    /// Whether its metrics are recorded.
    measured: bool,
    pub(crate) rejected: Rejected,
    observer: Option<Arc<dyn Observer>>,
    subscribers: Mutex<Option<broadcast::Sender<Event>>>,
}

/// There is an observer, or a subscriber.
const OBSERVED: u32 = 1;
/// Nobody has looked yet whether there is a recorder of metrics.
const LOOK: u32 = 1 << 1;
const METER: u32 = 2;

/// What a new layer begins with.
const NEW: u32 = if cfg!(feature = "metrics") { LOOK } else { 0 };

impl Listeners {
    pub(crate) fn new(origin: &'static Origin, observer: Option<Arc<dyn Observer>>) -> Self {
        Self::measured(origin, observer, true)
    }

    /// An instance that lets everything through is not measured.
    pub(crate) fn measured(
        origin: &'static Origin,
        observer: Option<Arc<dyn Observer>>,
        measured: bool,
    ) -> Self {
        let new = if measured { NEW } else { 0 };
        let observed = if observer.is_some() { OBSERVED } else { 0 };
        Self {
            ears: AtomicU32::new(new | observed),
            origin,
            measured,
            rejected: Rejected::new(),
            observer,
            subscribers: Mutex::new(None),
        }
    }

    pub(crate) fn origin(&self) -> &'static Origin {
        self.origin
    }

    pub(crate) fn observer(&self) -> Option<&Arc<dyn Observer>> {
        self.observer.as_ref()
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn any(&self) -> bool {
        self.ears.load(Ordering::Relaxed) != 0
    }

    /// Whether nobody has looked yet whether there is a recorder.
    #[inline]
    pub(crate) fn is_new(&self) -> bool {
        self.ears.load(Ordering::Relaxed) & LOOK != 0
    }

    /// The meter, whose gauges are shown when it has just been found: at the first call.
    pub(crate) fn meter(&self, show: &dyn Fn(&Handles)) -> Meter {
        let ears = self.ears.load(Ordering::Relaxed);
        if ears & LOOK == 0 {
            return Meter::of_number(ears >> METER);
        }
        // The recorder is somebody else's code: no lock is held while it runs.
        let meter = Meter::of(self.origin);
        let heard =
            |ears: u32| (ears & LOOK != 0).then_some(ears & OBSERVED | meter.number() << METER);
        let changed = self
            .ears
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, heard);
        match changed {
            Ok(_) => meter.tell(show),
            Err(ears) => return Meter::of_number(ears >> METER),
        }
        meter
    }

    /// A recorder that was installed after the first call is found at the next rejection.
    pub(crate) fn look_again(&self) {
        if NEW != 0
            && self.measured
            && self.ears.load(Ordering::Relaxed) >> METER == 0
            && meter::is_recorded()
        {
            self.ears.fetch_or(LOOK, Ordering::Relaxed);
        }
    }

    #[inline(never)]
    pub(crate) fn tell_all(&self, kind: EventKind, show: &dyn Fn(&Handles)) {
        self.meter(show).tell(|handles| handles.hear(&kind, show));
        if self.ears.load(Ordering::Relaxed) & OBSERVED != 0 {
            self.tell_audience(kind);
        }
    }

    #[cold]
    fn tell_audience(&self, kind: EventKind) {
        let subscribers = self.lock().clone();
        let event = Event::new(self.origin, kind);
        if let Some(observer) = &self.observer {
            isolate(|| observer.observe(&event));
        }
        if let Some(subscribers) = subscribers {
            // It wakes the subscribers' tasks. It fails only when nobody is subscribed any more.
            if isolate(|| subscribers.send(event).is_err()) == Some(true) {
                self.look_who_listens();
            }
        }
    }

    /// The last subscriber may be gone: then calls need not make events any more, nor meet at the lock.
    fn look_who_listens(&self) {
        let mut subscribers = self.lock();
        let left = subscribers.take_if(|to| to.receiver_count() == 0);
        if left.is_some() && self.observer.is_none() {
            self.ears.fetch_and(!OBSERVED, Ordering::Relaxed);
        }
        drop(subscribers);
        drop(left);
    }

    pub(crate) fn subscribe(&self) -> Events {
        let mut subscribers = self.lock();
        let receiver = subscribers
            .get_or_insert_with(|| broadcast::channel(BACKLOG).0)
            .subscribe();
        self.ears.fetch_or(OBSERVED, Ordering::Relaxed);
        Events::new(receiver)
    }

    fn lock(&self) -> MutexGuard<'_, Option<broadcast::Sender<Event>>> {
        self.subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::emit::Tells;
    use crate::vocabulary::name::unnamed::BULKHEAD;
    use crate::vocabulary::{reason::Reason, rejection::Rejection};
    use futures::FutureExt;

    #[test]
    fn when_the_last_subscriber_is_gone_nobody_listens() {
        let listeners = Listeners::measured(&BULKHEAD, None, false);
        let (one, other) = (listeners.subscribe(), listeners.subscribe());
        assert!(tell(&listeners));
        drop(one);
        assert!(tell(&listeners));
        drop(other);
        assert!(!tell(&listeners));
        let mut late = listeners.subscribe();
        assert!(tell(&listeners));
        assert!(late.try_recv().is_some());
    }

    #[test]
    fn an_observer_stays() {
        let listeners = Listeners::measured(&BULKHEAD, Some(Arc::new(|_: &Event| {})), false);
        drop(listeners.subscribe());
        assert!(tell(&listeners) && tell(&listeners));
    }

    #[test]
    fn a_subscription_ends_when_the_instance_is_gone() {
        let listeners = Listeners::measured(&BULKHEAD, None, false);
        let mut events = listeners.subscribe();
        assert!(events.recv().now_or_never().is_none());
        drop(listeners);
        assert!(matches!(events.recv().now_or_never(), Some(None)));
    }

    fn tell(listeners: &Listeners) -> bool {
        let rejection = Rejection::by(&BULKHEAD, Reason::Full);
        Tells::tell(listeners, || EventKind::Rejected(rejection.clone()));
        listeners.any()
    }
}
