//! Clients and servers behind the layers, and what can be seen of the layers from outside.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use http_body_util::{BodyExt as _, Full};
use mainstay::reqwest::SendThrough as _;
use mainstay::{Event, EventKind};
use tokio::time::timeout;
use tonic::Status;
use tower::ServiceExt as _;

use crate::common::{until, within};
use crate::users::ListRequest;
use crate::users::users_client::UsersClient;

/// So long a call may take to its head: `TimeoutLayer`'s.
pub(crate) const LIMIT: Duration = Duration::from_millis(300);
/// So long a caller reads a body that is not to end before it lets go of it.
pub(crate) const PATIENCE: Duration = Duration::from_millis(100);
/// So much a caller reads of a body.
const MUCH: usize = 1 << 20;

/// The layers of one stack, seen from outside.
pub(crate) struct Watch {
    pub(crate) held: Box<dyn Fn() -> [u32; 2] + Send + Sync>,
    told: Told,
}

type Told = Arc<Mutex<Vec<String>>>;

/// A circuit breaker's observer, and what it was told of outcomes.
pub(crate) fn observer() -> (impl Fn(&Event) + Send + Sync + 'static, Told) {
    let told = Told::default();
    let list = Arc::clone(&told);
    let observer = move |event: &Event| {
        if let EventKind::Settled { outcome, .. } = event.kind() {
            list.lock().unwrap().push(outcome.to_string());
        }
    };
    (observer, told)
}

impl Watch {
    pub(crate) fn new(held: impl Fn() -> [u32; 2] + Send + Sync + 'static, told: Told) -> Self {
        Self {
            held: Box::new(held),
            told,
        }
    }

    /// What the circuit breaker has learned since it was last asked.
    pub(crate) fn outcomes(&self) -> Vec<String> {
        std::mem::take(&mut *self.told.lock().unwrap())
    }

    /// Everything has been given back, if not at once then as soon as the tasks of the connection notice.
    pub(crate) async fn is_idle(&self, case: &str) {
        let what = format!("everything to be given back: {case}");
        until(&what, || (self.held)() == [0, 0]).await;
    }

    /// What the circuit breaker has learned once nothing more comes: the other side may be far behind with what it was sent.
    pub(crate) async fn calm(&self, case: &str) -> Vec<String> {
        let mut outcomes = Vec::new();
        loop {
            tokio::time::sleep(PATIENCE).await;
            self.is_idle(case).await;
            match self.outcomes() {
                more if more.is_empty() => return outcomes,
                more => outcomes.extend(more),
            }
        }
    }
}

/// Load shedding, circuit breaker, bulkhead and time limit of a protocol, and the watch over them.
macro_rules! layers {
    ($protocol:ident) => {{
        let (observer, told) = super::stacks::observer();
        let shed = mainstay::$protocol::load_shed()
            .limit(mainstay::Limit::fixed(500))
            .build()
            .unwrap();
        let breaker = mainstay::$protocol::circuit_breaker()
            .min_calls(1_000)
            .observer(observer)
            .build()
            .unwrap();
        let bulkhead = mainstay::$protocol::bulkhead().limit(400).build().unwrap();
        let timeout = mainstay::TimeoutLayer::new(super::stacks::LIMIT);
        let held = {
            // The circuit breaker too: one that is gone tells nothing.
            let (shed, breaker, bulkhead) = (shed.clone(), breaker.clone(), bulkhead.clone());
            move || {
                let _keeps = &breaker;
                [shed.handle().in_flight(), bulkhead.handle().in_flight()]
            }
        };
        let watch = super::stacks::Watch::new(held, told);
        ((shed, breaker, bulkhead, timeout), watch)
    }};
}
pub(crate) use layers;

/// What a caller saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A head with this status, and all of its body.
    Whole(u16),
    /// A head, and a body that broke off.
    Broken(u16),
    /// A head, and a body that the caller had enough of.
    Left(u16),
    /// No head.
    Nothing,
}

