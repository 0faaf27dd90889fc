use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

/// Wraps a service, and counts what is done with it and with its futures.
///
/// All clones share their counts, so a clone that stays in the test shows what a layer does with
/// the others. The counts balance: `calls` is `completed + dropped + panicked + in_flight` at any
/// time.
///
/// ```
/// use mainstay::{BulkheadLayer, testing::Probe};
/// use tower::{Layer, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let upstream = Probe::new(service_fn(async |n: u32| Ok::<_, std::io::Error>(n + 1)));
/// let service = BulkheadLayer::new(1).layer(upstream.clone());
///
/// assert_eq!(service.oneshot(1).await.unwrap(), 2);
/// assert_eq!((upstream.calls(), upstream.completed()), (1, 1));
/// assert_eq!(upstream.unready_calls(), 0);
/// # }
/// ```
pub struct Probe<S> {
    inner: S,
    shared: Arc<Shared>,
    /// Whether its last `poll_ready` was ready, and no call came since.
    ready: bool,
}

#[derive(Default)]
struct Shared {
    readiness_polls: AtomicU32,
    clones: AtomicU32,
    calls: AtomicU32,
    unready_calls: AtomicU32,
    polls: AtomicU32,
    in_flight: AtomicU32,
    max_in_flight: AtomicU32,
    completed: AtomicU32,
    dropped: AtomicU32,
    panicked: AtomicU32,
    gate: Mutex<Gate>,
}

#[derive(Default)]
struct Gate {
    shut: bool,
    waiting: Vec<Waker>,
}

fn get(count: &AtomicU32) -> u32 {
    count.load(Ordering::SeqCst)
}

fn increment(count: &AtomicU32) -> u32 {
    count.fetch_add(1, Ordering::SeqCst) + 1
}

impl<S> Probe<S> {
    /// Wraps a service.
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            shared: Arc::default(),
            ready: false,
        }
    }

    /// The wrapped service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Makes `poll_ready` of all clones pending, or lets it ask the wrapped service again. At first
    /// it asks.
    ///
    /// A clone that was ready before remains ready for one call.
    pub fn set_ready(&self, ready: bool) {
        let mut gate = self.shared.gate();
        gate.shut = !ready;
        let waiting = if ready {
            mem::take(&mut gate.waiting)
        } else {
            Vec::new()
        };
        drop(gate);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Number of times that `poll_ready` was polled.
    pub fn readiness_polls(&self) -> u32 {
        get(&self.shared.readiness_polls)
    }

    /// Number of calls.
    pub fn calls(&self) -> u32 {
        get(&self.shared.calls)
    }

    /// Number of calls of a service (a clone is one of its own) that no `poll_ready` had found
    /// ready since its last call.
    ///
    /// A caller that does this breaks the contract of [`Service`].
    pub fn unready_calls(&self) -> u32 {
        get(&self.shared.unready_calls)
    }

    /// Number of times that the futures of calls were polled.
    pub fn polls(&self) -> u32 {
        get(&self.shared.polls)
    }

    /// Number of calls whose future neither ended nor was dropped yet.
    pub fn in_flight(&self) -> u32 {
        get(&self.shared.in_flight)
    }

    /// The highest number of calls that were in flight at the same time.
    pub fn max_in_flight(&self) -> u32 {
        get(&self.shared.max_in_flight)
    }

    /// Number of calls whose future resolved, to a response or to an error.
    pub fn completed(&self) -> u32 {
        get(&self.shared.completed)
    }

    /// Number of calls whose future was dropped before it resolved.
    pub fn dropped(&self) -> u32 {
        get(&self.shared.dropped)
    }

    /// Number of calls that panicked, in `call` or in their future.
    pub fn panicked(&self) -> u32 {
        get(&self.shared.panicked)
    }

    /// Number of times that it was cloned, by the test as well as by a layer.
    pub fn clones(&self) -> u32 {
        get(&self.shared.clones)
    }
}

impl Shared {
    fn gate(&self) -> std::sync::MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pending, and woken later, while the gate is shut.
    fn poll_gate(&self, cx: &Context<'_>) -> Poll<()> {
        let waker = cx.waker().clone();
        let mut gate = self.gate();
        if !gate.shut {
            return Poll::Ready(());
        }
        if !gate.waiting.iter().any(|other| other.will_wake(&waker)) {
            gate.waiting.push(waker);
        }
        Poll::Pending
    }
}

impl<S: Clone> Clone for Probe<S> {
    fn clone(&self) -> Self {
        let inner = self.inner.clone();
        increment(&self.shared.clones);
        Self {
            inner,
            shared: Arc::clone(&self.shared),
            ready: false,
        }
    }
}

impl<S: Default> Default for Probe<S> {
    fn default() -> Self {
        Self::new(S::default())
    }
}

impl<S> fmt::Debug for Probe<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe")
            .field("calls", &self.calls())
            .field("in_flight", &self.in_flight())
            .field("completed", &self.completed())
            .field("dropped", &self.dropped())
            .field("panicked", &self.panicked())
            .finish_non_exhaustive()
    }
}

impl<S, Req> Service<Req> for Probe<S>
where
    S: Service<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ProbeFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        increment(&self.shared.readiness_polls);
        self.ready = false;
        ready!(self.shared.poll_gate(cx));
        let ready = ready!(self.inner.poll_ready(cx));
        self.ready = ready.is_ok();
        Poll::Ready(ready)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        increment(&self.shared.calls);
        if !mem::take(&mut self.ready) {
            increment(&self.shared.unready_calls);
        }
        let mut in_flight = InFlight::new(Arc::clone(&self.shared));
        let inner = in_flight.catch(|| self.inner.call(request));
        ProbeFuture { inner, in_flight }
    }
}

pin_project! {
    /// The future of a [`Probe`].
    pub struct ProbeFuture<F> {
        #[pin]
        inner: F,
        // Dropped after the future, so that the call is in flight until then.
        in_flight: InFlight,
    }
}

impl<F: Future> Future for ProbeFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        increment(&this.in_flight.shared.polls);
        let inner = this.inner;
        let output = ready!(this.in_flight.catch(|| inner.poll(cx)));
        this.in_flight.end(|shared| &shared.completed);
        Poll::Ready(output)
    }
}

impl<F> fmt::Debug for ProbeFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProbeFuture").finish_non_exhaustive()
    }
}

/// Counts a call as in flight, and once how it ended.
struct InFlight {
    shared: Arc<Shared>,
    ended: bool,
}

impl InFlight {
    fn new(shared: Arc<Shared>) -> Self {
        let now = increment(&shared.in_flight);
        shared.max_in_flight.fetch_max(now, Ordering::SeqCst);
        Self {
            shared,
            ended: false,
        }
    }

    fn end(&mut self, how: fn(&Shared) -> &AtomicU32) {
        if !mem::replace(&mut self.ended, true) {
            self.shared.in_flight.fetch_sub(1, Ordering::SeqCst);
            increment(how(&self.shared));
        }
    }

    /// Runs something, and has the call end as panicked if that panics.
    fn catch<T>(&mut self, run: impl FnOnce() -> T) -> T {
        struct Unwinding<'a>(&'a mut InFlight);
        impl Drop for Unwinding<'_> {
            fn drop(&mut self) {
                self.0.end(|shared| &shared.panicked);
            }
        }
        let unwinding = Unwinding(self);
        let result = run();
        mem::forget(unwinding);
        result
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.end(|shared| &shared.dropped);
    }
}
