//! Retries of tonic's calls, of every kind, through a real server.
#![cfg(feature = "tonic")]

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use http::HeaderMap;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use mainstay::grpc::{EarlyTrailers, GrpcRetry};
use mainstay::{Backoff, EventKind, Jitter, RetryBuilder, RetryRefused, grpc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::body::Body;
use tonic::client::{Grpc, GrpcService};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::server::{NamedService, StreamingService};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::users::users_client::UsersClient;
use crate::users::{GetRequest, User};

use crate::common::{listener, within};
use crate::support::recorder;

type Answers = Pin<Box<dyn Stream<Item = Result<User, Status>> + Send>>;
type Answer = Result<Response<Answers>, Status>;

/// Takes all kinds of calls as streams of names, and fails at first.
#[derive(Clone, Default)]
struct Directory {
    failures: u32,
    pushback: Option<&'static str>,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    calls: AtomicU32,
    /// The names that each call has read.
    names: Mutex<Vec<Vec<String>>>,
    /// What each call was told of the ones before it.
    previous: Mutex<Vec<Option<String>>>,
    times: Mutex<Vec<Instant>>,
}

impl NamedService for Directory {
    const NAME: &'static str = "users.Users";
}

impl Service<http::Request<Body>> for Directory {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let previous = request.headers().get("grpc-previous-rpc-attempts");
        let previous = previous.map(|value| value.to_str().unwrap().to_owned());
        self.seen.previous.lock().unwrap().push(previous);
        self.seen.times.lock().unwrap().push(Instant::now());
        let number = self.seen.calls.fetch_add(1, Ordering::SeqCst);
        let call = Call {
            server: self.clone(),
            fails: number < self.failures,
            path: request.uri().path().to_owned(),
        };
        let codec = ProstCodec::<User, GetRequest>::default();
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(codec);
            Ok(grpc.streaming(call, request).await)
        })
    }
}

struct Call {
    server: Directory,
    fails: bool,
    path: String,
}

impl StreamingService<GetRequest> for Call {
    type Response = User;
    type ResponseStream = Answers;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn call(&mut self, request: Request<Streaming<GetRequest>>) -> Self::Future {
        let (server, fails, path) = (self.server.clone(), self.fails, self.path.clone());
        let mut requests = request.into_inner();
        Box::pin(async move {
            let mut unavailable = Status::unavailable("not yet");
            if let Some(pushback) = server.pushback {
                let metadata = unavailable.metadata_mut();
                metadata.insert("grpc-retry-pushback-ms", pushback.parse().unwrap());
            }
            let answers: Answers = match path.as_str() {
                // Answers each message as it comes.
                "/users.Users/Chat" => Box::pin(requests.map(|request| request.map(user))),
                // Fails without reading anything.
                "/users.Users/Early" if fails => return Err(unavailable),
                // Fails after the first message.
                "/users.Users/Late" => {
                    let answers = [Ok(User::default()), Err(unavailable)];
                    Box::pin(futures::stream::iter(answers))
                }
                _ => {
                    let mut names = Vec::new();
                    while let Some(request) = requests.message().await? {
                        names.push(request.name);
                    }
                    server.seen.names.lock().unwrap().push(names);
                    if fails {
                        return Err(unavailable);
                    }
                    Box::pin(futures::stream::iter([Ok(User::default())]))
                }
            };
            Ok(Response::new(answers))
        })
    }
}

fn user(request: GetRequest) -> User {
    User {
        name: request.name,
        ..User::default()
    }
}

fn named(name: &str) -> GetRequest {
    GetRequest {
        name: name.to_owned(),
    }
}

impl Directory {
    fn failing(failures: u32) -> Self {
        Self {
            failures,
            ..Self::default()
        }
    }

    async fn serve(&self) -> Channel {
        let (listener, address) = listener().await;
        let server = Server::builder()
            .add_service(self.clone())
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(async move { server.await.unwrap() });
        channel(address)
    }

