//! Requests whose bodies stream, sent again: what is kept of them, and what becomes of it over real connections.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body as _, Frame};
use http_body_util::combinators::{BoxBody, UnsyncBoxBody};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use mainstay::http::HttpRetry;
use mainstay::{
    Backoff, BoxError, Context, Error, EventKind, Jitter, RetryBudget, RetryBuilder, RetryRefused,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::common::{listener, until, within};
use crate::support::recorder;

type Body = BoxBody<Bytes, BoxError>;

fn retry() -> RetryBuilder<HttpRetry> {
    let backoff = Backoff::constant(Duration::from_millis(1)).jitter(Jitter::None);
    mainstay::http::retry().backoff(backoff).without_budget()
}

/// A body that yields what is sent to it, until the sender is gone.
fn channel() -> (mpsc::UnboundedSender<Bytes>, Body) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let frames = UnboundedReceiverStream::new(receiver).map(|data| Ok(Frame::data(data)));
    (sender, BodyExt::boxed(StreamBody::new(frames)))
}

/// A body of these frames.
fn stream(frames: &[&'static str]) -> Body {
    let (sender, body) = channel();
    for frame in frames {
        sender.send(Bytes::from_static(frame.as_bytes())).unwrap();
    }
    body
}

fn put(body: Body) -> Request<Body> {
    Request::put("http://shop.example/").body(body).unwrap()
}

fn answer(status: u16) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

// --- Without a connection

#[tokio::test]
async fn every_attempt_reads_the_whole_body_and_its_trailers() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let see = Arc::clone(&seen);
    let service = retry()
        .build()
        .unwrap()
        .layer(service_fn(move |request: Request<Body>| {
            let see = Arc::clone(&see);
            async move {
                let body = request.into_body().collect().await?;
                let trailers = body.trailers().cloned().unwrap();
                see.lock().unwrap().push((body.to_bytes(), trailers));
                Ok::<_, BoxError>(answer(503))
            }
        }));
    let mut trailers = HeaderMap::new();
    trailers.insert("checksum", "4711".parse().unwrap());
    let frames = [
        Frame::data(Bytes::from("a")),
        Frame::data(Bytes::from("b")),
        Frame::trailers(trailers.clone()),
    ];
    let body = StreamBody::new(futures::stream::iter(frames.map(Ok)));
    let response = service.oneshot(put(BodyExt::boxed(body))).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(
        *seen.lock().unwrap(),
        vec![(Bytes::from("ab"), trailers); 3]
    );
}

#[tokio::test]
async fn what_was_not_read_before_is_read_by_the_next_attempt() {
    let attempt = AtomicU32::new(0);
    let service = service_fn(|request: Request<Body>| {
        let number = attempt.fetch_add(1, Ordering::SeqCst);
        async move {
            let mut body = request.into_body();
            assert_eq!(Context::current().attempt(), number + 1);
            for expected in ["a", "b"].iter().take(number as usize) {
                let frame = body.frame().await.unwrap()?;
                assert_eq!(frame.into_data().unwrap(), *expected);
            }
            match number {
                2 => {
                    assert_eq!(body.collect().await?.to_bytes(), "c");
                    Ok::<_, BoxError>(answer(200))
                }
                _ => Ok(answer(503)),
            }
        }
    });
    let service = retry().build().unwrap().layer(service);
    let request = put(stream(&["a", "b", "c"]));
    assert_eq!(service.oneshot(request).await.unwrap().status(), 200);
}

#[tokio::test]
async fn over_the_limit_the_attempt_goes_on_and_is_the_last_one() {
    let (observer, told) = recorder();
    let budget = RetryBudget::builder().ratio(0.0).min_per_second(1).build();
    let budget = budget.unwrap();
    let before = budget.balance();
    let layer = retry()
        .replay_limit(100)
        .budget(budget.clone())
        .observer(observer)
        .build()
        .unwrap();
    let calls = AtomicU32::new(0);
    let service = layer.layer(service_fn(|request: Request<Body>| {
        calls.fetch_add(1, Ordering::SeqCst);
        async {
            let body = request.into_body().collect().await?.to_bytes();
            assert_eq!(body.len(), 120);
            Ok::<_, BoxError>(answer(503))
        }
    }));
    let forty = "0123456789012345678901234567890123456789";
    let request = put(stream(&[forty, forty, forty]));
    assert_eq!(service.oneshot(request).await.unwrap().status(), 503);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert_eq!(
        budget.balance(),
        before,
        "nothing is paid for what is not sent"
    );
    assert!(matches!(
        told.lock().unwrap()[..],
        [EventKind::RetryRefused(RetryRefused::TooLarge)]
    ));
}