/// Reads a body as a careful caller does.
pub(crate) async fn read<B: Body>(status: u16, body: B, patience: Duration) -> Seen {
    let mut body = std::pin::pin!(body);
    let reading = async {
        let mut size = 0;
        while size < MUCH {
            match body.frame().await {
                None => return Seen::Whole(status),
                Some(Err(_)) => return Seen::Broken(status),
                Some(Ok(frame)) => {
                    size += frame.data_ref().map_or(0, bytes::Buf::remaining);
                }
            }
        }
        Seen::Left(status)
    };
    timeout(patience, reading)
        .await
        .unwrap_or(Seen::Left(status))
}

/// One call, made in a task of its own: what a panic of the client does to the layers is part of what is tried.
pub(crate) async fn in_task<F>(case: &str, call: F) -> Option<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    within(case, tokio::spawn(call)).await.ok()
}

pub(crate) async fn by_reqwest<S>(
    stack: S,
    address: SocketAddr,
    request: &'static [u8],
    patience: Duration,
) -> Seen
where
    S: tower::Service<reqwest::Request, Response = reqwest::Response> + Clone,
    S::Error: From<reqwest::Error>,
{
    let client = reqwest::Client::new();
    let call = client.post(format!("http://{address}/")).body(request);
    match call.send_through(&stack).await {
        Ok(response) => {
            let response = http::Response::<reqwest::Body>::from(response);
            read(response.status().as_u16(), response.into_body(), patience).await
        }
        Err(_) => Seen::Nothing,
    }
}

pub(crate) async fn by_hyper<S, B>(
    stack: S,
    address: SocketAddr,
    request: &'static [u8],
    patience: Duration,
) -> Seen
where
    S: tower::Service<http::Request<Full<Bytes>>, Response = http::Response<B>>,
    B: Body,
{
    let request = http::Request::post(format!("http://{address}/"))
        .body(Full::from(request))
        .unwrap();
    match stack.oneshot(request).await {
        Ok(response) => read(response.status().as_u16(), response.into_body(), patience).await,
        Err(_) => Seen::Nothing,
    }
}

/// A call of a streaming method through tonic: how many messages came, and what the end was. `None` is that the caller had enough.
pub(crate) async fn by_tonic<S, B>(
    stack: S,
    patience: Duration,
) -> (usize, Option<Result<(), Status>>)
where
    S: tower::Service<http::Request<tonic::body::Body>, Response = http::Response<B>>,
    S::Error: Into<tower::BoxError>,
    B: Body<Data = Bytes, Error: Into<tower::BoxError> + Send> + Send + 'static,
{
    let mut messages = 0;
    let mut client = UsersClient::new(stack);
    let mut users = match client.list(ListRequest { limit: 0 }).await {
        Ok(response) => response.into_inner(),
        Err(status) => return (0, Some(Err(status))),
    };
    let reading = async {
        while messages < 10_000 {
            match users.message().await {
                Ok(Some(_)) => messages += 1,
                Ok(None) => return Some(Ok(())),
                Err(status) => return Some(Err(status)),
            }
        }
        None
    };
    let end = timeout(patience, reading).await.unwrap_or(None);
    (messages, end)
}

// --- Panics

static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Counts panics from now on, but for those of the tests themselves.
pub(crate) fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let place = info.location().map_or(String::new(), ToString::to_string);
            // tonic's own, of a `grpc-status-details-bin` that is no base64: it takes the caller's task with it.
            let known = place.contains("tonic-") && place.contains("status.rs");
            if known {
                return;
            }
            if !place.starts_with("tests/") {
                PANICS.lock().unwrap().push(format!("{place}: {info}"));
            }
            usual(info);
        }));
    });
}

#[track_caller]
pub(crate) fn no_panics() {
    assert_eq!(*PANICS.lock().unwrap(), Vec::<String>::new());
}
