//! What can be done to a `reqwest::Response` between the layers and after them: it stays what it is, and what it holds is given back.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http_body_util::BodyExt as _;
use mainstay::reqwest::SendThrough as _;
use mainstay::{Error, State};
use reqwest::{Body, Client, Response};
use tower::{Layer, ServiceBuilder};

use super::peers::{Peer, Read, Reset, Wait, h1, send};
use super::stacks::{count_panics, layers, no_panics};

async fn says(bytes: &str) -> Peer {
    count_panics();
    h1(vec![Read, send(bytes), Wait]).await
}

async fn hello() -> Peer {
    says("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await
}

fn client() -> Client {
    Client::builder().pool_max_idle_per_host(0).build().unwrap()
}

async fn get<S>(stack: &S, address: SocketAddr) -> Response
where
    S: tower::Service<reqwest::Request, Response = Response, Error = Error<reqwest::Error>> + Clone,
{
    let call = client().get(format!("http://{address}/"));
    call.send_through(stack).await.unwrap()
}

/// Two stacks of layers with something in between that does this to responses.
macro_rules! between {
    ($change:expr) => {{
        let (outer, outer_watch) = layers!(http);
        let (inner, inner_watch) = layers!(http);
        let stack = ServiceBuilder::new()
            .layer(outer)
            .map_response($change)
            .layer(inner)
            .service(client());
        let held = {
            let (outer, inner) = (outer_watch.held, inner_watch.held);
            move || (outer(), inner())
        };
        (stack, held)
    }};
}

const ALL: ([u32; 2], [u32; 2]) = ([1, 1], [1, 1]);
const OUTER: ([u32; 2], [u32; 2]) = ([1, 1], [0, 0]);
const NONE: ([u32; 2], [u32; 2]) = ([0, 0], [0, 0]);

/// As a user's middleware does it.
fn rebuilt(response: Response, change: impl FnOnce(Body) -> Body) -> Response {
    let (parts, body) = http::Response::<Body>::from(response).into_parts();
    http::Response::from_parts(parts, change(body)).into()
}

#[tokio::test]
async fn a_response_that_is_left_alone_is_followed_by_all() {
    let peer = hello().await;
    let (stack, held) = between!(|response: Response| response);
    let response = get(&stack, peer.address).await;
    assert_eq!(held(), ALL);
    assert_eq!(response.text().await.unwrap(), "hello");
    assert_eq!(held(), NONE);
}

#[tokio::test]
async fn a_response_that_is_rebuilt_with_its_body_is_followed_by_all() {
    let peer = hello().await;
    let (stack, held) = between!(|response| {
        rebuilt(response, |body| Body::wrap(body.map_frame(|frame| frame)))
    });
    let response = get(&stack, peer.address).await;
    assert_eq!(held(), ALL);
    assert_eq!(response.text().await.unwrap(), "hello");
    assert_eq!(held(), NONE);
}

#[tokio::test]
async fn a_response_that_is_rebuilt_with_another_body_is_followed_from_there() {
    let peer = hello().await;
    let (stack, held) = between!(|response| rebuilt(response, |_| Body::wrap(
        http_body_util::Full::new(bytes::Bytes::from_static(b"another"))
    )));
    let response = get(&stack, peer.address).await;
    assert_eq!(held(), OUTER);
    assert_eq!(response.text().await.unwrap(), "another");
    assert_eq!(held(), NONE);
}

#[tokio::test]
async fn a_response_that_is_begun_to_be_read_is_followed_all_the_same() {
    let peer =
        says("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n")
            .await;
    let (layers, watch) = layers!(http);
    let (outer, outer_watch) = layers!(http);
    let stack = layers.layer(client());
    let mut response = get(&stack, peer.address).await;
    assert_eq!(response.chunk().await.unwrap().unwrap(), "a");
    // Through layers that have nothing to do with it, and see it only now.
    let response = Arc::new(Mutex::new(Some(response)));
    let again = outer.layer(tower::service_fn(move |_: reqwest::Request| {
        let response = response.lock().unwrap().take().unwrap();
        async move { Ok::<_, reqwest::Error>(response) }
    }));
    let response = get(&again, peer.address).await;
    assert_eq!(((watch.held)(), (outer_watch.held)()), ([1, 1], [1, 1]));
    assert_eq!(response.text().await.unwrap(), "b");
    assert_eq!(((watch.held)(), (outer_watch.held)()), ([0, 0], [0, 0]));
    assert_eq!(watch.outcomes(), ["success"]);
    assert_eq!(outer_watch.outcomes(), ["success"]);
}

#[tokio::test]
async fn extensions_hold_nothing() {
    let peer = hello().await;
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&kept);
    let (stack, held) = between!(move |response: Response| {
        keep.lock().unwrap().push(response.extensions().clone());
        response
    });
    let response = get(&stack, peer.address).await;
    let extensions = response.extensions().clone();
    assert_eq!(held(), ALL);
    drop(response);
    assert_eq!(held(), NONE);

    // Those of a response that is gone, in another one.
    let mut response = get(&stack, peer.address).await;
    *response.extensions_mut() = extensions;
    assert_eq!(response.text().await.unwrap(), "hello");
    assert_eq!(held(), NONE);
    let stale = kept.lock().unwrap().pop().unwrap();
    let (stack, held) = between!(move |mut response: Response| {
        *response.extensions_mut() = stale.clone();
        response
    });
    let response = get(&stack, peer.address).await;
    assert_eq!(held(), ALL);
    drop(response);
    assert_eq!(held(), NONE);

    // Without any.
    let (stack, held) = between!(|mut response: Response| {
        response.extensions_mut().clear();
        response
    });
    let response = get(&stack, peer.address).await;
    assert_eq!(held(), ALL);
    assert_eq!(response.text().await.unwrap(), "hello");
    assert_eq!(held(), NONE);
}