#[tokio::test]
async fn a_body_that_says_it_is_too_large_is_left_alone() {
    let layer = retry().replay_limit(3).build().unwrap();
    for (text, attempts) in [("abc", 3), ("abcd", 1)] {
        let calls = AtomicU32::new(0);
        let service = layer.layer(service_fn(|request: Request<Body>| {
            calls.fetch_add(1, Ordering::SeqCst);
            assert_eq!(request.body().size_hint().exact(), Some(text.len() as u64));
            std::future::ready(Ok::<_, BoxError>(answer(503)))
        }));
        let body = Full::new(Bytes::from(text)).map_err(|never| match never {});
        service.oneshot(put(body.boxed())).await.unwrap();
        assert_eq!(calls.load(Ordering::SeqCst), attempts, "{text}");
    }
}

#[tokio::test]
async fn a_source_that_fails_is_the_callers_fault() {
    let calls = AtomicU32::new(0);
    let service = retry()
        .build()
        .unwrap()
        .layer(service_fn(|request: Request<Body>| {
            calls.fetch_add(1, Ordering::SeqCst);
            async {
                request.into_body().collect().await?;
                Ok::<_, BoxError>(answer(200))
            }
        }));
    let frames = [Ok(Frame::data(Bytes::from("a"))), Err("gone".into())];
    let body = BodyExt::boxed(StreamBody::new(futures::stream::iter(frames)));
    let error = service.oneshot(put(body)).await.unwrap_err();
    assert_eq!(error.to_string(), "gone");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

/// Bytes that tell when the last clone of them is gone.
struct Told(Arc<AtomicU32>);

impl AsRef<[u8]> for Told {
    fn as_ref(&self) -> &[u8] {
        b"data"
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn nothing_is_kept_once_the_caller_has_the_response() {
    let dropped = Arc::new(AtomicU32::new(0));
    let data = || Bytes::from_owner(Told(Arc::clone(&dropped)));
    let (sender, body) = channel();
    for _ in 0..3 {
        sender.send(data()).unwrap();
    }
    // A duplex call: the response is there while the request goes on.
    let stash = Mutex::new(None);
    let service = retry()
        .build()
        .unwrap()
        .layer(service_fn(|request: Request<Body>| {
            let stash = &stash;
            async move {
                let mut body = request.into_body();
                for _ in 0..2 {
                    drop(body.frame().await.unwrap()?);
                }
                *stash.lock().unwrap() = Some(body);
                Ok::<_, BoxError>(answer(200))
            }
        }));
    // The future is there longer than the response.
    let mut service = service;
    let mut call = pin!(service.call(put(body)));
    let mut response = None;
    std::future::poll_fn(|cx| {
        if response.is_none() {
            let Poll::Ready(result) = call.as_mut().poll(cx) else {
                return Poll::Pending;
            };
            response = Some(result.unwrap());
        }
        Poll::Ready(())
    })
    .await;
    assert_eq!(dropped.load(Ordering::SeqCst), 2);
    let mut body = stash.lock().unwrap().take().unwrap();
    for freed in 3..6 {
        drop(body.frame().await.unwrap().unwrap());
        assert_eq!(dropped.load(Ordering::SeqCst), freed);
        sender.send(data()).unwrap();
    }
}

#[tokio::test]
async fn an_upload_of_an_attempt_that_was_given_up_ends() {
    let (sender, body) = channel();
    let old = Mutex::new(None);
    let service = retry()
        .build()
        .unwrap()
        .layer(service_fn(|request: Request<Body>| {
            let old = &old;
            async move {
                let mut body = request.into_body();
                if old.lock().unwrap().is_some() {
                    assert_eq!(body.collect().await?.to_bytes(), "ab");
                    return Ok::<_, BoxError>(answer(200));
                }
                // As a connection does, in a task of its own.
                let upload = tokio::spawn(async move {
                    while let Some(frame) = body.frame().await {
                        frame?;
                    }
                    Ok::<_, BoxError>(())
                });
                *old.lock().unwrap() = Some(upload);
                tokio::task::yield_now().await;
                Ok(answer(503))
            }
        }));
    sender.send("a".into()).unwrap();
    let call = async {
        let response = service.oneshot(put(body)).await.unwrap();
        assert_eq!(response.status(), 200);
    };
    let rest = async {
        until("the second attempt", || {
            let old = old.lock().unwrap();
            old.as_ref()
                .is_some_and(tokio::task::JoinHandle::is_finished)
        })
        .await;
        sender.send("b".into()).unwrap();
        drop(sender);
    };
    within("both", async { tokio::join!(call, rest) }).await;
    let upload = old.lock().unwrap().take().unwrap();
    assert!(upload.await.unwrap().is_err());
}

#[tokio::test]
async fn a_body_that_nobody_can_end_is_sent_again_when_it_has_been_read() {
    for (reads, attempts) in [(true, 3), (false, 1)] {
        let calls = AtomicU32::new(0);
        let held = Mutex::new(Vec::new());
        let layer = retry().build().unwrap();
        let service = layer.layer(service_fn(
            |request: Request<UnsyncBoxBody<Bytes, Infallible>>| {
                calls.fetch_add(1, Ordering::SeqCst);
                let held = &held;
                async move {
                    let mut body = request.into_body();
                    if reads {
                        while body.frame().await.is_some() {}
                    }
                    held.lock().unwrap().push(body);
                    Ok::<_, BoxError>(answer(503))
                }
            },
        ));
        let frames = futures::stream::iter([Ok(Frame::data(Bytes::from("a")))]);
        let body = BodyExt::boxed_unsync(StreamBody::new(frames));
        service
            .oneshot(Request::put("/").body(body).unwrap())
            .await
            .unwrap();
        assert_eq!(calls.load(Ordering::SeqCst), attempts, "{reads}");
    }
}

#[test]
fn a_limit_that_is_none_is_refused() {
    for bytes in [0, 1, 64 * 1024 * 1024] {
        assert!(retry().replay_limit(bytes).build().is_ok());
    }
    for bytes in [64 * 1024 * 1024 + 1, usize::MAX] {
        let error = retry().replay_limit(bytes).build().unwrap_err();
        assert_eq!(error.field(), "replay_limit");
    }
}

#[test]
fn a_body_in_memory_takes_no_allocation() {
    let layer = mainstay::http::retry().build().unwrap();
    let mut service = layer.layer(service_fn(|request: Request<Bytes>| {
        std::future::ready(Ok::<_, Infallible>(Response::new(request.into_body())))
    }));
    let mut call = || {
        let request = Request::new(Bytes::from_static(b"order"));
        let response = service.call(request).now_or_never();
        assert_eq!(response.unwrap().unwrap().body(), "order");
    };
    for _ in 0..10 {
        call();
    }
    let counted = allocation_counter::measure(|| {
        for _ in 0..100 {
            call();
        }
    });
    assert_eq!(counted.count_total, 0);
}

// --- Over hyper

type HyperClient = Client<HttpConnector, Body>;

fn http1() -> HyperClient {
    Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build_http()
}

fn http2() -> HyperClient {
    Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http()
}

/// Counts what is sent, behind a retry.
fn counted(
    client: HyperClient,
) -> (
    impl Service<
        Request<Body>,
        Response = Response<Incoming>,
        Error = Error<hyper_util::client::legacy::Error>,
        Future: Send,
    > + Clone
    + Send
    + 'static,
    Arc<AtomicU32>,
) {
    let calls = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&calls);
    let service = ServiceBuilder::new()
        .layer(retry().build().unwrap())
        .map_request(move |request: Request<Body>| {
            count.fetch_add(1, Ordering::SeqCst);
            request
        })
        .service(client);
    (service, calls)
}

/// Serves with hyper, over whichever version the client speaks.
async fn serve<F, Fut>(handle: F) -> SocketAddr
where
    F: Fn(Request<Incoming>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<Response<Full<Bytes>>, Infallible>> + Send + 'static,
{
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve_one(stream, handle.clone()));
        }
    });
    address
}

