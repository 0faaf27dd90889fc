//! What the layers tell: facts, to whoever listens. Nobody here can steer a layer.

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
use crate::vocabulary::{outcome::Outcome, reason::Reason, rejection::Rejection};

/// Something a layer decided or saw.
#[derive(Debug, Clone)]
pub struct Event {
    instance: InstanceName,
    kind: EventKind,
}

/// What was decided or seen.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum EventKind {
    /// A call was rejected.
    Rejected(Rejection),
    /// A circuit breaker in [shadow mode](crate::Mode::Shadow) admitted a call that it would have rejected; the rejection
    /// is the one that the caller would have got. The call's own outcome follows in [`Settled`](Self::Settled).
    WouldReject(Rejection),
    /// A call ended. `latency` is there where the layer takes the time of its calls, and the call had to wait.
    Settled {
        /// How it went.
        outcome: Outcome,
        /// From the call to the head of its response.
        latency: Option<Duration>,
        /// Whether a circuit breaker with a [threshold for slow calls](crate::circuit_breaker::CircuitBreakerBuilder::slow_calls) takes it for slow,
        /// failed or not. Never, where there is no threshold.
        slow: bool,
    },
    /// A circuit breaker changed its state.
    Transition(Transition),
    /// An attempt failed and another one follows.
    Retrying {
        /// The number of the attempt that will follow: 2 for the first retry.
        attempt: u32,
        /// How long it waits before that.
        delay: Duration,
        /// What the last attempt came to.
        cause: RetryCause,
    },
    /// A retry was called for, but something forbade it.
    RetryRefused(RetryRefused),
    /// A call was given up by its caller before it was admitted, while it waited in a bulkhead's queue: it is neither [rejected](Self::Rejected)
    /// nor [settled](Self::Settled). From a retry layer: a retry that was [announced](Self::Retrying) was given up during its back-off.
    GivenUp {
        /// How long it had waited.
        waited: Duration,
    },
    /// An adaptive limit changed.
    LimitChanged {
        /// Calls in flight that it admitted until now; `None`: there was no limit.
        from: Option<u32>,
        /// Calls in flight that it admits from now on; `None`: there is no limit.
        to: Option<u32>,
    },
}

impl Event {
    pub(crate) const fn new(instance: InstanceName, kind: EventKind) -> Self {
        Self { instance, kind }
    }

    /// Which kind of layer: `circuit_breaker`, `bulkhead`, ...
    #[must_use]
    pub fn layer(&self) -> &'static str {
        self.instance.layer()
    }

    /// The name of the instance.
    #[must_use]
    pub fn name(&self) -> &str {
        self.instance.name()
    }

    /// What was decided or seen.
    #[must_use]
    pub fn kind(&self) -> &EventKind {
        &self.kind
    }
}

/// One line for people: `circuit_breaker payments: closed -> open (failure_rate: 11 of 20 failed, 0 slow)`, `bulkhead stock: rejected (full)`. Programs read the
/// [kind](Event::kind).
///
/// ```
/// use mainstay::{BulkheadLayer, Event};
///
/// let layer = BulkheadLayer::builder().name("stock").observer(|event: &Event| println!("{event}")).build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.layer(), self.name())?;
        match &self.kind {
            EventKind::Rejected(rejection) => {
                // It had begun.
                let what = match rejection.reason() {
                    Reason::TimedOut => "ended",
                    _ => "rejected",
                };
                write!(f, "{what} {}", Why(rejection))
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
            EventKind::LimitChanged { from, to } => {
                let (from, to) = (ShownLimit(*from), ShownLimit(*to));
                write!(f, "limit {from} -> {to}")
            }
        }
    }
}

/// `(circuit_open, retry after 4.7s)`
struct Why<'a>(&'a Rejection);

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}", self.0.reason())?;
        if let Some(after) = self.0.retry_after() {
            write!(f, ", retry after {after:?}")?;
        }
        f.write_str(")")
    }
}

/// Someone a layer tells what it decides.
///
/// Called in the task of the request, outside of every lock; a panic in it is caught and harms
/// nothing. What it takes in time, the request takes longer: for what may block, there is [`Events::listen`]. Any `Fn(&Event)` is one.
pub trait Observer: Send + Sync {
    /// Something was decided or seen.
    fn observe(&self, event: &Event);
}

impl<F: Fn(&Event) + Send + Sync> Observer for F {
    fn observe(&self, event: &Event) {
        self(event);
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
    pub(crate) const fn new(receiver: broadcast::Receiver<Event>) -> Self {
        Self {
            receiver,
            missed: 0,
        }
    }

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

    /// Calls a listener with each event, in a thread of its own, where it may take its time: it may block, and no call waits for it. It ends, with the number of events that it
    /// was too slow for, when the layer and all its services are gone. A panic in the listener is caught, and the next event is told all the same.
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
    /// When the system has no thread for it.
    pub fn listen(
        mut self,
        mut listener: impl FnMut(&Event) + Send + 'static,
    ) -> io::Result<JoinHandle<u64>> {
        let listen = move || {
            loop {
                match self.receiver.blocking_recv() {
                    Ok(event) => {
                        isolate(|| listener(&event));
                    }
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

    /// How many events this subscription was too slow for.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }
}