#[tokio::test]
async fn every_way_to_be_done_with_a_response() {
    let peer = says("HTTP/1.1 404 No\r\ncontent-length: 5\r\n\r\nhello").await;
    let (layers, watch) = layers!(http);
    let stack = layers.layer(client());
    let ask = async || {
        let response = get(&stack, peer.address).await;
        assert_eq!((watch.held)(), [1, 1]);
        response
    };
    let done = || {
        assert_eq!((watch.held)(), [0, 0]);
        assert_eq!(watch.outcomes(), ["success"]);
    };
    let error = ask().await.error_for_status().unwrap_err();
    assert_eq!(
        error.url().unwrap().as_str(),
        format!("http://{}/", peer.address)
    );
    done();
    ask().await.json::<String>().await.unwrap_err();
    done();
    assert_eq!(ask().await.bytes().await.unwrap(), "hello");
    done();
    drop(ask().await.bytes_stream());
    done();
    let response = http::Response::<Body>::from(ask().await);
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "hello"
    );
    done();
    let body = Body::from(ask().await);
    assert_eq!((watch.held)(), [1, 1]);
    drop(body);
    done();
    // Passed on as the body of a request: read there, and over with that.
    let other = hello().await;
    let request = client().post(format!("http://{}/", other.address));
    let sent = request.body(Body::from(ask().await)).send().await.unwrap();
    drop(sent);
    crate::common::until("the end", || (watch.held)() == [0, 0]).await;
    no_panics();
}

