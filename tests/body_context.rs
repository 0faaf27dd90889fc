//! What a response body that is streamed knows of its request, over real sockets: log lines, calls to others, its own end.
#![cfg(all(
    feature = "axum",
    feature = "tonic",
    feature = "reqwest",
    feature = "tracing"
))]

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex};
use std::task;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response};
use axum::routing::get;
use futures::{FutureExt as _, Stream, StreamExt as _, stream};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use mainstay::http::InContextBody;
use mainstay::reqwest::SendThrough as _;
use mainstay::{BulkheadLayer, Context, CorrelationLayer, RespondLayer};
use tokio::task::yield_now;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint, Server};
use tower::{Layer as _, ServiceBuilder, ServiceExt as _, service_fn};
use tracing::info;

#[allow(unreachable_pub, reason = "generated")]
mod users {
    include!("../examples/proto/users.rs");
}
use users::users_client::UsersClient;
use users::users_server::{Users, UsersServer};
use users::{GetRequest, ListRequest, User};

mod common;
use common::{listener, serve, until, within};

const FIELD: &str = "x-correlation-id";

/// What all tests of this file log, as a user would read it.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

static LOG: LazyLock<Log> = LazyLock::new(|| {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    log
});

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// The lines that say this.
    fn saying(&self, what: &str) -> Vec<String> {
        let log = self.0.lock().unwrap();
        let log = std::str::from_utf8(&log).unwrap().lines();
        log.filter(|line| line.contains(what))
            .map(str::to_owned)
            .collect()
    }
}

/// Fails unless each of these was logged once under each of the IDs, and under nothing else.
#[track_caller]
fn assert_logged(what: &[&str], ids: &[&str]) {
    for what in what {
        let lines = LOG.saying(what);
        assert_eq!(lines.len(), ids.len(), "{what}: {lines:#?}");
        for id in ids {
            let span = format!("server{{correlation_id={id}}}: ");
            let lines: Vec<_> = lines.iter().filter(|line| line.contains(&span)).collect();
            assert_eq!(lines.len(), 1, "{what}, {id}: {lines:#?}");
        }
    }
}

fn current() -> String {
    let context = Context::current();
    context
        .correlation_id()
        .map_or_else(|| "none".to_owned(), ToString::to_string)
}

