//! What the layers tell: facts, to whoever listens. Nobody here can steer a layer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast;

use crate::name::Origin;
use crate::{Outcome, Reason, Rejection, Transition};

/// How many events a subscription keeps for a reader that is behind.
const BACKLOG: usize = 256;

/// Something a layer decided or saw.
#[derive(Debug, Clone)]
pub struct Event {
    origin: &'static Origin,
    kind: EventKind,
}

/// What was decided or seen.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum EventKind {
    /// A call was rejected.
    Rejected(Rejection),
    /// A call ended. `latency` is there where the layer takes the time of its calls.
    Settled {
        /// How it went.
        outcome: Outcome,
        /// From the call to the head of its response.
        latency: Option<Duration>,
    },
    /// A circuit breaker changed its state.
    Transition(Transition),
    /// An attempt failed and another one follows.
    Retrying {
        /// The number of the attempt that will follow: 2 for the first retry.
        attempt: u32,
        /// How long it waits before that.
        delay: Duration,
    },
    /// A retry was called for, but something forbade it.
    RetryRefused(RetryRefused),
    /// An adaptive limit changed.
    LimitChanged {
        /// Calls in flight that it admitted until now.
        from: u32,
        /// Calls in flight that it admits from now on.
        to: u32,
    },
}

/// Why a retry that the policy wanted was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RetryRefused {
    /// There are no attempts left.
    Attempts,
    /// The budget is spent.
    Budget,
    /// It would not have finished before the deadline.
    Deadline,
    /// The server asked for a longer wait than the policy allows.
    HintTooLong,
    /// More of the request's body has been read than is kept for another attempt.
    TooLarge,
    /// The request's body cannot be sent again: its source failed, or it is still being read and that cannot be ended.
    Body,
}

impl Event {
    /// Which kind of layer: `circuit_breaker`, `bulkhead`, ...
    #[must_use]
    pub fn layer(&self) -> &'static str {
        self.origin.layer()
    }

    /// The name of the instance.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.origin.name()
    }

    /// What was decided or seen.
    #[must_use]
    pub fn kind(&self) -> &EventKind {
        &self.kind
    }
}

/// Someone a layer tells what it decides.
///
/// Called in the task of the request, outside of every lock; a panic in it is caught and harms
/// nothing. What it takes in time, the request takes longer. Any `Fn(&Event)` is one.
pub trait Observer: Send + Sync {
    /// Something was decided or seen.
    fn observe(&self, event: &Event);
}

impl<F: Fn(&Event) + Send + Sync> Observer for F {
    fn observe(&self, event: &Event) {
        self(event);
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
        match &self.listeners {
            Some(listeners) => listeners.reject(self.origin, reason, None),
            None => Rejection::by(self.origin, reason),
        }
    }
}

/// Those who listen to one layer.
///
/// They may live in a place that is used again (see [`pool`](crate::pool)). What a call tells is stamped, so that nobody hears of
/// a call that was made before their layer moved in.
pub(crate) struct Listeners {
    /// Whether there is anyone: the one thing that is read when nobody listens.
    any: AtomicBool,
    audience: Mutex<Audience>,
}

#[derive(Default)]
struct Audience {
    origin: Option<&'static Origin>,
    since: u64,
    observer: Option<Arc<dyn Observer>>,
    subscribers: Option<broadcast::Sender<Event>>,
}

/// The stamp of what is told by someone who holds the layer.
pub(crate) const NOW: u64 = u64::MAX;

impl Listeners {
    pub(crate) fn vacant() -> Self {
        Self {
            any: AtomicBool::new(false),
            audience: Mutex::default(),
        }
    }

    pub(crate) fn new(origin: &'static Origin, observer: Option<Arc<dyn Observer>>) -> Self {
        let listeners = Self::vacant();
        listeners.move_in(0, origin, observer);
        listeners
    }

    /// From now on they are those of another layer, whose calls are stamped `since` or later.
    pub(crate) fn move_in(
        &self,
        since: u64,
        origin: &'static Origin,
        observer: Option<Arc<dyn Observer>>,
    ) {
        self.any.store(observer.is_some(), Ordering::Relaxed);
        let before = std::mem::replace(
            &mut *self.lock(),
            Audience {
                origin: Some(origin),
                since,
                observer,
                subscribers: None,
            },
        );
        drop(before);
    }

    /// Their layer is gone; subscriptions end.
    pub(crate) fn move_out(&self) {
        self.any.store(false, Ordering::Relaxed);
        let before = std::mem::take(&mut *self.lock());
        drop(before);
    }

    /// Tells everyone. What is told is only made when someone listens.
    #[inline]
    pub(crate) fn tell(&self, stamp: u64, kind: impl FnOnce() -> EventKind) {
        if self.any.load(Ordering::Relaxed) {
            self.tell_all(stamp, kind());
        }
    }

    /// Makes a rejection, and tells of it.
    #[cold]
    pub(crate) fn reject(
        &self,
        origin: &'static Origin,
        reason: Reason,
        retry_after: Option<Duration>,
    ) -> Rejection {
        let mut rejection = Rejection::by(origin, reason);
        if let Some(after) = retry_after {
            rejection = rejection.with_retry_after(after);
        }
        self.tell(NOW, || EventKind::Rejected(rejection.clone()));
        rejection
    }

    #[cold]
    fn tell_all(&self, stamp: u64, kind: EventKind) {
        let audience = self.lock();
        let (Some(origin), true) = (audience.origin, stamp >= audience.since) else {
            return;
        };
        let (observer, subscribers) = (audience.observer.clone(), audience.subscribers.clone());
        drop(audience);
        let event = Event { origin, kind };
        if let Some(observer) = observer {
            // An observer is a guest: whatever it does, the call goes on.
            let _ = catch_unwind(AssertUnwindSafe(|| observer.observe(&event)));
        }
        if let Some(subscribers) = subscribers {
            // Fails only when nobody is subscribed any more.
            let _ = subscribers.send(event);
        }
    }

    pub(crate) fn subscribe(&self) -> Events {
        let receiver = self
            .lock()
            .subscribers
            .get_or_insert_with(|| broadcast::channel(BACKLOG).0)
            .subscribe();
        self.any.store(true, Ordering::Relaxed);
        Events {
            receiver,
            missed: 0,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Audience> {
        self.audience.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A subscription to the events of one layer.
///
/// It keeps the newest 256 events for a reader that is behind; what was lost beyond that is counted
/// by [`missed`](Events::missed). A slow reader never holds up a call.
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<Event>,
    missed: u64,
}

impl Events {
    /// The next event; `None` when the layer and all its services are gone.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no event.
    pub async fn recv(&mut self) -> Option<Event> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    self.missed = self.missed.saturating_add(missed);
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// The next event, if there is one now.
    pub fn try_recv(&mut self) -> Option<Event> {
        loop {
            match self.receiver.try_recv() {
                Ok(event) => return Some(event),
                Err(broadcast::error::TryRecvError::Lagged(missed)) => {
                    self.missed = self.missed.saturating_add(missed);
                }
                Err(_) => return None,
            }
        }
    }

    /// How many events this subscription was too slow for.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }
}