#[tokio::test]
async fn an_error_of_the_body_looks_as_it_does_without_the_layers() {
    for bytes in [
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n",
    ] {
        count_panics();
        let peer = h1(vec![Read, send(bytes), Reset]).await;
        let bare = client().get(format!("http://{}/", peer.address));
        let bare = bare.send().await.unwrap().bytes().await.unwrap_err();
        let (layers, watch) = layers!(http);
        let stack = layers.layer(client());
        let error = get(&stack, peer.address).await.bytes().await.unwrap_err();
        let kind = |error: &reqwest::Error| {
            [
                error.is_body(),
                error.is_decode(),
                error.is_timeout(),
                error.is_request(),
                error.is_connect(),
            ]
        };
        assert_eq!(kind(&error), kind(&bare), "{error:?} {bare:?}");
        assert_eq!(watch.outcomes(), ["failure"]);
        assert_eq!((watch.held)(), [0, 0]);
    }
}

#[tokio::test]
async fn answers_without_a_body_hold_nothing() {
    for head in [
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    ] {
        let peer = says(head).await;
        let (layers, watch) = layers!(http);
        let response = get(&layers.layer(client()), peer.address).await;
        assert_eq!((watch.held)(), [0, 0], "{head}");
        assert_eq!(watch.outcomes(), ["success"], "{head}");
        drop(response);
    }
    let peer = says("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n").await;
    let (layers, watch) = layers!(http);
    let stack = layers.layer(client());
    let head = client().head(format!("http://{}/", peer.address));
    let response = head.send_through(&stack).await.unwrap();
    assert_eq!((watch.held)(), [0, 0]);
    assert_eq!(watch.outcomes(), ["success"]);
    drop(response);
}

#[tokio::test]
async fn a_server_cannot_keep_a_circuit_open_for_ever() {
    let digits = "9".repeat(5_000);
    let busy = format!("HTTP/1.1 503 No\r\nretry-after: {digits}\r\ncontent-length: 0\r\n\r\n");
    let peer = says(&busy).await;
    let max = std::time::Duration::from_secs(90);
    let breaker = mainstay::http::circuit_breaker()
        .consecutive_failures(1)
        .open_max(max)
        .build()
        .unwrap();
    let stack = breaker.layer(client());
    get(&stack, peer.address).await;
    assert_eq!(breaker.handle().state(), State::Open);
    let left = breaker.handle().snapshot().retry_after.unwrap();
    assert!(left <= max, "{left:?}");
}

/// A body of a user's own: gives these frames, then panics or ends, and says what is held when it is dropped.
struct Own {
    frames: Vec<&'static str>,
    panics: bool,
    held: Box<dyn Fn() -> [u32; 2] + Send + Sync>,
    dropped: Arc<Mutex<Vec<[u32; 2]>>>,
}

