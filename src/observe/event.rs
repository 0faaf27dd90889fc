//! Events, observers and subscriptions. None of them can influence a layer.

use std::fmt;
use std::io;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::broadcast;

use crate::observe::snapshot::ShownLimit;
use crate::policy::breaker::Transition;
use crate::policy::retry::{RetryCause, RetryRefused};
use crate::runtime::isolate::isolate;
use crate::vocabulary::name::InstanceName;
use crate::vocabulary::settings::Changes;
use crate::vocabulary::{outcome::Outcome, reason::Reason, rejection::Rejection};

/// A decision or an observation of a layer.
#[derive(Debug, Clone)]
pub struct Event {
    instance: InstanceName,
    kind: EventKind,
}

/// The content of an [`Event`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum EventKind {
    /// A call was rejected.
    Rejected(Rejection),
    /// A layer in [shadow mode](crate::Mode::Shadow) admitted a call that it would have rejected with
    /// this rejection. The outcome follows in [`Settled`](Self::Settled).
    WouldReject(Rejection),
    /// A call ended.
    #[non_exhaustive]
    Settled {
        /// The outcome.
        outcome: Outcome,
        /// Time up to the head of the response, if the layer measures it and the call was pending.
        latency: Option<Duration>,
        /// Whether the call, failed or not, exceeds a circuit breaker's
        /// [threshold for slow calls](crate::circuit_breaker::CircuitBreakerBuilder::slow_calls).
        /// `false` without a threshold.
        slow: bool,
    },
    /// A circuit breaker changed its state.
    Transition(Transition),
    /// An attempt failed, and another one follows.
    #[non_exhaustive]
    Retrying {
        /// The number of the next attempt: 2 for the first retry.
        attempt: u32,
        /// The back-off before it.
        delay: Duration,
        /// Why the last attempt is retried.
        cause: RetryCause,
    },
    /// A retry was refused.
    RetryRefused(RetryRefused),
    /// The caller gave up a call that waited in a queue: it is neither
    /// [rejected](Self::Rejected) nor [settled](Self::Settled). From a retry layer: the caller gave
    /// up during the back-off of an [announced](Self::Retrying) retry.
    #[non_exhaustive]
    GivenUp {
        /// Time waited.
        waited: Duration,
    },
    /// The settings of the instance changed.
    SettingsChanged(Changes),
    /// An adaptive limit changed.
    #[non_exhaustive]
    LimitChanged {
        /// The old limit of calls in flight; `None` for no limit.
        from: Option<u32>,
        /// The new limit of calls in flight; `None` for no limit.
        to: Option<u32>,
    },
    /// The instance of a [key](Event::key) was dropped in favour of another key, although its
    /// state meant something: its circuit was open, say. That happens only if there are as many
    /// keys as the layer [allows](crate::keyed), and no key was found whose state meant nothing.
    Evicted,
}

impl Event {
    pub(crate) const fn new(instance: InstanceName, kind: EventKind) -> Self {
        Self { instance, kind }
    }

    /// The kind of layer: `circuit_breaker`, `bulkhead`, ...
    #[must_use]
    pub fn layer(&self) -> &'static str {
        self.instance.layer()
    }

    /// The name of the instance.
    #[must_use]
    pub fn name(&self) -> &str {
        self.instance.name()
    }

    /// The key of the instance, if the layer has an instance for each key: see
    /// [`Rejection::key`].
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.instance.key()
    }

    /// The content.
    #[must_use]
    pub fn kind(&self) -> &EventKind {
        &self.kind
    }
}

/// One line for people, such as `bulkhead stock: rejected (full)` or
/// `circuit_breaker payments: closed -> open (failure_rate: 11 of 20 failed, 0 slow)`. Programs
/// read the [kind](Event::kind).
///
/// ```
/// use mainstay::{BulkheadLayer, Event};
///
/// let layer = BulkheadLayer::builder().name("stock").observer(|event: &Event| println!("{event}")).build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.layer(), self.name())?;
        if let Some(key) = self.key() {
            write!(f, " [{key}]")?;
        }
        f.write_str(": ")?;
        match &self.kind {
            EventKind::Rejected(rejection) => {
                // The call had begun.
                let verb = match rejection.reason() {
                    Reason::TimedOut => "ended",
                    _ => "rejected",
                };
                write!(f, "{verb} {}", Why(rejection))
            }
            EventKind::WouldReject(rejection) => write!(f, "would reject {}", Why(rejection)),
            EventKind::Settled {
                outcome,
                latency,
                slow,
            } => {
                write!(f, "{outcome}")?;
                if let Some(latency) = latency {
                    write!(f, " after {latency:?}")?;
                }
                f.write_str(if *slow { ", slow" } else { "" })
            }
            EventKind::Transition(Transition {
                from,
                to,
                cause,
                calls,
                failures,
                slow_calls,
                open_for: _,
            }) => write!(
                f,
                "{from} -> {to} ({cause}: {failures} of {calls} failed, {slow_calls} slow)"
            ),
            EventKind::Retrying {
                attempt,
                delay,
                cause,
            } => write!(f, "attempt {attempt} in {delay:?} ({})", cause.as_str()),
            EventKind::RetryRefused(why) => write!(f, "not retried ({})", why.as_str()),
            EventKind::GivenUp { waited } => write!(f, "given up after {waited:?}"),
            EventKind::SettingsChanged(changes) => write!(f, "settings changed ({changes})"),
            EventKind::LimitChanged { from, to } => {
                let (from, to) = (ShownLimit(*from), ShownLimit(*to));
                write!(f, "limit {from} -> {to}")
            }
            EventKind::Evicted => f.write_str("dropped to make room for another key"),
        }
    }
}

