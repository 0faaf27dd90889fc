//! Callers who ask for more than is fair, or do not care for the answer.

use std::time::Duration;

use reqwest::Client;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, sleep, timeout};

use crate::gateway::{Site, Users};
use crate::users::GetRequest;

/// They go on until they are aborted.
pub(crate) fn start(site: &Site, until: Instant) -> Vec<JoinHandle<()>> {
    let mut callers = vec![
        // A deadline that nothing could meet, and one that is met half of the time.
        deadlines(site, until, "/fast", Some(3), Duration::from_millis(100)),
        deadlines(site, until, "/slow/3", Some(3), Duration::from_millis(50)),
        deadlines(
            site,
            until,
            "/slow/3",
            Some(1_500),
            Duration::from_millis(200),
        ),
        deadlines(
            site,
            until,
            "/slow/5",
            Some(4_000),
            Duration::from_millis(500),
        ),
        // No deadline, but they hang up.
        hang_ups(site, until, "/slow/3", Duration::from_millis(20)),
        hang_ups(site, until, "/slow/5", Duration::from_millis(900)),
        tokio::spawn(hurried(site.users.clone(), until)),
    ];
    for _ in 0..20 {
        callers.push(tokio::spawn(slow_reader(site.clone())));
        callers.push(tokio::spawn(half_sent(site.clone())));
    }
    callers
}

fn deadlines(
    site: &Site,
    until: Instant,
    path: &str,
    millis: Option<u64>,
    every: Duration,
) -> JoinHandle<()> {
    let mut request = Client::new().get(site.url(path));
    if let Some(millis) = millis {
        request = request.header("x-request-timeout-ms", millis);
    }
    // A site without stacks does not know the header; nobody waits for ever.
    again_and_again(request, until, every, Duration::from_secs(6))
}

fn hang_ups(site: &Site, until: Instant, path: &str, after: Duration) -> JoinHandle<()> {
    let request = Client::new().get(site.url(path));
    again_and_again(request, until, Duration::from_millis(50), after)
}

fn again_and_again(
    request: reqwest::RequestBuilder,
    until: Instant,
    every: Duration,
    patience: Duration,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut ticks = interval(every);
        while Instant::now() < until {
            ticks.tick().await;
            if let Some(request) = request.try_clone() {
                tokio::spawn(timeout(patience, request.send()));
            }
        }
    })
}

/// Unary calls with a `grpc-timeout` of a millisecond.
async fn hurried(users: Users, until: Instant) {
    let mut ticks = interval(Duration::from_millis(50));
    while Instant::now() < until {
        ticks.tick().await;
        let mut request = tonic::Request::new(GetRequest::default());
        request.set_timeout(Duration::from_millis(1));
        let users = users.clone();
        tokio::spawn(async move {
            match users {
                Users::Bare(mut users) => drop(users.get(request).await),
                Users::Stacked(mut users) => drop(users.get(request).await),
            }
        });
    }
}

/// Asks for 64 MB and takes a byte a second.
async fn slow_reader(site: Site) {
    loop {
        if let Ok(mut stream) = TcpStream::connect(site.gateway).await {
            let asked = stream
                .write_all(b"GET /download HTTP/1.1\r\nhost: a\r\n\r\n")
                .await;
            let mut byte = [0];
            while asked.is_ok() && stream.read_exact(&mut byte).await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        }
        sleep(Duration::from_secs(1)).await;
    }
}

/// Says that a megabyte will come, sends a byte, and waits.
async fn half_sent(site: Site) {
    loop {
        if let Ok(mut stream) = TcpStream::connect(site.gateway).await {
            let head = b"POST /upload HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\nx";
            let mut rest = Vec::new();
            if stream.write_all(head).await.is_ok() {
                let _ = stream.read_to_end(&mut rest).await;
            }
        }
        sleep(Duration::from_secs(1)).await;
    }
}