async fn serve_one<F, Fut>(stream: TcpStream, handle: F)
where
    F: Fn(Request<Incoming>) -> Fut + Send + 'static,
    Fut: Future<Output = Result<Response<Full<Bytes>>, Infallible>> + Send + 'static,
{
    let service = hyper::service::service_fn(handle);
    let server = auto::Builder::new(TokioExecutor::new());
    // Fails when a client goes away in the middle of a request.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    Ok(Response::new(Full::new(body)))
}

fn to(address: SocketAddr, method: &str, body: Body) -> Request<Body> {
    let uri = format!("http://{address}/");
    Request::builder()
        .method(method)
        .uri(uri)
        .body(body)
        .unwrap()
}

async fn text(response: Response<Incoming>) -> Bytes {
    assert_eq!(response.status(), 200);
    response.into_body().collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn an_upstream_that_answers_before_it_has_read_the_request() {
    for client in [http1(), http2()] {
        let calls = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&calls);
        let address = serve(move |request| {
            let number = count.fetch_add(1, Ordering::SeqCst);
            async move {
                match number {
                    0 => Ok(answer(503)),
                    _ => echo(request).await,
                }
            }
        })
        .await;
        let (service, _) = counted(client);
        let (sender, body) = channel();
        sender.send("a".into()).unwrap();
        let call = tokio::spawn(service.oneshot(to(address, "PUT", body)));
        until("the second attempt", || calls.load(Ordering::SeqCst) == 2).await;
        sender.send("b".into()).unwrap();
        drop(sender);
        let response = within("the response", call).await.unwrap().unwrap();
        assert_eq!(text(response).await, "ab");
    }
}

