//! How late ready tasks run: one ticker for each tokio runtime in which a limit needs to know.
//!
//! A task wakes every 10 ms, takes one turn of the run queue, and compares the time with the one at which it should have run. What it
//! sees is what every ready task sees: all workers are busy, or nobody looks at timers and sockets. One worker that is blocked while
//! others are idle is not seen, as the others steal its tasks; unless it was the one to wait for timers, and then nothing else is
//! woken either.
//!
//! The ticker begins with the first call that needs it, and ends with the last instance that does. It keeps no runtime alive. A test clock,
//! paused or moved, has none: it would have to be advanced in steps of 10 ms. Nor has a thread outside of tokio, nor a
//! runtime without a time driver.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::{Handle, Id};
use tokio::time::Instant;

use super::{Moment, Timer};
use crate::runtime::isolate::isolate;

const PERIOD: Duration = Duration::from_millis(10);
/// Timers count in whole milliseconds and round up.
const GRAIN: Duration = Duration::from_millis(1);
/// An instance that had no call for so long, and no limit, is not told any more.
const IDLE: Duration = Duration::from_secs(10);

/// What a ticker saw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lag {
    /// A number for the runtime.
    pub(crate) runtime: u64,
    pub(crate) workers: u32,
    /// How much later than it should it ran.
    pub(crate) lag: Duration,
    pub(crate) now: Moment,
}

/// Whether an instance still needs to know of the lag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// It has a limit, which must be lifted some time.
    Always,
    /// As long as it is called.
    WhileCalled,
}

/// An instance that needs to know of the lag.
pub(crate) trait Watches: Send + Sync {
    /// Takes a sample.
    fn lag(&self, lag: &Lag) -> Need;

    /// The runtime has no ticker any more, or does not call it.
    fn unwatched(&self, runtime: u64);
}

/// Called now and then by an instance that is called in the runtime of this thread. The ticker does not keep it.
pub(crate) fn watch(watcher: &Weak<impl Watches + 'static>) {
    let Ok(handle) = Handle::try_current() else {
        return;
    };
    let id = handle.id();
    let mut tickers = tickers();
    if let Some(ticker) = tickers.iter().find(|ticker| ticker.id == id) {
        if !ticker.is_idle.load(Ordering::Relaxed) {
            ticker.add(watcher.clone());
        }
        return;
    }
    if !is_real_time() {
        return;
    }
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let ticker = Arc::new(Ticker {
        id,
        runtime: NUMBER.fetch_add(1, Ordering::Relaxed),
        watched: Mutex::default(),
        is_idle: AtomicBool::new(false),
    });
    ticker.add(watcher.clone());
    tickers.push(Arc::clone(&ticker));
    drop(tickers);
    // If the runtime is being shut down, it is dropped at once.
    let workers = handle.metrics().num_workers();
    let running = Running {
        ticker,
        workers: u32::try_from(workers).unwrap_or(u32::MAX),
        ended: false,
    };
    drop(handle.spawn(running.run()));
}

/// Whether this thread's clock is the system's: not paused, and never was.
fn is_real_time() -> bool {
    let before = std::time::Instant::now();
    let now = Instant::now().into_std();
    (before..=std::time::Instant::now()).contains(&now)
}

/// All that there are in this process.
static TICKERS: Mutex<Vec<Arc<Ticker>>> = Mutex::new(Vec::new());

fn tickers() -> MutexGuard<'static, Vec<Arc<Ticker>>> {
    TICKERS.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Ticker {
    id: Id,
    runtime: u64,
    /// By address: there may be many. An address is not used again while there is a weak reference to it.
    watched: Mutex<HashMap<usize, Watched>>,
    /// Its runtime has no time driver: it watches for nobody.
    is_idle: AtomicBool,
}

#[derive(Clone)]
struct Watched {
    watcher: Weak<dyn Watches>,
    /// When it was last called, as far as it said.
    called: Moment,
}

impl Watched {
    fn key(&self) -> usize {
        self.watcher.as_ptr().addr()
    }
}

impl Ticker {
    fn lock(&self) -> MutexGuard<'_, HashMap<usize, Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, watcher: Weak<dyn Watches>) {
        let watched = Watched {
            watcher,
            called: Moment::now(),
        };
        self.lock().insert(watched.key(), watched);
    }

    fn remove(&self, gone: &Watched) {
        let mut watched = self.lock();
        // Unless it was called again meanwhile.
        if watched
            .get(&gone.key())
            .is_some_and(|of| of.called == gone.called)
        {
            watched.remove(&gone.key());
        }
    }
}

/// The task of a ticker.
struct Running {
    ticker: Arc<Ticker>,
    workers: u32,
    /// It ended by itself, and is in the list no more, or for ever.
    ended: bool,
}

impl Running {
    async fn run(mut self) {
        // Used again and again: nothing is allocated for a tick.
        let mut watched: Vec<Watched> = Vec::new();
        loop {
            let due = Moment::now().after(PERIOD);
            // There is no other way to ask whether a runtime has a time driver.
            let Some(timer) = isolate(|| Timer::at(due)) else {
                // It stays in the list, so that nobody tries again.
                self.ticker.is_idle.store(true, Ordering::Relaxed);
                drop(std::mem::take(&mut *self.ticker.lock()));
                self.ended = true;
                return;
            };
            timer.await;
            queue_up().await;
            if !is_real_time() {
                return;
            }
            let now = Moment::now();
            let lag = Lag {
                runtime: self.ticker.runtime,
                workers: self.workers,
                lag: now.since(due).saturating_sub(GRAIN),
                now,
            };
            watched.clear();
            watched.extend(self.ticker.lock().values().cloned());
            for of in &watched {
                self.tell(of, &lag);
            }
            if self.is_unneeded() {
                return;
            }
        }
    }

    fn tell(&self, of: &Watched, lag: &Lag) {
        let Some(watcher) = of.watcher.upgrade() else {
            return self.ticker.remove(of);
        };
        let is_idle = match watcher.lag(lag) {
            Need::Always => false,
            Need::WhileCalled => lag.now.since(of.called) >= IDLE,
        };
        if is_idle {
            self.ticker.remove(of);
            watcher.unwatched(lag.runtime);
        }
    }

    /// Ends if there is nobody left to be told. Whoever comes now gets a new ticker.
    fn is_unneeded(&mut self) -> bool {
        let mut tickers = tickers();
        if self.ticker.lock().is_empty() {
            self.leave(&mut tickers);
            self.ended = true;
        }
        self.ended
    }

    fn leave(&self, tickers: &mut Vec<Arc<Ticker>>) {
        tickers.retain(|ticker| !Arc::ptr_eq(ticker, &self.ticker));
    }
}

impl Drop for Running {
    /// Also when the runtime is shut down.
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        self.leave(&mut tickers());
        let watched = std::mem::take(&mut *self.ticker.lock());
        for of in watched.into_values() {
            if let Some(watcher) = of.watcher.upgrade() {
                watcher.unwatched(self.ticker.runtime);
            }
        }
    }
}

/// Goes to the end of the run queue. A timer's task may run before all others that are ready.
async fn queue_up() {
    let mut queued = false;
    poll_fn(|cx| {
        if queued {
            return Poll::Ready(());
        }
        queued = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
