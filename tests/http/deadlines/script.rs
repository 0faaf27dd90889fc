//! A body that does what it is told, and tells what it saw.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use mainstay::http::{BodyLimits, HttpLimit, TimedBody};
use mainstay::timeout::Timeout;
use mainstay::{BoxError, Context, Reason, Rejection, TimeoutLayer};
use tower::{Layer, Service, service_fn};

#[derive(Debug, Clone)]
pub(crate) enum Step {
    Data(&'static str),
    Trailers,
    Wait(Duration),
    /// Keeps the thread to itself for so long.
    Block(Duration),
    Hang,
    Fail,
    Panic,
}

/// What a body and its drop saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) polls: u32,
    pub(crate) dropped: bool,
    /// What was left of the deadline, at each poll and at the drop.
    pub(crate) left: Vec<Option<Duration>>,
}

#[derive(Debug)]
pub(crate) struct Script {
    steps: VecDeque<Step>,
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
    seen: Arc<Mutex<Seen>>,
    panics_in_drop: bool,
}

impl Script {
    pub(crate) fn new(steps: impl Into<VecDeque<Step>>) -> (Self, Arc<Mutex<Seen>>) {
        let seen = Arc::<Mutex<Seen>>::default();
        let script = Self {
            steps: steps.into(),
            sleep: None,
            seen: Arc::clone(&seen),
            panics_in_drop: false,
        };
        (script, seen)
    }

    pub(crate) fn panics_in_drop(mut self) -> Self {
        self.panics_in_drop = true;
        self
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        {
            let mut seen = self.seen.lock().unwrap();
            seen.polls += 1;
            seen.left.push(Context::current().remaining());
        }
        loop {
            if let Some(sleep) = &mut self.sleep {
                ready!(sleep.as_mut().poll(cx));
                self.sleep = None;
            }
            return Poll::Ready(match self.steps.pop_front() {
                None => None,
                Some(Step::Data(data)) => {
                    Some(Ok(Frame::data(Bytes::from_static(data.as_bytes()))))
                }
                Some(Step::Trailers) => Some(Ok(Frame::trailers(HeaderMap::new()))),
                Some(Step::Fail) => Some(Err(std::io::Error::other("broken"))),
                Some(Step::Panic) => panic!("told to panic"),
                Some(Step::Wait(time)) => {
                    self.sleep = Some(Box::pin(tokio::time::sleep(time)));
                    continue;
                }
                Some(Step::Block(time)) => {
                    std::thread::sleep(time);
                    continue;
                }
                Some(Step::Hang) => {
                    self.steps.push_front(Step::Hang);
                    return Poll::Pending;
                }
            });
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        hint.set_lower(self.steps.len() as u64);
        hint
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let mut seen = self.seen.lock().unwrap();
        seen.dropped = true;
        seen.left.push(Context::current().remaining());
        drop(seen);
        assert!(!self.panics_in_drop, "told to panic");
    }
}

pub(crate) type HttpTimeout = TimeoutLayer<HttpLimit, BodyLimits>;

/// The response with this body behind a layer.
pub(crate) async fn behind(
    layer: &HttpTimeout,
    response: Response<Script>,
) -> Response<TimedBody<Script>> {
    let mut response = Some(response);
    let mut service: Timeout<_, _, _> = layer.layer(service_fn(move |_: Request<()>| {
        let response = response.take().unwrap();
        async move { Ok::<_, Infallible>(response) }
    }));
    service.call(Request::new(())).await.unwrap()
}

/// A body of these steps behind a layer, and what it saw.
pub(crate) async fn body(
    layer: &HttpTimeout,
    steps: impl Into<VecDeque<Step>>,
) -> (TimedBody<Script>, Arc<Mutex<Seen>>) {
    let (script, seen) = Script::new(steps);
    (behind(layer, Response::new(script)).await.into_body(), seen)
}

/// The same with a content type.
pub(crate) async fn typed(
    layer: &HttpTimeout,
    content_type: &str,
    steps: impl Into<VecDeque<Step>>,
) -> (TimedBody<Script>, Arc<Mutex<Seen>>) {
    let (script, seen) = Script::new(steps);
    let response = Response::builder().header("content-type", content_type);
    let response = behind(layer, response.body(script).unwrap()).await;
    (response.into_body(), seen)
}

/// The next data, the end, or why there is none.
pub(crate) async fn next<B>(body: &mut B) -> Option<Result<String, BoxError>>
where
    B: Body<Data = Bytes, Error = BoxError> + Unpin,
{
    let frame = match body.frame().await? {
        Ok(frame) => frame,
        Err(error) => return Some(Err(error)),
    };
    Some(Ok(match frame.into_data() {
        Ok(data) => String::from_utf8(data.to_vec()).unwrap(),
        Err(frame) => format!("{:?}", frame.into_trailers().unwrap()),
    }))
}

/// Why a body was ended.
#[track_caller]
pub(crate) fn ended(next: Option<Result<String, BoxError>>) -> Reason {
    let error = next.expect("a frame").expect_err("an error");
    Rejection::find(&*error).expect("a rejection").reason()
}
