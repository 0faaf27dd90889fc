//! Bodies that do what they are told, and what the layers then tell.

use std::collections::VecDeque;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use http_body::{Body, Frame, SizeHint};
use mainstay::{Event, EventKind};
use tokio::time::{Instant, Sleep, sleep_until};
use tower::{Layer, Service, ServiceExt as _, service_fn};

/// What a [`Script`] does next.
#[derive(Clone)]
pub(crate) enum Step {
    Data(&'static str),
    Trailers(HeaderMap),
    /// Nothing comes for so long.
    Wait(Duration),
    Break,
    Panic,
}

pub(crate) use Step::{Break, Data, Panic, Wait};

/// A body that follows a script, and then is at its end.
pub(crate) struct Script {
    steps: VecDeque<Step>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Says that it is at its end when it is, or leaves it to its reader to find out.
    pub(crate) says_so: bool,
}

pub(crate) fn script(steps: impl IntoIterator<Item = Step>) -> Script {
    Script {
        steps: steps.into_iter().collect(),
        timer: None,
        says_so: true,
    }
}

impl Script {
    /// The same from the beginning, of one that has not been read.
    pub(crate) fn again(&self) -> Self {
        script(self.steps.iter().cloned())
    }
}

/// Trailers with this `grpc-status`.
pub(crate) fn status(code: &str) -> Step {
    trailers(&[("grpc-status", code)])
}

pub(crate) fn trailers(fields: &[(&'static str, &str)]) -> Step {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(*name, HeaderValue::from_str(value).unwrap());
    }
    Step::Trailers(map)
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BrokenOff;

impl Body for Script {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        loop {
            if let Some(timer) = &mut self.timer {
                std::task::ready!(timer.as_mut().poll(cx));
                self.timer = None;
            }
            return Poll::Ready(match self.steps.pop_front() {
                None => None,
                Some(Step::Data(text)) => {
                    Some(Ok(Frame::data(Bytes::from_static(text.as_bytes()))))
                }
                Some(Step::Trailers(map)) => Some(Ok(Frame::trailers(map))),
                Some(Step::Break) => Some(Err(BrokenOff)),
                Some(Step::Panic) => panic!("the body panics"),
                Some(Step::Wait(time)) => {
                    self.timer = Some(Box::pin(sleep_until(Instant::now() + time)));
                    continue;
                }
            });
        }
    }

    fn is_end_stream(&self) -> bool {
        self.says_so && self.steps.is_empty() && self.timer.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        hint.set_lower(7);
        hint.set_upper(70);
        hint
    }
}

/// An HTTP response with this status.
pub(crate) fn answer(status: u16, body: Script) -> Response<Script> {
    Response::builder().status(status).body(body).unwrap()
}

/// A gRPC response whose head does not decide.
pub(crate) fn grpc(body: Script) -> Response<Script> {
    typed("application/grpc", body)
}

pub(crate) fn typed(content_type: &str, body: Script) -> Response<Script> {
    Response::builder()
        .header("content-type", content_type)
        .body(body)
        .unwrap()
}

/// The response as it comes out of the layer.
pub(crate) async fn through<L, S, B>(layer: &L, response: Response<Script>) -> Response<B>
where
    L: Layer<Echo, Service = S>,
    S: Service<Response<Script>, Response = Response<B>>,
    S::Error: std::fmt::Debug,
{
    let service = layer.layer(echo());
    service.oneshot(response).await.unwrap()
}

/// A service that answers with its request.
pub(crate) type Echo = tower::util::ServiceFn<fn(Response<Script>) -> Answered>;
pub(crate) type Answered = std::future::Ready<Result<Response<Script>, std::io::Error>>;

pub(crate) fn echo() -> Echo {
    service_fn(|response| std::future::ready(Ok(response)))
}

/// Everything that is left of a body: its data, and whether it broke off.
pub(crate) async fn read<B>(body: B) -> (String, Option<B::Error>)
where
    B: Body<Data = Bytes>,
{
    let mut body = std::pin::pin!(body);
    let mut text = String::new();
    while let Some(frame) = next(body.as_mut()).await {
        match frame {
            Ok(frame) => {
                if let Ok(data) = frame.into_data() {
                    text.push_str(str::from_utf8(&data).unwrap());
                }
            }
            Err(error) => return (text, Some(error)),
        }
    }
    (text, None)
}

/// What comes next of a body.
pub(crate) type Next<B> = Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>;

pub(crate) async fn next<B: Body>(mut body: Pin<&mut B>) -> Next<B> {
    std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await
}

/// The outcomes that a layer told, with the latency where it takes it.
#[derive(Clone, Default)]
pub(crate) struct Told(Arc<Mutex<Vec<Settled>>>);

type Settled = (String, Option<Duration>);

impl Told {
    pub(crate) fn observer(&self) -> impl Fn(&Event) + Send + Sync + 'static {
        let list = Arc::clone(&self.0);
        move |event| {
            if let EventKind::Settled {
                outcome, latency, ..
            } = event.kind()
            {
                list.lock().unwrap().push((outcome.to_string(), *latency));
            }
        }
    }

    pub(crate) fn outcomes(&self) -> Vec<String> {
        let list = self.0.lock().unwrap();
        list.iter().map(|(outcome, _)| outcome.clone()).collect()
    }

    pub(crate) fn latencies(&self) -> Vec<Option<Duration>> {
        let list = self.0.lock().unwrap();
        list.iter().map(|(_, latency)| *latency).collect()
    }
}