    fn calls(&self) -> u32 {
        self.seen.calls.load(Ordering::SeqCst)
    }

    fn names(&self) -> Vec<Vec<String>> {
        self.seen.names.lock().unwrap().clone()
    }
}

fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect_lazy()
}

fn retry() -> RetryBuilder<GrpcRetry, EarlyTrailers> {
    let backoff = Backoff::constant(Duration::from_millis(1)).jitter(Jitter::None);
    grpc::retry().backoff(backoff).without_budget()
}

/// A call with a stream of messages, as a generated stub makes it.
async fn call<S>(
    service: S,
    method: &'static str,
    messages: impl Stream<Item = GetRequest> + Send + 'static,
) -> Result<Streaming<User>, Status>
where
    S: GrpcService<Body>,
    S::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <S::ResponseBody as http_body::Body>::Error: Into<tonic::codegen::StdError>,
{
    let mut client = Grpc::new(service);
    client
        .ready()
        .await
        .map_err(|error| Status::from_error(error.into()))?;
    let path = PathAndQuery::from_static(method);
    let codec = ProstCodec::<GetRequest, User>::default();
    let call = client.streaming(Request::new(messages), path, codec);
    Ok(within("the head", call).await?.into_inner())
}

fn messages(names: &[&str]) -> impl Stream<Item = GetRequest> + Send + 'static {
    let messages: Vec<_> = names.iter().map(|name| named(name)).collect();
    futures::stream::iter(messages)
}

#[tokio::test]
async fn a_unary_call_of_a_stub_is_retried() {
    let server = Directory::failing(2);
    let channel = server.serve().await;
    let mut client = UsersClient::new(retry().build().unwrap().layer(channel));
    client.get(named("ann")).await.unwrap();
    assert_eq!(server.names(), vec![vec!["ann".to_owned()]; 3]);
    let previous = server.seen.previous.lock().unwrap();
    let previous: Vec<_> = previous.iter().map(Option::as_deref).collect();
    assert_eq!(previous, [None, Some("1"), Some("2")]);
}

#[tokio::test]
async fn the_last_status_is_the_answer() {
    let server = Directory::failing(9);
    let channel = server.serve().await;
    let mut client = UsersClient::new(retry().build().unwrap().layer(channel));
    let status = client.get(named("ann")).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unavailable, "not yet")
    );
    assert_eq!(server.calls(), 3);
}

#[tokio::test]
async fn a_stream_of_messages_is_replayed() {
    let server = Directory::failing(2);
    let service = retry().build().unwrap().layer(server.serve().await);
    let names = ["a", "b", "c"];
    call(service, "/users.Users/Collect", messages(&names))
        .await
        .unwrap();
    assert_eq!(server.names(), vec![names.map(String::from); 3]);
}

#[tokio::test]
async fn a_call_that_fails_before_it_reads_is_replayed() {
    let server = Directory::failing(2);
    let service = retry().build().unwrap().layer(server.serve().await);
    call(service, "/users.Users/Early", messages(&["a", "b"]))
        .await
        .unwrap();
    assert_eq!(server.names(), [["a", "b"]]);
    assert_eq!(server.calls(), 3);
}

#[tokio::test]
async fn a_stream_over_the_limit_arrives_and_is_not_retried() {
    let long = "x".repeat(500);
    let names = [long.as_str(); 10];
    for failures in [0, 1] {
        let (observer, told) = recorder();
        let layer = retry().replay_limit(2_000).observer(observer);
        let server = Directory::failing(failures);
        let service = layer.build().unwrap().layer(server.serve().await);
        let result = call(service, "/users.Users/Collect", messages(&names)).await;
        assert_eq!(result.is_ok(), failures == 0);
        assert_eq!(server.names(), [names]);
        let told = told.lock().unwrap();
        match told[..] {
            [] => assert_eq!(failures, 0),
            [EventKind::RetryRefused(why)] => assert_eq!(why, RetryRefused::TooLarge),
            _ => panic!("{told:?}"),
        }
    }
}

