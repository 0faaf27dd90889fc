//! Those who hear of what a layer decides: its observer, its subscribers, its metrics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;

use crate::log;
use crate::meter::{self, Handles, Meter};
use crate::name::Origin;
use crate::observe::{EventKind, Observer};
use crate::snapshot::Rejected;
use crate::{Event, Events};

/// How many events a subscription keeps for a reader that is behind.
const BACKLOG: usize = 256;

/// Those who listen to one layer.
///
/// They may live in a place that is used again (see [`pool`](crate::pool)). What a call tells is stamped, so that nobody hears of
/// a call that was made before their layer moved in.
pub(crate) struct Listeners {
    /// Who listens, in one word: the only thing that is read when nobody does. The lowest bits are flags, the others the number of a meter.
    ears: AtomicU32,
    /// The first stamp that is theirs.
    since: AtomicU64,
    pub(crate) rejected: Rejected,
    audience: Mutex<Audience>,
}

/// There is an observer, or a subscriber.
const OBSERVED: u32 = 1;
/// Nobody has looked yet whether there is a recorder of metrics.
const LOOK: u32 = 1 << 1;
const METER: u32 = 2;

/// What a new layer begins with.
const NEW: u32 = if cfg!(feature = "metrics") { LOOK } else { 0 };

#[derive(Default)]
struct Audience {
    origin: Option<&'static Origin>,
    /// Whether its metrics are told.
    measured: bool,
    observer: Option<Arc<dyn Observer>>,
    subscribers: Option<broadcast::Sender<Event>>,
}

impl Listeners {
    pub(crate) const fn vacant() -> Self {
        Self {
            ears: AtomicU32::new(0),
            since: AtomicU64::new(0),
            rejected: Rejected::new(),
            audience: Mutex::new(Audience {
                origin: None,
                measured: false,
                observer: None,
                subscribers: None,
            }),
        }
    }

    pub(crate) fn new(origin: &'static Origin, observer: Option<Arc<dyn Observer>>) -> Self {
        let listeners = Self::vacant();
        listeners.move_in(0, origin, observer, true);
        listeners
    }

    /// From now on they are those of another layer, whose calls are stamped `since` or later. One that lets everything through is not measured.
    pub(crate) fn move_in(
        &self,
        since: u64,
        origin: &'static Origin,
        observer: Option<Arc<dyn Observer>>,
        measured: bool,
    ) {
        let new = if measured { NEW } else { 0 };
        let observed = if observer.is_some() { OBSERVED } else { 0 };
        let mut audience = self.lock();
        let before = std::mem::replace(
            &mut *audience,
            Audience {
                origin: Some(origin),
                measured,
                observer,
                subscribers: None,
            },
        );
        self.since.store(since, Ordering::Relaxed);
        self.rejected.reset();
        self.ears.store(new | observed, Ordering::Relaxed);
        drop(audience);
        drop(before);
    }

    /// Their layer is gone; subscriptions end.
    pub(crate) fn move_out(&self) {
        let mut audience = self.lock();
        self.ears.fetch_and(!OBSERVED, Ordering::Relaxed);
        // What is still on its way is counted, for the same origin.
        let before = (audience.observer.take(), audience.subscribers.take());
        drop(audience);
        drop(before);
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn any(&self) -> bool {
        self.ears.load(Ordering::Relaxed) != 0
    }

    /// Whether what is stamped so was made by their layer.
    #[inline]
    pub(crate) fn is_theirs(&self, stamp: u64) -> bool {
        stamp >= self.since.load(Ordering::Relaxed)
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
        let origin = self.lock().origin;
        // The recorder is somebody else's code: no lock is held while it runs.
        let Some((origin, meter)) = origin.map(|origin| (origin, Meter::of(origin))) else {
            return Meter::NOBODY;
        };
        let audience = self.lock();
        // Meanwhile another layer may live here.
        let is_ours = audience.origin.is_some_and(|now| std::ptr::eq(now, origin));
        let ears = self.ears.load(Ordering::Relaxed);
        if is_ours && ears & LOOK != 0 {
            let heard = ears & OBSERVED | meter.number() << METER;
            self.ears.store(heard, Ordering::Relaxed);
            drop(audience);
            meter.tell(show);
        }
        meter
    }

    /// A recorder that was installed after the first call is found at the next rejection.
    pub(crate) fn look_again(&self) {
        if NEW != 0 && self.ears.load(Ordering::Relaxed) >> METER == 0 && meter::is_recorded() {
            let audience = self.lock();
            if audience.measured {
                self.ears.fetch_or(LOOK, Ordering::Relaxed);
            }
        }
    }

    /// Whose layer it is, if anybody reads logs, and it was the same at that stamp.
    pub(crate) fn origin_since(&self, stamp: u64) -> Option<&'static Origin> {
        if !log::is_on() || !self.is_theirs(stamp) {
            return None;
        }
        self.lock().origin
    }