/// `(circuit_open, retry after 4.7s)`
struct Why<'a>(&'a Rejection);

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}", self.0.reason())?;
        if let Some(priority) = self.0.priority().if_set() {
            write!(f, ", priority {priority}")?;
        }
        if let Some(after) = self.0.retry_after() {
            write!(f, ", retry after {after:?}")?;
        }
        f.write_str(")")
    }
}

/// Receives the events of a layer. Any `Fn(&Event)` is an observer.
///
/// It runs in the task of the request, outside of all locks, and delays the request. Code that may
/// block uses [`Events::listen`] instead. A panic in it is caught.
pub trait Observer: Send + Sync {
    /// Receives an event.
    fn observe(&self, event: &Event);
}

impl<F: Fn(&Event) + Send + Sync> Observer for F {
    fn observe(&self, event: &Event) {
        self(event);
    }
}

/// A subscription to the events of one layer, or of all instances of a
/// [`Registry`](crate::registry::Registry::events).
///
/// It stores the newest 256 events for a slow reader (of a registry, 1024), and counts
/// the lost ones ([`missed`](Events::missed)). A slow reader never delays a call.
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<Event>,
    missed: u64,
    filter: Filter,
}

/// Which events a subscription returns. A panic in it counts as no.
struct Filter(Vec<Box<FilterFn>>);

type FilterFn = dyn Fn(&Event) -> bool + Send + Sync;

impl Filter {
    fn passes(&self, event: &Event) -> bool {
        let mut all = self.0.iter();
        all.all(|passes| isolate(|| passes(event)) == Some(true))
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} filters", self.0.len())
    }
}

impl Events {
    pub(crate) const fn new(receiver: broadcast::Receiver<Event>) -> Self {
        Self {
            receiver,
            missed: 0,
            filter: Filter(Vec::new()),
        }
    }

    /// Returns only events for which the closure returns `true`. Default all. Several filters must
    /// all return `true`.
    ///
    /// It runs where events are read, not within calls. [`missed`](Self::missed) counts all lost
    /// events.
    #[must_use]
    pub fn filter(mut self, filter: impl Fn(&Event) -> bool + Send + Sync + 'static) -> Self {
        self.filter.0.push(Box::new(filter));
        self
    }

    /// Waits for the next event; `None` when the layer and all its services are dropped. The
    /// subscription of a registry ends when the registry and all its instances are dropped.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no event.
    pub async fn recv(&mut self) -> Option<Event> {
        loop {
            match self.receiver.recv().await {
                Ok(event) if self.filter.passes(&event) => return Some(event),
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    self.missed = self.missed.saturating_add(missed);
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// The next event, if there is one.
    pub fn try_recv(&mut self) -> Option<Event> {
        loop {
            match self.receiver.try_recv() {
                Ok(event) if self.filter.passes(&event) => return Some(event),
                Ok(_) => {}
                Err(broadcast::error::TryRecvError::Lagged(missed)) => {
                    self.missed = self.missed.saturating_add(missed);
                }
                Err(_) => return None,
            }
        }
    }

    /// Calls a listener with each event, in a new thread. The listener may block: no call waits for
    /// it.
    ///
    /// The thread ends when the layer and all its services are dropped, and returns the number of
    /// events that the listener missed. A panic in the listener is caught; it still receives the
    /// next event.
    ///
    /// ```
    /// use mainstay::CircuitBreakerLayer;
    ///
    /// let layer = CircuitBreakerLayer::new();
    /// let listening = layer.handle().events().listen(|event| println!("{}: {:?}", event.name(), event.kind()))?;
    ///
    /// layer.handle().force_open();
    /// drop(layer);
    /// assert_eq!(listening.join().unwrap(), 0);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When the system cannot start a thread.
    pub fn listen(
        mut self,
        mut listener: impl FnMut(&Event) + Send + 'static,
    ) -> io::Result<JoinHandle<u64>> {
        let listen = move || {
            loop {
                match self.receiver.blocking_recv() {
                    Ok(event) if self.filter.passes(&event) => {
                        isolate(|| listener(&event));
                    }
                    Ok(_) => {}
                    Err(broadcast::error::RecvError::Lagged(missed)) => {
                        self.missed = self.missed.saturating_add(missed)
                    }
                    Err(broadcast::error::RecvError::Closed) => return self.missed,
                }
            }
        };
        let name = "mainstay-events".to_owned();
        thread::Builder::new().name(name).spawn(listen)
    }

    /// Number of events that were lost because the reader was too slow.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }
}
