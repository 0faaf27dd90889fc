//! axum, over real sockets.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mainstay::http::DeadlineLayer;
use mainstay::{Context, RespondLayer, TimeoutLayer, http as resilient};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceBuilder, ServiceExt as _};

use super::script::HttpTimeout;
use crate::common::{raw, serve, until, within};
use crate::support::{ms, secs};

/// What a body holds: a permit, say.
struct Held(Arc<AtomicBool>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A body without end, and how much of it was made.
fn endless(held: Held, made: Arc<AtomicUsize>) -> Response {
    let frames = futures::stream::repeat_with(move || {
        let _held = &held;
        made.fetch_add(1, Ordering::SeqCst);
        Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 16_384]))
    });
    Response::new(Body::from_stream(frames))
}

struct Server {
    address: SocketAddr,
    freed: Arc<AtomicBool>,
    made: Arc<AtomicUsize>,
}

async fn server(layer: HttpTimeout) -> Server {
    let (freed, made) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let (flag, count) = (Arc::clone(&freed), Arc::clone(&made));
    let dripping = Arc::clone(&freed);
    let left = || async {
        let left = Context::current().remaining().unwrap();
        left.as_millis().to_string()
    };
    let drip = move || {
        let held = Held(Arc::clone(&dripping));
        async move {
            let drops = futures::stream::unfold(held, |held| async {
                sleep(ms(20)).await;
                Some((Ok::<_, std::io::Error>("drop"), held))
            });
            Body::from_stream(drops)
        }
    };
    let router = Router::new()
        .route("/left", get(left))
        .route("/never", get(std::future::pending::<()>))
        .route("/drip", get(drip))
        .route(
            "/endless",
            get(move || {
                let response = endless(Held(Arc::clone(&flag)), Arc::clone(&count));
                async move { response }
            }),
        )
        .layer(
            ServiceBuilder::new()
                .layer(RespondLayer::new())
                .layer(layer),
        );
    Server {
        address: serve(router).await,
        freed,
        made,
    }
}

fn request(path: &str, header: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{header}\r\n").into_bytes()
}

#[tokio::test]
async fn a_caller_that_is_late_or_in_a_hurry_gets_a_504() {
    let layer = resilient::timeout().timeout(secs(5)).build().unwrap();
    let address = server(layer).await.address;
    for millis in ["0", "50"] {
        let header = format!("x-request-timeout-ms: {millis}\r\n");
        let began = Instant::now();
        let answer = raw(address, &request("/never", &header)).await;
        assert!(answer.starts_with(b"HTTP/1.1 504"), "{millis}");
        assert!(began.elapsed() < secs(4));
    }
    for (value, least, most) in [
        ("4000", 3_000, 4_000),
        ("60000", 4_000, 5_000),
        ("-1", 4_000, 5_000),
    ] {
        let header = format!("x-request-timeout-ms: {value}\r\n");
        let answer = String::from_utf8(raw(address, &request("/left", &header)).await).unwrap();
        let left: u64 = answer.rsplit("\r\n").next().unwrap().parse().unwrap();
        assert!((least..=most).contains(&left), "{value}: {answer}");
    }
}

#[tokio::test]
async fn a_budget_shrinks_on_its_way_to_the_next_service() {
    let layer = resilient::timeout().build().unwrap();
    let address = server(layer).await.address;
    let client = ServiceBuilder::new()
        .layer(TimeoutLayer::new(secs(2)))
        .layer(DeadlineLayer::new())
        .service(reqwest::Client::new());
    let request = reqwest::Request::new(
        http::Method::GET,
        format!("http://{address}/left").parse().unwrap(),
    );
    let response = within("an answer", client.oneshot(request)).await.unwrap();
    let left: u64 = response.text().await.unwrap().parse().unwrap();
    assert!((1_000..=2_000).contains(&left), "{left}");
}

#[tokio::test]
async fn a_reader_that_stops_reading_holds_nothing_for_long() {
    let server = server(resilient::timeout().body_idle(ms(300)).build().unwrap()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&request("/endless", "")).await.unwrap();
    let mut some = [0; 1_000];
    stream.read_exact(&mut some).await.unwrap();
    // The server fills what the kernel keeps for it, and then waits for this client, which never reads again.
    until("the body is dropped", || {
        server.freed.load(Ordering::SeqCst)
    })
    .await;
    let made = server.made.load(Ordering::SeqCst);
    assert!(made > 1);
    sleep(ms(50)).await;
    assert_eq!(server.made.load(Ordering::SeqCst), made);
    // The connection is still there, and that is all that is.
    drop(stream);
}

