//! "Uploads, event streams, WebSockets": those that stay open fill no bulkhead.

use std::convert::Infallible;

use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::response::sse::{Event, Sse};
use axum::{Router, routing::get};
use futures::{Stream, StreamExt, stream};
use mainstay::http;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::{serve, until, within};

fn events() -> impl Stream<Item = Result<Event, Infallible>> {
    let first = stream::iter([Ok(Event::default().data("first"))]);
    first.chain(stream::pending())
}

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if socket.send(message).await.is_err() {
            break;
        }
    }
}

#[tokio::test]
async fn event_streams_and_websockets_hold_no_permit() {
    let stack = http::server("media").bulkhead(1).build().unwrap();
    let app = Router::new()
        .route("/events", get(async || Sse::new(events())))
        .route(
            "/socket",
            get(async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(echo)),
        )
        .route("/orders", get("none"))
        .layer(stack.clone());
    let address = serve(app).await;
    let client = reqwest::Client::new();
    let get = |path: &str| client.get(format!("http://{address}{path}")).send();

    let mut stream = within("an event stream", get("/events")).await.unwrap();
    assert_eq!(stream.status(), 200);
    let event = within("an event", stream.chunk()).await.unwrap().unwrap();
    assert!(event.starts_with(b"data: first"));
    until("a free bulkhead", || stack.bulkhead().in_flight() == 0).await;

    let mut socket = TcpStream::connect(address).await.unwrap();
    let handshake = format!(
        "GET /socket HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    socket.write_all(handshake.as_bytes()).await.unwrap();
    let mut head = vec![];
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within("a head", socket.read_u8()).await.unwrap());
    }
    assert!(
        head.starts_with(b"HTTP/1.1 101 "),
        "{}",
        head.escape_ascii()
    );
    // "hi" as a text frame: masked by zeros there, as a client has to, and unmasked back.
    let frame = [&[0x81, 0x82, 0, 0, 0, 0], &b"hi"[..]].concat();
    socket.write_all(&frame).await.unwrap();
    let mut back = [0; 4];
    within("an echo", socket.read_exact(&mut back))
        .await
        .unwrap();
    assert_eq!(&back, b"\x81\x02hi");

    let order = within("an answer", get("/orders")).await.unwrap();
    assert_eq!(
        order.status(),
        200,
        "both are open, and the only permit is free"
    );
}