#[tokio::test]
async fn a_conversation_is_not_held_up() {
    let service = retry()
        .build()
        .unwrap()
        .layer(Directory::default().serve().await);
    let (sender, receiver) = mpsc::unbounded_channel();
    let requests = UnboundedReceiverStream::new(receiver);
    let mut answers = call(service, "/users.Users/Chat", requests).await.unwrap();
    for name in ["a", "b", "c"] {
        sender.send(named(name)).unwrap();
        let answer = within("an answer", answers.message()).await.unwrap();
        assert_eq!(answer.unwrap().name, name);
    }
    drop(sender);
    let end = within("the end", answers.message()).await.unwrap();
    assert!(end.is_none());
}

#[tokio::test]
async fn what_fails_after_a_message_is_the_callers() {
    let server = Directory::default();
    let service = retry().build().unwrap().layer(server.serve().await);
    let mut answers = call(service, "/users.Users/Late", messages(&[]))
        .await
        .unwrap();
    assert!(answers.message().await.unwrap().is_some());
    let status = answers.message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(server.calls(), 1);
}

#[tokio::test]
async fn a_method_is_retried_as_its_rule_says() {
    let never = GrpcRetry::new().never("users.Users/Collect").unwrap();
    let other = GrpcRetry::new().codes_for("users.Users", [Code::Aborted]);
    let back = other.clone().unwrap();
    let back = back.codes_for("users.Users/Collect", [Code::Unavailable]);
    for (policy, calls) in [(never, 1), (other.unwrap(), 1), (back.unwrap(), 2)] {
        let server = Directory::failing(1);
        let layer = retry().policy(policy).build().unwrap();
        let service = layer.layer(server.serve().await);
        let result = call(service, "/users.Users/Collect", messages(&["a"])).await;
        assert_eq!(result.is_ok(), calls == 2);
        assert_eq!(server.calls(), calls);
    }
}

#[tokio::test]
async fn pushback_is_met_or_forbids_the_retry() {
    let server = Directory {
        failures: 1,
        pushback: Some("40"),
        ..Directory::default()
    };
    let long = Backoff::constant(Duration::from_secs(60));
    let service = retry()
        .backoff(long)
        .build()
        .unwrap()
        .layer(server.serve().await);
    call(service, "/users.Users/Collect", messages(&["a"]))
        .await
        .unwrap();
    let times = server.seen.times.lock().unwrap().clone();
    assert!(times[1] - times[0] >= Duration::from_millis(40));

    for never in ["-1", "soon"] {
        let server = Directory {
            failures: 1,
            pushback: Some(never),
            ..Directory::default()
        };
        let service = retry().build().unwrap().layer(server.serve().await);
        let result = call(service, "/users.Users/Collect", messages(&["a"])).await;
        assert_eq!(result.unwrap_err().code(), Code::Unavailable);
        assert_eq!(server.calls(), 1, "{never}");
    }
}

/// A response whose head does not decide, and these frames.
fn answer(frames: Vec<Frame<Bytes>>) -> http::Response<Body> {
    let frames = frames.into_iter().map(Ok::<_, Status>);
    let body = StreamBody::new(futures::stream::iter(frames));
    let response = http::Response::builder().header("content-type", "application/grpc");
    response.body(Body::new(body)).unwrap()
}

