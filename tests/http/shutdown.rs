//! Graceful shutdown of an axum server on real sockets.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use axum::response::sse::{Event, Sse};
use axum::{Router, routing::get};
use futures::{FutureExt as _, StreamExt as _};
use mainstay::health::Health;
use mainstay::http::server;
use mainstay::registry::Registry;
use mainstay::shutdown::{Cut, Shutdown};
use tokio::task::{JoinHandle, JoinSet};
use tokio_stream::wrappers::IntervalStream;

use crate::common::{Door, listener, until, within};

/// The drain time: several intervals of the readiness check.
const DRAIN: Duration = Duration::from_millis(150);
const CHECK: Duration = Duration::from_millis(20);

struct Site {
    shutdown: Shutdown,
    address: SocketAddr,
    door: Door,
    server: JoinHandle<Result<io::Result<()>, Cut>>,
}

impl Site {
    async fn open(name: &str, grace: Duration) -> Self {
        let registry = Registry::new();
        let shutdown = Shutdown::builder()
            .registry(&registry)
            .drain(DRAIN)
            .grace(grace)
            .manual();
        let health = Health::new(&registry).shutdown(&shutdown).service();
        let door = Door::closed();
        let (waits, streams) = (door.clone(), shutdown.clone());
        let ticks = async move || {
            let ticks = IntervalStream::new(tokio::time::interval(CHECK));
            let events = ticks.map(|_| Ok::<_, Infallible>(Event::default().data("tick")));
            Sse::new(streams.until_closing(events))
        };
        let work = async || {
            tokio::time::sleep(Duration::from_millis(3)).await;
            "done"
        };
        let app = Router::new()
            .route("/orders", get(work))
            .route("/waits", get(async move || waits.pass().await))
            .route("/events", get(ticks))
            .layer(server(name).registry(&registry).build().unwrap())
            .layer(shutdown.close_connections())
            .route_service("/livez", health.clone())
            .route_service("/readyz", health);
        let (listener, address) = listener().await;
        let served = axum::serve(listener, app).with_graceful_shutdown(shutdown.closing());
        let running = shutdown.clone();
        let server = tokio::spawn(async move { running.run(served.into_future()).await });
        Self {
            shutdown,
            address,
            door,
            server,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

fn client() -> reqwest::Client {
    let client = reqwest::Client::builder().no_proxy();
    client.retry(reqwest::retry::never()).build().unwrap()
}

/// The callers check readiness, as a load balancer does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_no_request_fails() {
    let site = Site::open("orders", Duration::from_secs(5)).await;
    let is_ready = Arc::new(AtomicBool::new(true));
    let sent = Arc::new(AtomicU32::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        let (url, is_ready, sent) = (site.url("/orders"), is_ready.clone(), sent.clone());
        callers.spawn(async move {
            let client = client();
            while is_ready.load(Ordering::SeqCst) {
                let answer = client.get(&url).send().await.unwrap();
                assert_eq!(answer.status(), 200);
                assert_eq!(answer.text().await.unwrap(), "done");
                sent.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    let (url, checked) = (site.url("/readyz"), is_ready.clone());
    let checks = tokio::spawn(async move {
        while client().get(&url).send().await.unwrap().status() == 200 {
            tokio::time::sleep(CHECK).await;
        }
        checked.store(false, Ordering::SeqCst);
    });
    until("a hundred calls", || sent.load(Ordering::SeqCst) >= 100).await;
    let before = sent.load(Ordering::SeqCst);
    site.shutdown.begin();
    within("the check", checks).await.unwrap();
    while let Some(caller) = within("the callers", callers.join_next()).await {
        caller.unwrap();
    }
    assert!(
        sent.load(Ordering::SeqCst) > before,
        "calls were served meanwhile"
    );
    within("the server", site.server)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_call_in_flight_is_answered_and_a_stream_ends() {
    let site = Site::open("orders", Duration::from_secs(5)).await;
    let client = client();
    let get = |path: &str| client.get(site.url(path)).send();
    let answer = get("/orders").await.unwrap();
    assert!(!answer.headers().contains_key("connection"));
    let mut events = within("a stream", get("/events")).await.unwrap();
    within("an event", events.chunk()).await.unwrap().unwrap();
    let waiting = tokio::spawn(get("/waits"));
    until("a call in the handler", || site.door.entered() == 1).await;

    site.shutdown.begin();
    assert_eq!(get("/readyz").await.unwrap().status(), 503);
    assert_eq!(get("/livez").await.unwrap().status(), 200);
    let answer = get("/orders").await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["connection"]),
        (200, &"close".parse().unwrap())
    );
    within("an event", events.chunk()).await.unwrap().unwrap();
    within("the stream's end", async {
        while events.chunk().await.unwrap().is_some() {}
    })
    .await;
    let refused = async || client.get(site.url("/orders")).send().await.is_err();
    within("a refused connection", async { while !refused().await {} }).await;
    assert!(!site.server.is_finished(), "a call is still in flight");
    site.door.open();
    assert_eq!(
        within("an answer", waiting)
            .await
            .unwrap()
            .unwrap()
            .status(),
        200
    );
    within("the server", site.server)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_call_that_does_not_end_is_cut() {
    let site = Site::open("reports", Duration::from_millis(100)).await;
    let waiting = tokio::spawn(client().get(site.url("/waits")).send());
    until("a call in the handler", || site.door.entered() == 1).await;
    site.shutdown.begin();
    let cut = within("the server", site.server)
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(cut.to_string(), "the shutdown cut 1 call of `reports`");
    waiting.abort();
}

/// The process of this test survives: once somebody listens to a signal, it does nothing else.
#[cfg(unix)]
#[tokio::test]
async fn sigterm_begins_it_and_a_second_one_ends_its_waits() {
    let long = Duration::from_secs(1_000);
    let shutdown = Shutdown::builder()
        .drain(long)
        .grace(long)
        .on_signal()
        .unwrap();
    let kill = || {
        let id = std::process::id().to_string();
        let kill = std::process::Command::new("kill")
            .args(["-TERM", &id])
            .status();
        assert!(kill.unwrap().success());
    };
    let mut end = Box::pin(shutdown.run(std::future::pending::<()>()));
    assert!(end.as_mut().now_or_never().is_none() && !shutdown.has_begun());
    kill();
    within("the begin", shutdown.begun()).await;
    assert!(shutdown.closing().now_or_never().is_none());
    kill();
    assert!(within("the end", end).await.is_err());
    within("the close", shutdown.closing()).await;
}
