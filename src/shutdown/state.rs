//! The state that clones of a [`Shutdown`](super::Shutdown) share.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::cut::{Cut, InFlight};
use crate::registry::{Instance, Registry, StackHandle};
use crate::runtime::{Moment, Timer};

pub(super) struct State {
    pub(super) drain: Duration,
    pub(super) grace: Duration,
    pub(super) registry: Registry,
    /// Whether it has begun: all that a call reads.
    has_begun: AtomicBool,
    /// Whether a signal has arrived.
    #[cfg(all(feature = "signal", any(unix, windows)))]
    is_signalled: AtomicBool,
    progress: watch::Sender<Progress>,
    /// Number of streams that [`until_closing`](super::Shutdown::until_closing) ends and that are
    /// still there.
    pub(super) streams: AtomicUsize,
    /// The task that waits for a signal. It ends with this state.
    task: OnceLock<AbortHandle>,
}

#[derive(Clone, Copy, Default)]
struct Progress {
    begun: Option<Moment>,
    /// Whether all waits are over.
    is_hurried: bool,
}

impl State {
    pub(super) fn new(drain: Duration, grace: Duration, registry: Registry) -> Self {
        Self {
            drain,
            grace,
            registry,
            has_begun: AtomicBool::new(false),
            #[cfg(all(feature = "signal", any(unix, windows)))]
            is_signalled: AtomicBool::new(false),
            progress: watch::Sender::default(),
            streams: AtomicUsize::new(0),
            task: OnceLock::new(),
        }
    }

    #[inline]
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Relaxed)
    }

    pub(super) fn begin(&self) {
        let is_first = self.progress.send_if_modified(|progress| {
            let is_first = progress.begun.is_none();
            progress.begun.get_or_insert_with(Moment::now);
            self.has_begun.store(true, Ordering::Relaxed);
            is_first
        });
        if is_first {
            log_begun(self);
        }
    }

    /// Begins it if it has not begun, and ends all waits.
    pub(super) fn hurry(&self) {
        self.begin();
        self.progress
            .send_modify(|progress| progress.is_hurried = true);
    }

    /// A signal: the first begins the shutdown if nothing else has, the second ends its waits. Returns
    /// whether there is something left for another one.
    #[cfg(all(feature = "signal", any(unix, windows)))]
    pub(super) fn signal(&self) -> bool {
        let is_second = self.is_signalled.swap(true, Ordering::Relaxed);
        if is_second {
            self.hurry();
        } else {
            self.begin();
        }
        !is_second
    }

    /// Waits until it has begun.
    pub(super) async fn begun(&self) -> Moment {
        let mut progress = self.progress.subscribe();
        let begun = progress.wait_for(|progress| progress.begun.is_some()).await;
        let begun = begun.ok().and_then(|progress| progress.begun);
        // The sender is in this state.
        begun.unwrap_or(Moment::NEVER)
    }

    /// Waits until it began this long ago, or its waits are over.
    pub(super) async fn began(&self, ago: Duration) {
        let at = self.begun().await.after(ago);
        let mut progress = self.progress.subscribe();
        let mut hurried = pin!(progress.wait_for(|progress| progress.is_hurried));
        let mut timer = pin!(Timer::at(at));
        poll_fn(|cx| {
            let is_over =
                hurried.as_mut().poll(cx).is_ready() || timer.as_mut().poll(cx).is_ready();
            if is_over {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    pub(super) async fn closing(&self) {
        self.began(self.drain).await;
    }

    pub(super) async fn end(&self) {
        self.began(self.drain.saturating_add(self.grace)).await;
    }

    /// The calls and streams in flight; `None` if there are none.
    pub(super) fn in_flight(&self) -> Option<Cut> {
        let stacks = self.registry.stacks();
        let servers = stacks.iter().filter(|stack| stack.is_server());
        let cut = Cut {
            stacks: servers.filter_map(calls).collect(),
            streams: self.streams.load(Ordering::Relaxed),
        };
        (!cut.is_empty()).then_some(cut)
    }

    /// Runs a task that ends with this state.
    pub(super) fn spawn<F>(self: &Arc<Self>, task: impl FnOnce(Weak<Self>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let task = tokio::spawn(task(Arc::downgrade(self)));
        // There is one at most.
        let _ = self.task.set(task.abort_handle());
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

/// The calls of a stack that are in flight or in its queue.
fn calls(stack: &StackHandle) -> Option<InFlight> {
    // A bulkhead that is off counts its calls, too.
    let layers = stack.all_instances().map(|layer| match layer {
        Instance::Bulkhead(bulkhead) => bulkhead.in_flight().saturating_add(bulkhead.waiting()),
        Instance::LoadShed(load) => load.in_flight(),
        _ => 0,
    });
    // Either counts all calls, but the load shedder ends with the head of a long response.
    let waiting = stack.all_instances().map(|layer| match layer {
        Instance::RateLimit(limit) => limit.waiting(),
        _ => 0,
    });
    let calls = layers.max().unwrap_or(0).saturating_add(waiting.sum());
    if calls == 0 {
        return None;
    }
    Some(InFlight {
        stack: stack.name().to_owned(),
        calls,
    })
}

#[cfg(feature = "tracing")]
fn log_begun(state: &State) {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    // The `tracing` subscriber is user code.
    crate::runtime::isolate::isolate(|| {
        tracing::info!(
            target: "mainstay::shutdown",
            drain_ms = millis(state.drain),
            grace_ms = millis(state.grace),
            "shutdown begins"
        );
    });
}

#[cfg(not(feature = "tracing"))]
fn log_begun(_: &State) {}
