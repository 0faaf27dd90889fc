//! The scheduler lag: how late ready tasks run. One ticker measures it for each tokio runtime.
//!
//! The ticker is a task that wakes every 10 ms, goes once to the end of the run queue, and compares
//! the time with its due time. Every ready task has the same delay: all workers are busy, or no
//! worker polls timers and sockets. One blocked worker among idle ones causes no lag, because the
//! others steal its tasks; unless it was the one that polls timers, and then no other task is woken
//! either.
//!
//! The ticker starts with the first call that needs it, and ends with the last subscriber. It keeps
//! no runtime alive. There is no ticker under a paused or advanced test clock, which would have to
//! advance in steps of 10 ms, outside of tokio, or in a runtime without a time driver.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::{Handle, Id};
use tokio::time::Instant;

use super::{Moment, Timer};
use crate::runtime::isolate::isolate;

const PERIOD: Duration = Duration::from_millis(10);
/// Timers round up to whole milliseconds.
const GRAIN: Duration = Duration::from_millis(1);
/// A subscriber without a limit and without calls for this time is unsubscribed.
const IDLE: Duration = Duration::from_secs(10);

/// A sample of a ticker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lag {
    /// The number of the runtime.
    pub(crate) runtime: u64,
    pub(crate) workers: u32,
    pub(crate) lag: Duration,
    pub(crate) now: Moment,
}

/// Whether a subscriber still needs samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Its limit must be lifted at some time.
    Always,
    /// Only while it is called.
    WhileCalled,
}

/// A subscriber to the lag.
pub(crate) trait LagSubscriber: Send + Sync {
    /// Receives a sample.
    fn lag(&self, lag: &Lag) -> Need;

    /// No more samples come from this runtime.
    fn unsubscribed(&self, runtime: u64);
}

/// The runtime in which an instance last subscribed, and when. An instance that is called again and
/// again renews its subscription once a second, because each renewal takes the locks of all instances.
#[derive(Debug, Default)]
pub(crate) struct Subscribed(Mutex<Option<(Id, Moment)>>);

impl Subscribed {
    /// How long a subscription holds without a renewal: far less than [`IDLE`].
    const HOLDS: Duration = Duration::from_secs(1);

    /// Whether there is nothing to do. Where another thread holds the lock, that thread subscribes,
    /// or a later call does.
    fn is_fresh(&self, id: Id, now: Moment) -> bool {
        match self.0.try_lock() {
            Ok(slot) => slot.is_some_and(|(of, at)| of == id && now.since(at) < Self::HOLDS),
            Err(TryLockError::Poisoned(_)) => false,
            Err(TryLockError::WouldBlock) => true,
        }
    }

    fn renew(&self, id: Id, now: Moment) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = Some((id, now));
    }
}

/// Subscribes to the lag of the current runtime. The subscriber repeats this while it is called.
/// The ticker does not keep it alive.
pub(crate) fn subscribe_to_lag(
    instance: &Weak<impl LagSubscriber + 'static>,
    subscribed: &Subscribed,
    now: Moment,
) {
    let Ok(handle) = Handle::try_current() else {
        return;
    };
    let id = handle.id();
    if !subscribed.is_fresh(id, now) {
        subscribe(instance, subscribed, now, &handle);
    }
}

#[cold]
fn subscribe(
    instance: &Weak<impl LagSubscriber + 'static>,
    subscribed: &Subscribed,
    now: Moment,
    handle: &Handle,
) {
    let id = handle.id();
    let mut tickers = tickers();
    if let Some(ticker) = tickers.iter().find(|ticker| ticker.id == id) {
        if !ticker.is_idle.load(Ordering::Relaxed) {
            ticker.add(instance.clone(), now);
            subscribed.renew(id, now);
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
        subscribers: Mutex::default(),
        is_idle: AtomicBool::new(false),
    });
    ticker.add(instance.clone(), now);
    subscribed.renew(id, now);
    tickers.push(Arc::clone(&ticker));
    drop(tickers);
    // During a shutdown of the runtime, the task is dropped at once.
    let workers = handle.metrics().num_workers();
    let running = Running {
        ticker,
        workers: u32::try_from(workers).unwrap_or(u32::MAX),
        ended: false,
    };
    drop(handle.spawn(running.run()));
}