    #[inline(never)]
    pub(crate) fn tell_all(&self, stamp: u64, kind: EventKind, show: &dyn Fn(&Handles)) {
        if !self.is_theirs(stamp) {
            return;
        }
        self.meter(show).tell(|handles| handles.hear(&kind, show));
        if self.ears.load(Ordering::Relaxed) & OBSERVED != 0 {
            self.tell_audience(stamp, kind);
        }
    }

    #[cold]
    fn tell_audience(&self, stamp: u64, kind: EventKind) {
        let audience = self.lock();
        // Looked at again: under the lock it cannot change.
        let (Some(origin), true) = (audience.origin, self.is_theirs(stamp)) else {
            return;
        };
        let (observer, subscribers) = (audience.observer.clone(), audience.subscribers.clone());
        drop(audience);
        let event = Event::new(origin, kind);
        if let Some(observer) = observer {
            // An observer is a guest: whatever it does, the call goes on.
            let _ = catch_unwind(AssertUnwindSafe(|| observer.observe(&event)));
        }
        if let Some(subscribers) = subscribers {
            // Fails only when nobody is subscribed any more.
            if subscribers.send(event).is_err() {
                self.look_who_listens();
            }
        }
    }

    /// The last subscriber may be gone: then calls need not make events any more, nor meet at the lock.
    fn look_who_listens(&self) {
        let mut audience = self.lock();
        let left = audience.subscribers.take_if(|to| to.receiver_count() == 0);
        if left.is_some() && audience.observer.is_none() {
            self.ears.fetch_and(!OBSERVED, Ordering::Relaxed);
        }
        drop(audience);
        drop(left);
    }

    pub(crate) fn subscribe(&self) -> Events {
        let mut audience = self.lock();
        let receiver = audience
            .subscribers
            .get_or_insert_with(|| broadcast::channel(BACKLOG).0)
            .subscribe();
        self.ears.fetch_or(OBSERVED, Ordering::Relaxed);
        Events::new(receiver)
    }

    fn lock(&self) -> MutexGuard<'_, Audience> {
        self.audience.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::unnamed::BULKHEAD;
    use crate::tells::{NOW, Tells};
    use crate::{Reason, Rejection};
    use futures::FutureExt;

    #[test]
    fn a_subscription_ends_when_the_layer_is_gone_whoever_moves_in() {
        let listeners = Listeners::vacant();
        listeners.move_in(0, &BULKHEAD, None, false);
        let mut events = listeners.subscribe();
        assert!(events.recv().now_or_never().is_none());
        listeners.move_out();
        assert!(matches!(events.recv().now_or_never(), Some(None)));
        assert!(!listeners.any());
    }

    #[test]
    fn when_the_last_subscriber_is_gone_nobody_listens() {
        let listeners = Listeners::vacant();
        listeners.move_in(0, &BULKHEAD, None, false);
        let (one, other) = (listeners.subscribe(), listeners.subscribe());
        let tell = || {
            let rejection = Rejection::by(&BULKHEAD, Reason::Full);
            Tells::tell(&listeners, NOW, || EventKind::Rejected(rejection.clone()));
            listeners.any()
        };
        assert!(tell());
        drop(one);
        assert!(tell());
        drop(other);
        assert!(!tell());
        let mut late = listeners.subscribe();
        assert!(tell());
        assert!(late.try_recv().is_some());

        // An observer stays.
        listeners.move_in(0, &BULKHEAD, Some(Arc::new(|_: &Event| {})), false);
        drop(listeners.subscribe());
        assert!(tell() && tell());
    }
}
