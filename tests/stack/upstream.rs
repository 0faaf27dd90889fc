//! A service behind a stack that does what it is told, call by call, and remembers what it saw.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use mainstay::{Context, Error, Rejection};
use tokio::time::Instant;
use tower::{Service, ServiceExt};

pub(crate) type Req = Request<Full<Bytes>>;

#[derive(Debug, Clone)]
pub(crate) enum Act {
    Status(u16),
    /// With this header.
    Says(u16, &'static str, &'static str),
    /// After so long.
    Later(Duration, u16),
    Hang,
    /// The connection breaks.
    Fail,
    /// 200, a piece of the body, and then nothing any more.
    Stall,
    /// A gRPC status in the head.
    Grpc(&'static str),
    /// The same, with a hint in milliseconds when to come back.
    Hinted(&'static str, &'static str),
    Panic,
}

/// What a call looked like from here.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) at: Duration,
    pub(crate) headers: HeaderMap,
    pub(crate) context: Context,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        Some(self.headers.get(name)?.to_str().unwrap())
    }
}

#[derive(Clone)]
pub(crate) struct Upstream(Arc<State>);

struct State {
    began: Instant,
    script: Mutex<VecDeque<Act>>,
    after: Act,
    seen: Mutex<Vec<Seen>>,
    in_flight: AtomicU32,
    is_ready: AtomicBool,
    waits: futures::task::AtomicWaker,
}

impl Upstream {
    /// Does this again and again.
    pub(crate) fn always(act: Act) -> Self {
        Self::script([], act)
    }

    /// Does these in turn, and then the last again and again.
    pub(crate) fn script(acts: impl Into<VecDeque<Act>>, after: Act) -> Self {
        Self(Arc::new(State {
            began: Instant::now(),
            script: Mutex::new(acts.into()),
            after,
            seen: Mutex::default(),
            in_flight: AtomicU32::new(0),
            is_ready: AtomicBool::new(true),
            waits: futures::task::AtomicWaker::new(),
        }))
    }

    /// Is not ready from now on, for ever.
    pub(crate) fn never_ready(self) -> Self {
        self.0.is_ready.store(false, Ordering::SeqCst);
        self
    }

    pub(crate) fn becomes_ready(&self) {
        self.0.is_ready.store(true, Ordering::SeqCst);
        self.0.waits.wake();
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.0.seen.lock().unwrap().clone()
    }

    pub(crate) fn calls(&self) -> usize {
        self.0.seen.lock().unwrap().len()
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.0.in_flight.load(Ordering::SeqCst)
    }
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Upstream")
    }
}

struct InFlight(Arc<State>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

fn status(status: u16) -> Response<Body> {
    let mut response = Response::new(Body::from(status.to_string()));
    *response.status_mut() = status.try_into().unwrap();
    response
}

fn grpc(code: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert("content-type", "application/grpc".parse().unwrap());
    headers.insert("grpc-status", code.parse().unwrap());
    response
}

async fn act(act: Act, here: InFlight) -> io::Result<Response<Body>> {
    Ok(match act {
        Act::Status(code) => status(code),
        Act::Says(code, name, value) => {
            let mut response = status(code);
            response.headers_mut().insert(name, value.parse().unwrap());
            response
        }
        Act::Later(time, code) => {
            tokio::time::sleep(time).await;
            status(code)
        }
        Act::Hang => std::future::pending().await,
        Act::Fail => return Err(io::ErrorKind::ConnectionReset.into()),
        Act::Stall => {
            let first = futures::stream::iter([Ok::<_, Infallible>("first")]);
            let stalled = futures::stream::pending();
            let held = first.chain(stalled).map(move |piece| {
                let _here = &here;
                piece
            });
            Response::new(Body::from_stream(held))
        }
        Act::Grpc(code) => grpc(code),
        Act::Hinted(code, after) => {
            let mut response = grpc(code);
            let headers = response.headers_mut();
            headers.insert("grpc-retry-pushback-ms", after.parse().unwrap());
            response
        }
        Act::Panic => panic!("told to panic"),
    })
}

type Call = Pin<Box<dyn Future<Output = io::Result<Response<Body>>> + Send>>;

impl Service<Req> for Upstream {
    type Response = Response<Body>;
    type Error = io::Error;
    type Future = Call;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        self.0.waits.register(cx.waker());
        if self.0.is_ready.load(Ordering::SeqCst) {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    fn call(&mut self, request: Req) -> Call {
        let state = &self.0;
        state.seen.lock().unwrap().push(Seen {
            at: state.began.elapsed(),
            headers: request.headers().clone(),
            context: Context::current(),
        });
        let next = state.script.lock().unwrap().pop_front();
        state.in_flight.fetch_add(1, Ordering::SeqCst);
        let here = InFlight(Arc::clone(state));
        Box::pin(act(next.unwrap_or_else(|| state.after.clone()), here))
    }
}

pub(crate) fn get() -> Req {
    Request::get("/").body(Full::default()).unwrap()
}

pub(crate) fn post() -> Req {
    Request::post("/").body(Full::from("order")).unwrap()
}

/// One of gRPC.
pub(crate) fn rpc() -> Req {
    Request::post("/users.Users/Get")
        .header("content-type", "application/grpc")
        .body(Full::from(&b"\0\0\0\0\0"[..]))
        .unwrap()
}

/// Answers as a server does: with errors that only are rejections.
pub(crate) fn infallible(
    upstream: Upstream,
) -> impl Service<Req, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
+ Clone
+ Send
+ Sync
+ 'static {
    upstream.map_err(|error| -> Infallible { panic!("{error}") })
}

/// One call on a clone of its own.
pub(crate) async fn call<S, R>(service: &S, request: R) -> Result<S::Response, S::Error>
where
    S: Service<R> + Clone,
{
    service.clone().oneshot(request).await
}

/// The rejection that a call ended in.
#[track_caller]
pub(crate) fn rejected<T, E: std::fmt::Debug>(result: Result<T, Error<E>>) -> Rejection {
    match result {
        Err(Error::Rejected(rejection)) => rejection,
        Err(Error::Inner(error)) => panic!("not rejected: {error:?}"),
        Ok(_) => panic!("not rejected"),
    }
}

/// Which layer rejected it, by which name, and why.
#[track_caller]
pub(crate) fn by<T, E: std::fmt::Debug>(result: Result<T, Error<E>>) -> String {
    let rejection = rejected(result);
    let (layer, name, reason) = (rejection.layer(), rejection.name(), rejection.reason());
    format!("{layer} `{name}` {reason:?}")
}

/// Lets all other tasks run until they wait, without letting time pass.
pub(crate) async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}