/// Logs that it is dropped.
struct Last(&'static str);

impl Drop for Last {
    fn drop(&mut self) {
        info!("{}", self.0);
    }
}

async fn get_as(address: SocketAddr, id: &str) -> reqwest::Response {
    let client = reqwest::Client::new();
    let request = client.get(format!("http://{address}/")).header(FIELD, id);
    within("a response", request.send()).await.unwrap()
}

// --- axum

/// Logs wherever it can, and answers with the ID that each of three chunks sees.
async fn logging() -> Body {
    info!("axum: handler");
    let task = mainstay::spawn(async {
        yield_now().await;
        info!("axum: task is done");
    });
    task.await.unwrap();
    let closure = mainstay::spawn_blocking(|| {
        info!("axum: closure");
        current()
    });
    let seen = closure.await.unwrap();
    assert_eq!(seen, current());
    let last = Last("axum: body is dropped");
    let chunks = stream::iter(0..3).then(move |n| {
        let _last = &last;
        async move {
            yield_now().await;
            info!("axum: chunk {n}");
            let task = mainstay::spawn(async move { info!("axum: task of chunk {n}") });
            task.await.unwrap();
            Ok::<_, Infallible>(format!("{} ", current()))
        }
    });
    Body::from_stream(chunks)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_log_lines_of_an_axum_request_carry_its_id() {
    LazyLock::force(&LOG);
    let layers = (CorrelationLayer::server(), RespondLayer::new());
    let router = Router::new().route("/", get(logging)).layer(layers);
    let address = serve(router).await;
    let uuid = "0190163d-8694-739b-aea5-966c26f8ad91";
    let (one, two) = tokio::join!(
        async { get_as(address, "order-axum").await.text().await.unwrap() },
        async { get_as(address, uuid).await.text().await.unwrap() },
    );
    assert_eq!(one, "order-axum ".repeat(3));
    assert_eq!(two, format!("{uuid} ").repeat(3));
    until("the bodies' end", || {
        LOG.saying("axum: body is dropped").len() == 2
    })
    .await;
    let what = [
        "axum: handler",
        "axum: task is done",
        "axum: closure",
        "axum: chunk 0",
        "axum: chunk 1",
        "axum: chunk 2",
        "axum: task of chunk 0",
        "axum: task of chunk 1",
        "axum: task of chunk 2",
        "axum: body is dropped",
    ];
    assert_logged(&what, &["order-axum", uuid]);
}

#[tokio::test]
async fn a_whole_router_can_be_served_too() {
    let router = Router::new().route("/", get(async || current()));
    let app = ServiceBuilder::new()
        .map_response(|response: Response<_>| response.map(Body::new))
        .layer(CorrelationLayer::server())
        .layer(RespondLayer::new())
        .layer(BulkheadLayer::new(8))
        .service(router);
    let (listener, address) = listener().await;
    let app = axum::ServiceExt::<Request>::into_make_service(app);
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let response = get_as(address, "order-whole").await;
    assert_eq!(response.text().await.unwrap(), "order-whole");

    // As the fallback of another router its body needs no box.
    let router = Router::new().route("/", get(async || current()));
    let service = CorrelationLayer::server().layer(router);
    let address = serve(Router::new().fallback_service(service)).await;
    let response = get_as(address, "order-whole").await;
    assert_eq!(response.text().await.unwrap(), "order-whole");
}

#[tokio::test]
async fn a_body_that_is_given_up_is_dropped_under_its_id() {
    LazyLock::force(&LOG);
    let endless = async || {
        let last = Last("given up: dropped");
        Body::from_stream(stream::repeat_with(move || {
            let _last = &last;
            Ok::<_, Infallible>("more")
        }))
    };
    let router = Router::new().route("/", get(endless));
    let address = serve(router.layer(CorrelationLayer::server())).await;
    let mut response = get_as(address, "order-given-up").await;
    assert!(response.chunk().await.unwrap().is_some());
    drop(response);
    until("the drop", || !LOG.saying("given up: dropped").is_empty()).await;
    assert_logged(&["given up: dropped"], &["order-given-up"]);
}

// --- tonic

/// Asks the next directory, if there is one, about each of its users, while the list is streamed.
#[derive(Clone)]
struct Directory {
    next: Option<Channel>,
}

type Client =
    UsersClient<mainstay::correlation::Correlation<Channel, mainstay::correlation::Client>>;

impl Directory {
    fn next(&self) -> Option<Client> {
        let channel = self.next.clone()?;
        Some(UsersClient::new(CorrelationLayer::client().layer(channel)))
    }
}

#[tonic::async_trait]
impl Users for Directory {
    /// The email is the ID that came over the wire.
    async fn get(
        &self,
        request: tonic::Request<GetRequest>,
    ) -> Result<tonic::Response<User>, Status> {
        let id = request.metadata().get(FIELD);
        let email = id.map_or("none", |id| id.to_str().unwrap()).to_owned();
        let name = request.into_inner().name;
        Ok(tonic::Response::new(User { name, email }))
    }

    type ListStream = Pin<Box<dyn Stream<Item = Result<User, Status>> + Send>>;

    async fn list(
        &self,
        request: tonic::Request<ListRequest>,
    ) -> Result<tonic::Response<Self::ListStream>, Status> {
        info!("tonic: method");
        let task = mainstay::spawn(async { info!("tonic: task") });
        task.await.unwrap();
        let directory = self.clone();
        let users = stream::iter(0..request.into_inner().limit).then(move |n| {
            let next = directory.next();
            async move {
                info!("tonic: user {n}");
                let name = current();
                match next {
                    Some(mut next) => Ok(next.get(GetRequest { name }).await?.into_inner()),
                    None => Ok(User {
                        name,
                        email: String::new(),
                    }),
                }
            }
        });
        let end = stream::once(async {
            info!("tonic: end");
            Err(Status::data_loss("torn"))
        });
        Ok(tonic::Response::new(Box::pin(users.chain(end))))
    }
}

async fn serve_users(directory: Directory) -> Channel {
    let (listener, address) = listener().await;
    let server = Server::builder()
        .layer((CorrelationLayer::server(), RespondLayer::new()))
        .add_service(UsersServer::new(directory))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(async move { server.await.unwrap() });
    Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect_lazy()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_log_lines_and_calls_of_a_tonic_stream_carry_its_id() {
    LazyLock::force(&LOG);
    let next = serve_users(Directory { next: None }).await;
    let channel = serve_users(Directory { next: Some(next) }).await;
    let mut client = UsersClient::new(channel);
    let mut request = tonic::Request::new(ListRequest { limit: 3 });
    request
        .metadata_mut()
        .insert(FIELD, "order-tonic".parse().unwrap());
    let mut list = within("a list", client.list(request))
        .await
        .unwrap()
        .into_inner();
    for _ in 0..3 {
        let user = list.message().await.unwrap().unwrap();
        assert_eq!(user.name, "order-tonic", "in the stream");
        assert_eq!(user.email, "order-tonic", "at the next service");
    }
    // The trailers come through as they are.
    let status = list.message().await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::DataLoss);
    assert_eq!(status.message(), "torn");
    let what = [
        "tonic: method",
        "tonic: task",
        "tonic: user 0",
        "tonic: user 1",
        "tonic: user 2",
        "tonic: end",
    ];
    assert_logged(&what, &["order-tonic"]);
}

// --- Calls to others

#[tokio::test]
async fn a_call_that_a_body_makes_by_reqwest_passes_the_id_on() {
    let upstream = Router::new().route(
        "/",
        get(async |headers: HeaderMap| headers[FIELD].to_str().unwrap().to_owned()),
    );
    let upstream = format!("http://{}/", serve(upstream).await);
    let relay = async |State(url): State<String>| {
        let client = reqwest::Client::new();
        let stack = CorrelationLayer::client().layer(client.clone());
        let chunks = stream::iter(0..3).then(move |_| {
            let call = client.get(&url).send_through(&stack);
            async move { call.await.unwrap().bytes().await }
        });
        Body::from_stream(chunks)
    };
    let router = Router::new().route("/", get(relay)).with_state(upstream);
    let address = serve(router.layer(CorrelationLayer::server())).await;
    let response = get_as(address, "order-relay").await;
    let body = within("a body", response.text()).await.unwrap();
    assert_eq!(body, "order-relay".repeat(3));
}

#[tokio::test]
async fn a_body_under_hyper_sees_the_id_and_no_more() {
    let handler = async || {
        Body::from_stream(stream::once(async {
            let context = Context::current();
            let seen = (current(), context.attempt(), context.remaining());
            Ok::<_, Infallible>(format!("{seen:?}"))
        }))
    };
    let router = Router::new().route("/", get(handler));
    let address = serve(router.layer(CorrelationLayer::server())).await;
    let response = get_as(address, "order-seen").await;
    assert_eq!(response.text().await.unwrap(), r#"("order-seen", 0, None)"#);
}

// --- The body itself

/// A body that notes the ID whenever it is touched.
struct Noting {
    seen: Arc<Mutex<Vec<String>>>,
    frames: Vec<&'static str>,
}

impl Noting {
    fn new(frames: &[&'static str]) -> (Self, Arc<Mutex<Vec<String>>>) {
        let seen = Arc::default();
        let frames = frames.to_vec();
        (
            Self {
                seen: Arc::clone(&seen),
                frames,
            },
            seen,
        )
    }
}

impl http_body::Body for Noting {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
    ) -> task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.seen
            .lock()
            .unwrap()
            .push(format!("poll {}", current()));
        task::Poll::Ready(self.frames.pop().map(|frame| match frame {
            "panic" => panic!("in the body"),
            data => Ok(Frame::data(Bytes::from(data))),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        hint.set_lower(self.frames.len() as u64);
        hint.set_upper(1_000);
        hint
    }
}

impl Drop for Noting {
    fn drop(&mut self) {
        self.seen
            .lock()
            .unwrap()
            .push(format!("drop {}", current()));
    }
}

fn context() -> Context {
    Context::current().with_correlation_id("order-body".parse().unwrap())
}

#[test]
fn size_and_end_are_those_of_the_inner_body() {
    let (body, seen) = Noting::new(&["b", "a"]);
    let mut body = InContextBody::new(body, context());
    for left in [2, 1] {
        assert!(!body.is_end_stream());
        let hint = body.size_hint();
        assert_eq!((hint.lower(), hint.upper()), (left, Some(1_000)));
        let frame = body.frame().now_or_never().unwrap().unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap().len(), 1);
    }
    assert!(body.is_end_stream());
    assert_eq!(body.size_hint().lower(), 0);
    assert!(body.frame().now_or_never().unwrap().is_none());
    drop(body);
    let polls = ["poll order-body"; 3].into_iter();
    let expected: Vec<_> = polls.chain(["drop order-body"]).collect();
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[test]
fn making_and_reading_one_allocates_nothing() {
    let id = "0190163d-8694-739b-aea5-966c26f8ad91".parse().unwrap();
    let context = Context::current().with_correlation_id(id);
    let body = http_body_util::Full::new(Bytes::from_static(b"whole"));
    let counted = allocation_counter::measure(|| {
        let mut body = InContextBody::new(body, context);
        assert!(body.frame().now_or_never().unwrap().unwrap().is_ok());
        assert!(body.frame().now_or_never().unwrap().is_none());
    });
    assert_eq!(counted.count_total, 0);
}

#[test]
fn a_body_that_is_at_its_end_is_in_no_context() {
    let (body, seen) = Noting::new(&[]);
    let mut body = InContextBody::new(body, context());
    assert!(body.is_end_stream());
    assert!(body.frame().now_or_never().unwrap().is_none());
    drop(body);
    assert_eq!(*seen.lock().unwrap(), ["poll none", "drop none"]);
}

#[test]
fn a_body_leaves_its_context_behind_also_when_it_panics() {
    let (body, seen) = Noting::new(&["panic"]);
    let mut body = InContextBody::new(body, context());
    let polled = catch_unwind(AssertUnwindSafe(|| body.frame().now_or_never().is_some()));
    assert!(polled.is_err());
    assert_eq!(current(), "none");
    drop(body);
    assert_eq!(current(), "none");
    assert_eq!(
        *seen.lock().unwrap(),
        ["poll order-body", "drop order-body"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_of_ones_own_has_the_deadline_too() {
    let context = context().with_timeout(Duration::from_secs(2));
    let chunks = stream::once(async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let left = Context::current().remaining().unwrap();
        Ok::<_, Infallible>(Frame::data(Bytes::from(format!("{left:?} {}", current()))))
    });
    let body = InContextBody::new(http_body_util::StreamBody::new(chunks), context);
    // Polled by somebody else.
    let read = tokio::spawn(async move { body.collect().await.unwrap().to_bytes() });
    assert_eq!(read.await.unwrap(), "1.5s order-body");
}

#[tokio::test]
async fn a_responder_may_stand_outside() {
    let inner = || {
        ServiceBuilder::new()
            .layer(BulkheadLayer::new(0))
            .layer(CorrelationLayer::server())
            .service(service_fn(async |_: Request| {
                Ok::<_, Infallible>(Response::new(Body::empty()))
            }))
    };
    let service = RespondLayer::new().layer(inner());
    let response = service.oneshot(Request::default()).await.unwrap();
    assert_eq!(response.status(), 503);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(!body.is_empty());

    // This one makes its body by `Default`.
    let service = RespondLayer::new().empty_body().layer(inner());
    let response = service.oneshot(Request::default()).await.unwrap();
    assert_eq!(response.status(), 503);
    assert!(response.into_body().is_end_stream());
}
