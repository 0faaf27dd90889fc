//! A server that is given more than its workers can do, over real sockets: what it cannot do is shed, and what it can do is done in time.
#![cfg(feature = "axum")]

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use mainstay::http::{self, ServerStack};
use mainstay::{Event, EventKind};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

const WORK: Duration = Duration::from_millis(2);

/// Work in one piece, as a handler does it that parses or renders.
fn work(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        std::hint::spin_loop();
    }
}

/// One at a time: each of these tests needs a processor for its server and one for its callers.
static ALONE: Mutex<()> = Mutex::new(());

/// Whether other processes take so much of the machine that nothing can be said of this one.
fn is_machine_busy() -> bool {
    let began = Instant::now();
    for _ in 0..50 {
        thread::sleep(Duration::from_millis(4));
    }
    let burnt = thread::spawn(|| work_done(Duration::from_millis(200)));
    let other = work_done(Duration::from_millis(200));
    let (most, least) = (burnt.join().unwrap().max(other), other);
    began.elapsed() > Duration::from_millis(500) || least * 3 < most * 2
}

/// How often a loop turns in this time.
fn work_done(time: Duration) -> u64 {
    let until = Instant::now() + time;
    let mut turns = 0;
    while Instant::now() < until {
        turns += 1;
    }
    turns
}

/// Tries three times what a busy machine may let fail, and says nothing where it is.
fn try_alone(test: impl Fn() -> Result<(), String>) {
    let _alone = ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut last = Ok(());
    for _ in 0..3 {
        last = test();
        if last.is_ok() {
            return;
        }
    }
    if is_machine_busy() {
        eprintln!("the machine is busy with something else: {last:?}");
        return;
    }
    last.unwrap();
}

/// A limit before and after.
type Change = (Option<u32>, Option<u32>);

/// Serves in a runtime of its own until it is dropped.
struct Served {
    address: SocketAddr,
    stack: ServerStack,
    /// The changes of its limit.
    changes: Arc<Mutex<Vec<Change>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Served {
    fn by(runtime: impl Fn() -> Runtime + Send + 'static) -> Self {
        let changes = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&changes);
        let stack = http::server("api").observer(move |event: &Event| {
            if let EventKind::LimitChanged { from, to, .. } = event.kind() {
                noted.lock().unwrap().push((*from, *to));
            }
        });
        let stack = stack.build().unwrap();
        let app = Router::new()
            .route("/work", get(async || work(WORK)))
            .route(
                "/pieces",
                get(async || {
                    work(WORK / 2);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    work(WORK / 2);
                }),
            )
            .route(
                "/wait",
                get(async || tokio::time::sleep(Duration::from_secs(1)).await),
            )
            .layer(stack.clone());
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            runtime().block_on(async move {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                // In a task of a worker, as any server's.
                let served = tokio::spawn(async move { axum::serve(listener, app).await });
                let _ = stopped.await;
                served.abort();
            });
        });
        Self {
            address: told.recv().unwrap(),
            stack,
            changes,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    fn shed(&self) -> u64 {
        self.stack.load_shed().snapshot().rejections.total()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn one_worker() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().unwrap()
}

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    current_thread().block_on(future)
}

/// So many calls a second for so long, by callers who give up after a second; how many came back in time in each second, and the median of
/// how long those took.
async fn call(served: &Served, path: &str, rate: u32, time: Duration) -> (Vec<u32>, Duration) {
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(1))
        .pool_max_idle_per_host(64)
        .build()
        .unwrap();
    let url = format!("http://{}{path}", served.address);
    let seconds = time.as_secs() as usize;
    let answered: Arc<Vec<AtomicU32>> =
        Arc::new((0..=seconds).map(|_| AtomicU32::new(0)).collect());
    let took = Arc::new(Mutex::new(Vec::new()));
    let began = Instant::now();
    let mut sent = 0;
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    while began.elapsed() < time {
        ticks.tick().await;
        let due = (began.elapsed().as_secs_f64() * f64::from(rate)) as u32;
        // What the caller itself is late by is not made up for.
        for _ in 0..(due - sent).min(rate / 10) {
            let call = client.get(&url).send();
            let (answered, took) = (Arc::clone(&answered), Arc::clone(&took));
            tokio::spawn(async move {
                let since = Instant::now();
                if let Ok(response) = call.await
                    && response.status() == 200
                    && let Some(second) = answered.get(began.elapsed().as_secs() as usize)
                {
                    second.fetch_add(1, Ordering::Relaxed);
                    took.lock().unwrap().push(since.elapsed());
                }
            });
        }
        sent = due;
    }
    let mut took = std::mem::take(&mut *took.lock().unwrap());
    took.sort();
    let answered = answered[..seconds].iter();
    let answered = answered.map(|second| second.load(Ordering::Relaxed));
    let median = took.get(took.len() / 2).copied();
    (answered.collect(), median.unwrap_or_default())
}

/// How many calls a second it can do, by callers of which each waits for its answer.
async fn capacity(served: &Served, path: &str) -> u32 {
    let client = reqwest::Client::new();
    let url = format!("http://{}{path}", served.address);
    let until = Instant::now() + Duration::from_secs(1);
    let callers = (0..3).map(|_| {
        let (client, url) = (client.clone(), url.clone());
        tokio::spawn(async move {
            let mut calls = 0;
            while Instant::now() < until {
                let response = client.get(&url).send().await.unwrap();
                calls += u32::from(response.status() == 200);
            }
            calls
        })
    });
    let mut calls = 0;
    for caller in callers.collect::<Vec<_>>() {
        calls += caller.await.unwrap();
    }
    calls
}

fn three_times_the_capacity(runtime: fn() -> Runtime, path: &'static str) -> Result<(), String> {
    let served = Served::by(runtime);
    let (answered, median, capacity) = block_on(async {
        let before = capacity(&served, path).await;
        let time = Duration::from_secs(6);
        let (answered, median) = call(&served, path, before * 3, time).await;
        // It is lifted when the overload is over.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        // Other processes may have had more of the machine meanwhile, or less.
        let after = capacity(&served, path).await;
        (answered, median, before.min(after))
    });
    // The first seconds find it out.
    let goodput = answered[3..].iter().sum::<u32>() / 3;
    let changes = served.changes.lock().unwrap();
    let said = format!(
        "{path}: {goodput} of {capacity} a second, median {median:?}, {answered:?}, {changes:?}\n{}",
        served.stack.snapshot()
    );
    println!("{said}");
    let is_shed = served.shed() > u64::from(capacity);
    let is_told = matches!(changes[..], [(None, Some(_)), ..])
        && changes.last().is_some_and(|(_, to)| to.is_none());
    if is_shed && is_told && goodput > capacity / 2 {
        Ok(())
    } else {
        Err(said)
    }
}

#[test]
fn three_times_the_capacity_is_shed_where_work_is_in_one_piece() {
    try_alone(|| three_times_the_capacity(one_worker, "/work"));
}

#[test]
fn three_times_the_capacity_is_shed_where_work_is_in_two_pieces() {
    try_alone(|| three_times_the_capacity(current_thread, "/pieces"));
}

#[test]
fn slow_calls_and_little_work_are_no_overload() {
    try_alone(|| {
        let served = Served::by(one_worker);
        block_on(async {
            let slow = call(&served, "/wait", 200, Duration::from_secs(3));
            let work = call(&served, "/work", 50, Duration::from_secs(3));
            let _ = tokio::join!(slow, work);
        });
        if served.shed() == 0 && served.stack.load_shed().limit().is_none() {
            return Ok(());
        }
        Err(served.stack.snapshot().to_string())
    });
}