/// Whether this thread's clock is the system's, never paused or advanced.
fn is_real_time() -> bool {
    let before = std::time::Instant::now();
    let now = Instant::now().into_std();
    (before..=std::time::Instant::now()).contains(&now)
}

/// All tickers of this process.
static TICKERS: Mutex<Vec<Arc<Ticker>>> = Mutex::new(Vec::new());

fn tickers() -> MutexGuard<'static, Vec<Arc<Ticker>>> {
    TICKERS.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Ticker {
    id: Id,
    runtime: u64,
    /// By address, which is not reused while a weak reference exists.
    subscribers: Mutex<HashMap<usize, Subscriber>>,
    /// Its runtime has no time driver, so it takes no samples.
    is_idle: AtomicBool,
}

#[derive(Clone)]
struct Subscriber {
    instance: Weak<dyn LagSubscriber>,
    /// The time of its last subscription.
    called: Moment,
}

impl Subscriber {
    fn key(&self) -> usize {
        self.instance.as_ptr().addr()
    }
}

impl Ticker {
    fn lock(&self) -> MutexGuard<'_, HashMap<usize, Subscriber>> {
        self.subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, instance: Weak<dyn LagSubscriber>, called: Moment) {
        let subscriber = Subscriber { instance, called };
        self.lock().insert(subscriber.key(), subscriber);
    }

    /// Removes a subscriber, unless it has subscribed again meanwhile.
    fn remove(&self, subscriber: &Subscriber) {
        let mut subscribers = self.lock();
        let key = subscriber.key();
        if subscribers
            .get(&key)
            .is_some_and(|current| current.called == subscriber.called)
        {
            subscribers.remove(&key);
        }
    }
}

/// The task of a ticker.
struct Running {
    ticker: Arc<Ticker>,
    workers: u32,
    /// It has ended; its entry in [`TICKERS`] is removed, or stays.
    ended: bool,
}

impl Running {
    async fn run(mut self) {
        // Reused, so that a tick allocates nothing.
        let mut subscribers: Vec<Subscriber> = Vec::new();
        loop {
            let due = Moment::now().after(PERIOD);
            // A timer panics in a runtime without a time driver, and tokio offers no other test.
            let Some(timer) = isolate(|| Timer::at(due)) else {
                // The entry stays in the list, so that no other ticker is started.
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
            subscribers.clear();
            subscribers.extend(self.ticker.lock().values().cloned());
            for subscriber in &subscribers {
                self.notify(subscriber, &lag);
            }
            if self.is_unneeded() {
                return;
            }
        }
    }

    fn notify(&self, subscriber: &Subscriber, lag: &Lag) {
        let Some(instance) = subscriber.instance.upgrade() else {
            return self.ticker.remove(subscriber);
        };
        let is_idle = match instance.lag(lag) {
            Need::Always => false,
            Need::WhileCalled => lag.now.since(subscriber.called) >= IDLE,
        };
        if is_idle {
            self.ticker.remove(subscriber);
            instance.unsubscribed(lag.runtime);
        }
    }

    /// Ends the ticker if it has no subscriber. The next subscriber gets a new one.
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
    /// Also runs when the runtime shuts down.
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        self.leave(&mut tickers());
        let subscribers = std::mem::take(&mut *self.ticker.lock());
        for subscriber in subscribers.into_values() {
            if let Some(instance) = subscriber.instance.upgrade() {
                instance.unsubscribed(self.ticker.runtime);
            }
        }
    }
}

/// Goes to the end of the run queue, because a timer's task may run before all other ready ones.
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