#[tokio::test]
async fn a_reader_that_reads_slowly_is_served() {
    let server = server(resilient::timeout().body_idle(ms(300)).build().unwrap()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&request("/drip", "")).await.unwrap();
    let mut some = [0; 128];
    let began = Instant::now();
    while began.elapsed() < ms(900) {
        assert!(stream.read(&mut some).await.unwrap() > 0);
    }
    assert!(!server.freed.load(Ordering::SeqCst));
    drop(stream);
    until("the body is dropped", || {
        server.freed.load(Ordering::SeqCst)
    })
    .await;
}

type Http2 = hyper::client::conn::http2::SendRequest<Empty<Bytes>>;

/// A connection of HTTP/2 that lets the server send so much.
async fn http2(address: SocketAddr, window: u32) -> Http2 {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(window)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test]
async fn over_http2_a_reader_without_a_window_holds_nothing_for_long() {
    let server = server(resilient::timeout().body_idle(ms(300)).build().unwrap()).await;
    let mut sender = http2(server.address, 0).await;
    let uri = format!("http://{}/endless", server.address);
    let request = http::Request::builder()
        .uri(uri)
        .body(Empty::new())
        .unwrap();
    let response = within("the head", sender.send_request(request))
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    assert!(!server.freed.load(Ordering::SeqCst));
    until("the body is dropped", || {
        server.freed.load(Ordering::SeqCst)
    })
    .await;
    assert!(server.made.load(Ordering::SeqCst) <= 2);
    drop(response);
}

#[tokio::test]
async fn the_whole_body_is_cut_off_in_both_versions_of_http() {
    let limit = resilient::timeout().timeout(ms(300)).whole_body();
    let server = server(limit.build().unwrap()).await;
    let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build_http();
    for version in [1, 2] {
        server.freed.store(false, Ordering::SeqCst);
        let uri = format!("http://{}/drip", server.address);
        let request = http::Request::builder()
            .uri(uri)
            .body(Empty::new())
            .unwrap();
        let began = Instant::now();
        let response = match version {
            1 => client.request(request).await.unwrap(),
            _ => http2(server.address, 1 << 16)
                .await
                .send_request(request)
                .await
                .unwrap(),
        };
        assert_eq!(response.status(), 200);
        let whole = within("the end", response.into_body().collect());
        assert!(whole.await.is_err(), "and not what looks complete");
        assert!((ms(250)..secs(5)).contains(&began.elapsed()));
        until("the body is dropped", || {
            server.freed.load(Ordering::SeqCst)
        })
        .await;
    }
}

#[tokio::test]
async fn a_client_may_limit_the_whole_body_too() {
    // This server has no limit but the half minute up to its head.
    let server = server(resilient::timeout().build().unwrap()).await;
    let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .build_http::<Empty<Bytes>>();
    let limit: Duration = ms(300);
    let client = resilient::timeout()
        .timeout(limit)
        .whole_body()
        .build()
        .unwrap()
        .layer(client);
    let uri = format!("http://{}/drip", server.address);
    let request = http::Request::builder()
        .uri(uri)
        .body(Empty::new())
        .unwrap();
    let response = within("the head", client.oneshot(request)).await.unwrap();
    let error = within("the end", response.into_body().collect())
        .await
        .unwrap_err();
    assert!(mainstay::Rejection::find(&*error).is_some(), "{error}");
    until("the server hears of it", || {
        server.freed.load(Ordering::SeqCst)
    })
    .await;
}

#[tokio::test]
async fn a_stream_of_events_lives_for_as_long_as_it_is_read() {
    let (tell, told) = tokio::sync::mpsc::unbounded_channel::<&'static str>();
    let told = Arc::new(Mutex::new(Some(told)));
    let events = move || {
        let told = told.lock().unwrap().take().unwrap();
        async move {
            let events = futures::stream::unfold(told, |mut told| async {
                let text = told.recv().await?;
                Some((Ok::<_, std::io::Error>(text), told))
            });
            Response::builder()
                .header("content-type", "text/event-stream")
                .body(Body::from_stream(events))
                .unwrap()
        }
    };
    let layer = resilient::timeout().body_idle(ms(50)).build().unwrap();
    let router = Router::new().route("/", get(events)).layer(
        ServiceBuilder::new()
            .layer(RespondLayer::new())
            .layer(layer),
    );
    let address = serve(router).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&request("/", "")).await.unwrap();
    let mut read = Vec::new();
    for event in ["one", "two", "three"] {
        // Many times as long as it may stand still, of which the client notices nothing.
        sleep(ms(300)).await;
        tell.send(event).unwrap();
        within("the event", async {
            while !String::from_utf8_lossy(&read).contains(event) {
                assert!(stream.read_buf(&mut read).await.unwrap() > 0, "ended");
            }
        })
        .await;
    }
    drop(stream);
    until("the stream is dropped", || tell.is_closed()).await;
}
