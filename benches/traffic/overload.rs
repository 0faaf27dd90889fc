//! A server with one core that is asked for three times what it can do, by callers who give up after a second.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use axum::routing::get;
use axum::{Router, serve};
use futures::future::join_all;
use mainstay::{BoxError, http};
use reqwest::{Client, StatusCode};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::time::{Instant, interval, sleep, timeout};

/// How long a handler computes.
const WORK: Duration = Duration::from_millis(2);
const WAIT: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(1);
const TIMES: f64 = 3.0;
/// Overload has to be found first: how long it lasts before answers count.
const FOUND: Duration = Duration::from_secs(4);

/// How a server did.
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    /// Answers a second that came in time.
    pub(crate) goodput: f64,
    /// The same as a part of the capacity.
    pub(crate) of_capacity: f64,
    /// The median time of those answers.
    pub(crate) median: Duration,
    pub(crate) capacity: f64,
}

pub(crate) fn run(run_for: Duration) -> Result<Vec<Measured>, BoxError> {
    let rounds = calibrate();
    let router = move || Router::new().route("/", get(async move || work(rounds)));
    // The same work around a wait, as for a database.
    let waiting = Router::new().route(
        "/",
        get(async move || {
            work(rounds / 2);
            sleep(WAIT).await;
            work(rounds / 2);
        }),
    );
    let cases: [(&'static str, Router); 4] = [
        ("nothing", router()),
        (
            "a bulkhead of 256 alone",
            router().layer(
                http::server("fixed")
                    .without_load_shed()
                    .bulkhead(256)
                    .build()?,
            ),
        ),
        (
            "http::server, nothing set",
            router().layer(http::server("default").build()?),
        ),
        (
            "the same, handlers that wait",
            waiting.layer(http::server("waiting").build()?),
        ),
    ];
    let callers = Builder::new_current_thread().enable_all().build()?;
    let mut measured = Vec::new();
    for (name, router) in cases {
        let address = serve_alone(router)?;
        measured.push(callers.block_on(async {
            let capacity = capacity(address, run_for / 4).await;
            let (goodput, median) = flood(address, capacity * TIMES, run_for).await;
            Measured {
                name,
                goodput,
                of_capacity: goodput / capacity,
                median,
                capacity,
            }
        }));
    }
    Ok(measured)
}

fn work(rounds: u64) {
    for round in 0..rounds {
        black_box(round.wrapping_mul(0x9e37_79b9));
    }
}

/// How many rounds take so long, counted when nothing else runs: the work stays the same when the processor is shared.
fn calibrate() -> u64 {
    const ROUNDS: u64 = 20_000_000;
    let best = (0..3).map(|_| {
        let begun = std::time::Instant::now();
        work(ROUNDS);
        begun.elapsed()
    });
    let best = best.min().unwrap_or(WORK);
    (ROUNDS as f64 * WORK.div_duration_f64(best)) as u64
}

/// A server in a thread of its own, until the program ends.
fn serve_alone(router: Router) -> Result<SocketAddr, BoxError> {
    let (sender, receiver) = mpsc::channel();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    thread::spawn(move || {
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            // Who asked waits.
            let _ = sender.send(listener.local_addr()?);
            serve(listener, router).await
        })
    });
    Ok(receiver.recv()?)
}

/// How many answers a second a few callers get who always have one call under way: enough of them for handlers that wait.
async fn capacity(address: SocketAddr, run_for: Duration) -> f64 {
    let client = Client::new();
    let until = Instant::now() + run_for;
    let callers = (0..24).map(|_| async {
        let mut answers = 0_u32;
        while Instant::now() < until {
            answers += u32::from(call(&client, address).await);
        }
        answers
    });
    let answers: u32 = join_all(callers).await.into_iter().sum();
    f64::from(answers) / run_for.as_secs_f64()
}

async fn call(client: &Client, address: SocketAddr) -> bool {
    let answer = client.get(format!("http://{address}/")).send().await;
    answer.is_ok_and(|answer| answer.status() == StatusCode::OK)
}

/// So many calls a second, however many are under way. Counts those that begin after overload must have been found.
async fn flood(address: SocketAddr, rate: f64, run_for: Duration) -> (f64, Duration) {
    // A burst each, as ticks are milliseconds.
    const TICK: Duration = Duration::from_millis(5);
    let client = Client::new();
    let answers = Arc::new(AtomicU64::new(0));
    let times = Arc::new(Mutex::new(Vec::new()));
    let begun = Instant::now();
    let mut ticks = interval(TICK);
    let mut sent = 0.0;
    let mut calls = Vec::new();
    while begun.elapsed() < FOUND + run_for {
        ticks.tick().await;
        let counts = begun.elapsed() >= FOUND;
        let due = rate * begun.elapsed().as_secs_f64();
        while sent < due {
            sent += 1.0;
            let (client, answers, times) = (client.clone(), answers.clone(), times.clone());
            calls.push(tokio::spawn(async move {
                let begun = Instant::now();
                if let Ok(true) = timeout(PATIENCE, call(&client, address)).await
                    && counts
                {
                    answers.fetch_add(1, Ordering::Relaxed);
                    let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
                    times.push(begun.elapsed());
                }
            }));
        }
    }
    let time = begun.elapsed() - FOUND;
    join_all(calls).await;
    let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or(PATIENCE);
    (
        answers.load(Ordering::Relaxed) as f64 / time.as_secs_f64(),
        median,
    )
}