impl http_body::Body for Own {
    type Data = bytes::Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        let next = self.frames.pop();
        assert!(next.is_some() || !self.panics, "told to panic");
        std::task::Poll::Ready(next.map(|text| Ok(http_body::Frame::data(text.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && !self.panics
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.frames.len() as u64)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.dropped.lock().unwrap().push((self.held)());
    }
}

/// What comes through the layers of a response with such a body.
async fn own(
    panics: bool,
) -> (
    http::Response<Body>,
    super::stacks::Watch,
    Arc<Mutex<Vec<[u32; 2]>>>,
) {
    count_panics();
    let (layers, watch) = layers!(http);
    let (shed, _, bulkhead, _) = layers.clone();
    let dropped = Arc::new(Mutex::new(Vec::new()));
    let body = Own {
        frames: vec!["b", "a"],
        panics,
        held: Box::new(move || [shed.handle().in_flight(), bulkhead.handle().in_flight()]),
        dropped: Arc::clone(&dropped),
    };
    let response = Mutex::new(Some(http::Response::new(Body::wrap(body)).into()));
    let stack = layers.layer(tower::service_fn(move |_: reqwest::Request| {
        let response: Response = response.lock().unwrap().take().unwrap();
        async move { Ok::<_, reqwest::Error>(response) }
    }));
    let request = client().get("http://localhost/").build().unwrap();
    let response = tower::ServiceExt::oneshot(stack, request).await.unwrap();
    (response.into(), watch, dropped)
}

#[tokio::test]
async fn a_body_passes_as_it_is_and_is_over_with_its_last_frame() {
    let (mut response, watch, _) = own(false).await;
    let body = response.body_mut();
    assert_eq!(http_body::Body::size_hint(body).exact(), Some(2));
    assert!(!http_body::Body::is_end_stream(body));
    assert_eq!(
        body.frame().await.unwrap().unwrap().into_data().unwrap(),
        "a"
    );
    assert_eq!((watch.held)(), [1, 1]);
    assert_eq!(
        body.frame().await.unwrap().unwrap().into_data().unwrap(),
        "b"
    );
    assert_eq!((watch.held)(), [0, 0]);
    assert!(http_body::Body::is_end_stream(body));
    assert_eq!(watch.outcomes(), ["success"]);
    for _ in 0..3 {
        assert!(body.frame().await.is_none());
    }
    assert!(watch.outcomes().is_empty());
}

#[tokio::test]
async fn a_body_is_dropped_before_what_it_holds_is_given_back() {
    let (mut response, watch, dropped) = own(false).await;
    response.body_mut().frame().await.unwrap().unwrap();
    drop(response);
    assert_eq!(*dropped.lock().unwrap(), [[1, 1]]);
    assert_eq!((watch.held)(), [0, 0]);
    let (response, watch, dropped) = own(false).await;
    drop(response);
    assert_eq!(*dropped.lock().unwrap(), [[1, 1]]);
    assert_eq!((watch.held)(), [0, 0]);
}

#[tokio::test]
async fn a_body_that_panics_is_a_failure() {
    let (response, watch, _) = own(true).await;
    let read = tokio::spawn(async move { response.into_body().collect().await });
    assert!(read.await.unwrap_err().is_panic());
    assert_eq!(watch.outcomes(), ["failure"]);
    assert_eq!((watch.held)(), [0, 0]);
}

#[tokio::test]
async fn a_body_is_boxed_once_however_many_layers_there_are() {
    fn allocations<L, S>(layers: &L) -> u64
    where
        L: Layer<
                tower::util::ServiceFn<
                    fn(Response) -> std::future::Ready<Result<Response, reqwest::Error>>,
                >,
                Service = S,
            >,
        S: tower::Service<Response, Response = Response>,
    {
        let answer: fn(Response) -> std::future::Ready<_> =
            |response| std::future::ready(Ok(response));
        let mut service = layers.layer(tower::service_fn(answer));
        let cx = &mut std::task::Context::from_waker(std::task::Waker::noop());
        let mut counted = 0;
        // Not the first two times: threads get their counters then, and services a reference count of their own.
        for _ in 0..3 {
            let body = Body::wrap(http_body_util::Full::new(bytes::Bytes::from_static(b"x")));
            let mut response = Some(http::Response::new(body).into());
            let measured = allocation_counter::measure(|| {
                assert!(service.poll_ready(cx).is_ready());
                let mut call = std::pin::pin!(service.call(response.take().unwrap()));
                assert!(call.as_mut().poll(cx).is_ready());
            });
            counted = measured.count_total;
        }
        counted
    }
    let layer = || mainstay::http::bulkhead().build().unwrap();
    let one = allocations(&layer());
    let four = allocations(&(layer(), layer(), layer(), layer()));
    assert!(one > 0);
    // The list of what they hold grows once.
    assert!(four <= one + 1, "{four} of four, {one} of one");
}

#[tokio::test]
async fn streams_of_events_and_upgrades_hold_nothing() {
    for head in [
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: x\n\n",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
    ] {
        let peer = says(head).await;
        let (layers, watch) = layers!(http);
        let response = get(&layers.layer(client()), peer.address).await;
        assert_eq!((watch.held)(), [0, 0], "{head}");
        assert_eq!(watch.outcomes(), ["success"], "{head}");
        drop(response);
        assert!(watch.outcomes().is_empty());
    }
}
