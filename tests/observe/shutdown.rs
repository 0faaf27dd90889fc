//! The steps of a graceful shutdown, under a paused clock.

use std::convert::Infallible;
use std::time::Duration;

use futures::future::pending;
use futures::{FutureExt as _, StreamExt as _, poll, stream};
use mainstay::registry::Registry;
use mainstay::shutdown::Shutdown;
use tokio::time::{Instant, advance, sleep};
use tower::{Layer, Service, ServiceExt as _, service_fn};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn it_begins_then_closes_then_ends() {
    let shutdown = Shutdown::builder()
        .drain(2 * SECOND)
        .grace(3 * SECOND)
        .manual();
    let (mut begun, mut closing) = (shutdown.begun(), shutdown.closing());
    let mut server = Box::pin(shutdown.run(pending::<()>()));
    assert!(!shutdown.has_begun());
    assert!(poll!(&mut begun).is_pending() && poll!(&mut closing).is_pending());
    assert!(poll!(&mut server).is_pending());
    advance(10 * SECOND).await;

    shutdown.clone().begin();
    assert!(shutdown.has_begun());
    begun.await;
    shutdown.begun().await;
    advance(2 * SECOND - Duration::from_millis(1)).await;
    assert!(poll!(&mut closing).is_pending());
    // Once more does not start it again.
    shutdown.begin();
    advance(Duration::from_millis(1)).await;
    closing.await;
    advance(3 * SECOND - Duration::from_millis(1)).await;
    assert!(poll!(&mut server).is_pending());
    advance(Duration::from_millis(1)).await;
    let cut = server.await.unwrap_err();
    assert_eq!(
        cut.to_string(),
        "the shutdown cut connections that were still open"
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_in_time_returns_its_output() {
    let shutdown = Shutdown::builder().manual();
    let closing = shutdown.closing();
    let server = async move {
        closing.await;
        sleep(SECOND).await;
        "ended"
    };
    let started = Instant::now();
    shutdown.begin();
    assert_eq!(shutdown.run(server).await, Ok("ended"));
    assert_eq!(started.elapsed(), 6 * SECOND);
    // Also one that fails to start.
    let other = Shutdown::builder().manual();
    assert_eq!(other.run(async { Err::<(), _>(()) }).await, Ok(Err(())));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_future_begins_it() {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let shutdown = Shutdown::builder().drain(Duration::ZERO).on(stopped);
    // All others are dropped.
    let closing = shutdown.closing();
    drop(shutdown);
    sleep(SECOND).await;
    drop(stop);
    closing.await;
}

#[tokio::test(start_paused = true)]
async fn hurry_ends_all_waits() {
    let shutdown = Shutdown::builder()
        .drain(Duration::MAX)
        .grace(Duration::MAX)
        .manual();
    let mut server = Box::pin(shutdown.run(pending::<()>()));
    shutdown.begin();
    advance(1_000_000 * SECOND).await;
    assert!(poll!(&mut server).is_pending());
    shutdown.hurry();
    assert!(server.await.is_err());
    shutdown.closing().await;
    let at_once = Shutdown::builder().manual();
    at_once.hurry();
    at_once.closing().await;
    assert!(at_once.run(pending::<()>()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn it_waits_for_the_calls_of_servers_and_for_streams() {
    let registry = Registry::new();
    let shutdown = Shutdown::builder()
        .registry(&registry)
        .drain(SECOND)
        .grace(5 * SECOND)
        .manual();
    let server = mainstay::server("jobs")
        .registry(&registry)
        .build()
        .unwrap();
    // The calls of a client are part of a server's calls, or nobody waits for them.
    let client = mainstay::client("stock")
        .registry(&registry)
        .build()
        .unwrap();
    let works = service_fn(async |time: Duration| {
        sleep(time).await;
        Ok::<_, Infallible>(())
    });
    let mut service = server.layer(works);
    let call = tokio::spawn(service.ready().await.unwrap().call(3 * SECOND));
    let mut outbound = client.layer(works);
    let _outbound = tokio::spawn(outbound.ready().await.unwrap().call(100 * SECOND));
    tokio::task::yield_now().await;

    let started = Instant::now();
    shutdown.begin();
    let mut ticks = Box::pin(shutdown.until_closing(stream::pending::<u8>()));
    shutdown.calls_ended().now_or_never();
    assert!(shutdown.clone().calls_ended().now_or_never().is_none());
    assert_eq!(ticks.next().await, None);
    assert_eq!(ticks.next().await, None);
    assert_eq!(started.elapsed(), SECOND);
    drop(ticks);
    shutdown.calls_ended().await.unwrap();
    let took = started.elapsed();
    assert!((3 * SECOND..4 * SECOND).contains(&took), "{took:?}");
    call.await.unwrap().unwrap();

    // Two calls and a stream that is not polled.
    for _ in 0..2 {
        drop(tokio::spawn(
            service.ready().await.unwrap().call(20 * SECOND),
        ));
    }
    let held = shutdown.until_closing(stream::pending::<u8>());
    tokio::task::yield_now().await;
    let cut = shutdown.calls_ended().await.unwrap_err();
    assert_eq!(started.elapsed(), 6 * SECOND);
    assert_eq!(
        cut.to_string(),
        "the shutdown cut 2 calls of `jobs` and 1 stream"
    );
    assert_eq!((cut.stacks[0].calls, cut.streams), (2, 1));
    assert_eq!(shutdown.run(pending::<()>()).await, Err(cut));
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_stream_passes_its_items_until_then() {
    let shutdown = Shutdown::builder().drain(Duration::ZERO).manual();
    let numbers = shutdown.until_closing(stream::iter([1, 2]));
    assert_eq!(numbers.collect::<Vec<_>>().await, [1, 2]);
    let mut numbers = shutdown.until_closing(stream::iter(0..));
    assert_eq!(numbers.next().await, Some(0));
    shutdown.begin();
    // A zero time is over at the next poll of its timer.
    sleep(Duration::from_millis(1)).await;
    assert_eq!(numbers.next().await, None);
    assert_eq!(futures::Stream::size_hint(&numbers), (0, Some(0)));
}

/// The task that waits for the signal ends.
#[tokio::test(start_paused = true)]
async fn the_task_ends_with_the_shutdown() {
    struct Dropped(tokio::sync::mpsc::Sender<()>);
    let (dropped, mut is_dropped) = tokio::sync::mpsc::channel(1);
    let guard = Dropped(dropped);
    let shutdown = Shutdown::builder().on(async move {
        pending::<()>().await;
        drop(guard.0);
    });
    sleep(SECOND).await;
    assert!(is_dropped.recv().now_or_never().is_none());
    drop(shutdown);
    assert_eq!(is_dropped.recv().await, None);
}
