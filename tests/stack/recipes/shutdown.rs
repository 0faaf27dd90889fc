//! "Graceful shutdown with open event streams".

use std::convert::Infallible;
use std::future::IntoFuture as _;
use std::time::Duration;

use axum::response::sse::{Event, Sse};
use axum::{Router, routing::get};
use futures::{Stream, StreamExt};
use mainstay::shutdown::Shutdown;
use mainstay::{BoxError, http};
use tokio::net::TcpListener;
use tokio_stream::wrappers::IntervalStream;

use crate::common::{Door, listener, until, within};

fn events(shutdown: &Shutdown) -> Sse<impl Stream<Item = Result<Event, Infallible>> + use<>> {
    let ticks = IntervalStream::new(tokio::time::interval(Duration::from_millis(10)));
    let events = ticks.map(|_| Ok(Event::default().data("tick")));
    Sse::new(shutdown.until_closing(events))
}

async fn serve(listener: TcpListener, shutdown: Shutdown, door: Door) -> Result<(), BoxError> {
    let streams = shutdown.clone();
    let app = Router::new()
        .route("/events", get(async move || events(&streams)))
        .route("/orders", get(async move || door.pass().await))
        .layer(http::server("ticker").build()?)
        .layer(shutdown.close_connections());
    let server = axum::serve(listener, app).with_graceful_shutdown(shutdown.closing());
    shutdown.run(server.into_future()).await??;
    Ok(())
}

#[tokio::test]
async fn streams_end_calls_are_answered_and_the_server_returns() {
    let (listener, address) = listener().await;
    let shutdown = Shutdown::builder()
        .drain(Duration::from_millis(50))
        .manual();
    let door = Door::closed();
    let server = serve(listener, shutdown.clone(), door.clone());
    let server = tokio::spawn(async move { server.await.map_err(|error| error.to_string()) });

    let client = reqwest::Client::new();
    let get = |path: &str| client.get(format!("http://{address}{path}")).send();
    let mut stream = within("a stream", get("/events")).await.unwrap();
    within("an event", stream.chunk()).await.unwrap().unwrap();
    let order = tokio::spawn(get("/orders"));
    until("a call in the handler", || door.entered() == 1).await;

    shutdown.begin();
    within("the stream's end", async {
        while stream.chunk().await.unwrap().is_some() {}
    })
    .await;
    assert!(!server.is_finished(), "a call is still in flight");
    door.open();
    let order = within("an answer", order).await.unwrap().unwrap();
    assert_eq!(order.status(), 200);
    within("the server's end", server).await.unwrap().unwrap();
}