fn trailers(fields: &[(&'static str, &str)]) -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    for (name, value) in fields {
        trailers.insert(*name, value.parse().unwrap());
    }
    Frame::trailers(trailers)
}

#[tokio::test(start_paused = true)]
async fn trailers_that_come_with_the_head_are_judged() {
    let unavailable = ("grpc-status", "14");
    for (fields, data, attempts, millis) in [
        (vec![unavailable], false, 3, 20),
        (vec![("grpc-status", "0")], false, 1, 0),
        (vec![], false, 1, 0),
        (
            vec![unavailable, ("grpc-retry-pushback-ms", "70")],
            false,
            3,
            140,
        ),
        (
            vec![unavailable, ("grpc-retry-pushback-ms", "-1")],
            false,
            1,
            0,
        ),
        // A message has been received.
        (vec![unavailable], true, 1, 0),
    ] {
        let calls = AtomicU32::new(0);
        let backoff = Backoff::constant(Duration::from_millis(10)).jitter(Jitter::None);
        let layer = retry().backoff(backoff).build().unwrap();
        let service = layer.layer(service_fn(|_: http::Request<Body>| {
            calls.fetch_add(1, Ordering::SeqCst);
            let data = data.then(|| Frame::data(Bytes::from("message")));
            let frames = data.into_iter().chain([trailers(&fields)]).collect();
            std::future::ready(Ok::<_, Status>(answer(frames)))
        }));
        let begun = Instant::now();
        let response = service.oneshot(http::Request::new(Body::empty())).await;
        assert_eq!(calls.load(Ordering::SeqCst), attempts, "{fields:?}");
        assert_eq!(begun.elapsed().as_millis(), millis, "{fields:?}");
        // What was looked at is there.
        let body = response.unwrap().into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap().len(), fields.len());
        assert_eq!(body.to_bytes().is_empty(), !data);
    }
}

/// A server that answers its first call with these bytes, in the midst of HTTP/2, and all others as it should.
async fn first_answered(answer: &'static [u8]) -> (SocketAddr, Directory) {
    let (listener, address) = listener().await;
    let server = Directory::default();
    let second = server.clone();
    tokio::spawn(async move {
        let (mut first, _) = listener.accept().await.unwrap();
        // Settings.
        first.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        let mut read = Vec::new();
        // Until there is the head of a request.
        while !frames(&read).any(|kind| kind == 1) {
            assert!(first.read_buf(&mut read).await.unwrap() > 0);
        }
        first.write_all(answer).await.unwrap();
        first.shutdown().await.unwrap();
        let server = Server::builder()
            .add_service(second)
            .serve_with_incoming(TcpListenerStream::new(listener));
        server.await.unwrap();
        drop(first);
    });
    (address, server)
}

#[tokio::test]
async fn a_call_that_was_refused_unseen_is_sent_again_whatever_the_codes() {
    // A GOAWAY that says that no stream was seen.
    let go_away = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let (address, server) = first_answered(go_away).await;
    let none: [Code; 0] = [];
    let layer = retry()
        .policy(GrpcRetry::new().codes(none))
        .build()
        .unwrap();
    let service = layer.layer(channel(address));
    let result = call(service, "/users.Users/Collect", messages(&["a", "b"])).await;
    result.unwrap();
    assert_eq!(server.names(), [["a", "b"]]);
}

#[tokio::test]
async fn a_stream_that_the_server_cancels_is_cancelled_and_a_connection_that_breaks_is_not() {
    let reset = &[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 8];
    let (address, server) = first_answered(reset).await;
    let service = retry().build().unwrap().layer(channel(address));
    let result = call(service, "/users.Users/Collect", messages(&["a"])).await;
    assert_eq!(result.unwrap_err().code(), tonic::Code::Cancelled);
    assert_eq!(server.calls(), 0);

    let (address, server) = first_answered(&[]).await;
    let service = retry().build().unwrap().layer(channel(address));
    let result = call(service, "/users.Users/Collect", messages(&["a"])).await;
    result.unwrap();
    assert_eq!(server.calls(), 1);
}

/// The kinds of the frames that a client has sent after its preface.
fn frames(read: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = read.get(24..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (head, after) = rest.split_at_checked(9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        rest = after.get(length..).unwrap_or_default();
        Some(head[3])
    })
}
