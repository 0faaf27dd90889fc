//! The builder of a shutdown.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::Shutdown;
use super::state::State;
use crate::registry::Registry;

/// The default drain time.
pub(super) const DRAIN: Duration = Duration::from_secs(5);
/// The default time for calls in flight.
pub(super) const GRACE: Duration = Duration::from_secs(20);

/// Builds a [`Shutdown`]: its times, and the signal or future that begins it.
///
/// Any duration is valid: a very long one is no limit.
#[derive(Debug)]
#[must_use = "a builder does nothing until it says what begins the shutdown"]
pub struct ShutdownBuilder {
    drain: Duration,
    grace: Duration,
    registry: Registry,
}

impl ShutdownBuilder {
    pub(super) fn new() -> Self {
        Self {
            drain: DRAIN,
            grace: GRACE,
            registry: Registry::global().clone(),
        }
    }

    /// Sets the time in which the program is not ready but still serves new calls. Default 5
    /// seconds.
    ///
    /// It must be longer than the time after which callers stop sending. In Kubernetes this is the
    /// time in which all nodes and load balancers learn that the pod is terminating, usually one to a
    /// few seconds. A load balancer that only polls readiness needs its interval, times its failure
    /// threshold. Set zero if nothing routes calls to the program.
    pub fn drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// Sets the longest time for calls in flight and event streams to end, after the drain time.
    /// Default 20 seconds, because Kubernetes and AWS ECS kill a process 30 seconds after SIGTERM by
    /// default: with the drain time this leaves a margin of 5 seconds. `docker stop` waits for 10
    /// seconds by default.
    ///
    /// It should be longer than the slowest request. If you raise it, also raise
    /// `terminationGracePeriodSeconds` (Kubernetes) or `stopTimeout` (ECS).
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Sets the registry whose server stacks have the calls in flight. Default the
    /// [process-wide one](Registry::global).
    pub fn registry(mut self, registry: &Registry) -> Self {
        self.registry = registry.clone();
        self
    }

    /// SIGTERM or Ctrl-C begins the shutdown, and a second one ends its waits. On Windows: Ctrl-C, or
    /// the end of the system.
    ///
    /// From now on these signals do not end the process by themselves. So await the shutdown's
    /// [`run`](Shutdown::run) or [`closing`](Shutdown::closing), and return from `main` afterwards.
    ///
    /// # Errors
    ///
    /// When the system refuses the signal handler.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, or in one without `enable_io`.
    #[cfg(all(feature = "signal", any(unix, windows)))]
    pub fn on_signal(self) -> std::io::Result<Shutdown> {
        let mut signals = super::signals::Signals::new()?;
        let shutdown = self.manual();
        shutdown.state.spawn(async move |state| {
            loop {
                signals.recv().await;
                let state = state.upgrade();
                if !state.is_some_and(|state| state.signal()) {
                    return;
                }
            }
        });
        Ok(shutdown)
    }

    /// The shutdown begins when the future ends, whatever its output.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn on<F>(self, trigger: F) -> Shutdown
    where
        F: Future + Send + 'static,
    {
        let shutdown = self.manual();
        shutdown.state.spawn(async move |state| {
            trigger.await;
            if let Some(state) = state.upgrade() {
                state.begin();
            }
        });
        shutdown
    }

    /// The shutdown begins with [`begin`](Shutdown::begin).
    #[must_use]
    pub fn manual(self) -> Shutdown {
        let state = State::new(self.drain, self.grace, self.registry);
        Shutdown {
            state: Arc::new(state),
        }
    }
}