#[tokio::test]
async fn the_connection_of_an_upload_that_was_given_up_is_closed() {
    let (listener, address) = listener().await;
    let (service, calls) = counted(http1());
    let (sender, body) = channel();
    sender.send("a".into()).unwrap();
    let call = tokio::spawn(service.oneshot(to(address, "PUT", body)));
    let (mut first, _) = listener.accept().await.unwrap();
    let mut buffer = [0; 1024];
    assert!(first.read(&mut buffer).await.unwrap() > 0);
    let busy = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
    first.write_all(busy).await.unwrap();
    let (second, _) = within("the second attempt", listener.accept())
        .await
        .unwrap();
    tokio::spawn(serve_one(second, echo));
    // Nobody goes on sending there, though the body has not come to its end.
    within("the end of the first", async {
        while first.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    })
    .await;
    sender.send("b".into()).unwrap();
    drop(sender);
    let response = within("the response", call).await.unwrap().unwrap();
    assert_eq!(text(response).await, "ab");
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_connection_that_breaks_in_the_midst_of_a_body() {
    for client in [http1(), http2()] {
        let (listener, address) = listener().await;
        let (service, calls) = counted(client);
        let (sender, body) = channel();
        sender.send("a".into()).unwrap();
        let call = tokio::spawn(service.oneshot(to(address, "PUT", body)));
        let (mut first, _) = listener.accept().await.unwrap();
        // Something of the request, which may be HTTP/2's preface only.
        let mut buffer = [0; 10];
        first.read_exact(&mut buffer).await.unwrap();
        drop(first);
        let (second, _) = within("the second attempt", listener.accept())
            .await
            .unwrap();
        tokio::spawn(serve_one(second, echo));
        sender.send("b".into()).unwrap();
        drop(sender);
        let response = within("the response", call).await.unwrap().unwrap();
        assert_eq!(text(response).await, "ab");
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }
}

/// A frame of HTTP/2.
fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, 0], &stream.to_be_bytes()].concat();
    [head, payload.to_vec()].concat()
}

const SETTINGS: u8 = 4;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const REFUSED: u32 = 7;
const CANCEL: u32 = 8;

/// Reads frames until there is a head of a request.
async fn read_request(stream: &mut TcpStream) {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await.unwrap();
        if head[3] == 1 {
            return;
        }
    }
}

/// Answers the first request with this frame and nothing more, and serves all that come on other connections.
async fn first_answered(
    answer: Vec<u8>,
    others: impl FnOnce(TcpStream) -> Pin<Box<dyn Future<Output = ()> + Send>> + Clone + Send + 'static,
) -> SocketAddr {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        let (mut first, _) = listener.accept().await.unwrap();
        first.write_all(&frame(SETTINGS, 0, &[])).await.unwrap();
        read_request(&mut first).await;
        first.write_all(&answer).await.unwrap();
        first.shutdown().await.unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(others.clone()(stream));
        }
    });
    address
}

/// Resets the first stream, and takes no other.
fn reset(reason: u32) -> Vec<u8> {
    [frame(RST_STREAM, 1, &reason.to_be_bytes()), go_away(1)].concat()
}

fn go_away(last_stream: u32) -> Vec<u8> {
    frame(GOAWAY, 0, &[last_stream.to_be_bytes(), [0; 4]].concat())
}

#[tokio::test]
async fn what_the_server_never_began_is_sent_again_whatever_its_method() {
    let others = |stream| serve_one(stream, echo).boxed();
    for answer in [reset(REFUSED), go_away(0)] {
        let address = first_answered(answer, others).await;
        let (service, calls) = counted(http2());
        let request = to(address, "POST", stream(&["a", "b"]));
        let response = within("the response", service.oneshot(request)).await;
        assert_eq!(text(response.unwrap()).await, "ab");
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }
    for answer in [reset(CANCEL), go_away(1)] {
        let address = first_answered(answer, others).await;
        let (service, calls) = counted(http2());
        let request = to(address, "POST", stream(&["a", "b"]));
        let response = within("the response", service.oneshot(request)).await;
        assert!(response.is_err());
        assert_eq!(calls.load(Ordering::SeqCst), 1, "it may have been begun");
    }
}

#[tokio::test]
async fn a_request_that_found_no_connection_is_sent_again_whatever_its_method() {
    let (closed, nowhere) = listener().await;
    drop(closed);
    let (service, calls) = counted(http1());
    let error = service.oneshot(to(nowhere, "POST", stream(&["a"]))).await;
    assert!(error.unwrap_err().into_inner().unwrap().is_connect());
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}
