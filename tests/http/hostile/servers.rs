//! Clients that abuse a server, met by axum's and by tonic's.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::routing::{any, get, post};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use h2::Reason;
use mainstay::{CorrelationLayer, RespondLayer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status};

use super::peers::{Act, Fields, Read, act, fields, frame, repeat, send};
use super::stacks::{LIMIT, Watch, count_panics, layers, no_panics};
use crate::common::{listener, serve, until, within};
use crate::users::users_client::UsersClient;
use crate::users::users_server::{Users, UsersServer};
use crate::users::{GetRequest, ListRequest, User};

// --- HTTP

async fn axum_server() -> (SocketAddr, Watch) {
    count_panics();
    let (layers, watch) = layers!(http);
    let endless = || async {
        Body::from_stream(stream::repeat(Ok::<_, Infallible>(Bytes::from_static(
            &[0; 8_192],
        ))))
    };
    let upgraded = || async {
        let headers = [(header::UPGRADE, "echo"), (header::CONNECTION, "upgrade")];
        (StatusCode::SWITCHING_PROTOCOLS, headers)
    };
    let router = Router::new()
        .route("/", any(async || "ok"))
        .route("/echo", post(async |body: Bytes| body))
        .route("/never", get(std::future::pending::<()>))
        .route("/endless", get(endless))
        .route("/upgrade", get(upgraded))
        .layer((CorrelationLayer::server(), RespondLayer::new(), layers));
    (serve(router).await, watch)
}

/// A request for a path, of which the rest follows.
fn ask(path: &str, rest: &str) -> String {
    let method = if path == "/echo" { "POST" } else { "GET" };
    format!("{method} {path} HTTP/1.1\r\nhost: a\r\n{rest}")
}

/// What follows is read until this long after the last of it came.
const QUIET: Duration = Duration::from_millis(600);

/// Does these acts and tells the statuses of the answers, once there are so many.
async fn statuses(address: SocketAddr, acts: Vec<Act>, enough: usize) -> Vec<String> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    for act in acts {
        match act {
            Act::Send(bytes) => drop(stream.write_all(&bytes).await),
            Act::Repeat(bytes) => {
                while let Ok(Ok(())) = timeout(QUIET, stream.write_all(&bytes)).await {}
            }
            Act::Pause(time) => sleep(time).await,
            Read | Act::Wait | Act::Reset => unreachable!("not here"),
        }
    }
    let mut answer = Vec::new();
    let mut statuses = Vec::new();
    while statuses.len() < enough.max(1)
        && let Ok(Ok(1..)) = timeout(QUIET, stream.read_buf(&mut answer)).await
    {
        statuses = String::from_utf8_lossy(&answer)
            .lines()
            .filter_map(|line| line.split("HTTP/1.1 ").nth(1)?.get(..3))
            .map(str::to_owned)
            .collect();
    }
    statuses
}

#[tokio::test]
async fn requests_that_make_no_sense() {
    let (address, watch) = axum_server().await;
    let many: String = (0..101).map(|n| format!("x-{n}: x\r\n")).collect();
    let long = "x".repeat(300_000);
    let chunked = |rest: &str| {
        send(ask(
            "/echo",
            &format!("transfer-encoding: chunked\r\n\r\n{rest}"),
        ))
    };
    let end = "\r\n";
    let ok = (vec!["200"], vec!["success"]);
    let late = (vec!["504"], vec!["failure"]);
    let refused = |status| (vec![status], vec![]);
    let nothing = (vec![], vec![]);
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for (case, acts, (expected, outcomes)) in [
        ("nothing", vec![], nothing.clone()),
        ("half a line", vec![send("GET /")], nothing.clone()),
        (
            "half a head",
            vec![send(ask("/", "x-a: "))],
            nothing.clone(),
        ),
        (
            "a head without an end",
            vec![send(ask("/", "")), repeat("x: x\r\n")],
            refused("431"),
        ),
        (
            "a line without an end",
            vec![send("GET /"), repeat("aaaa")],
            refused("431"),
        ),
        (
            "101 headers",
            vec![send(ask("/", &many)), send(end)],
            refused("431"),
        ),
        (
            "a value of 300 kB",
            vec![send(ask("/", &format!("x: {long}\r\n\r\n")))],
            ok.clone(),
        ),
        (
            "noise",
            vec![send([0xff; 64]), send("\r\n\r\n")],
            refused("400"),
        ),
        (
            "noise after the preface of HTTP/2",
            vec![send(preface), send([0xff; 64])],
            nothing.clone(),
        ),
        (
            "two lengths",
            vec![send(ask(
                "/echo",
                "content-length: 2\r\ncontent-length: 3\r\n\r\nok!",
            ))],
            refused("400"),
        ),
        (
            "a length and chunks",
            vec![send(ask(
                "/echo",
                "content-length: 99\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            ))],
            ok.clone(),
        ),
        (
            "no number of a chunk",
            vec![chunked("ZZ\r\n")],
            (vec!["400"], vec!["success"]),
        ),
        (
            "extensions without an end",
            vec![chunked("2;"), repeat("a=b;")],
            (vec!["400"], vec!["success"]),
        ),
        (
            "half a body",
            vec![send(ask("/echo", "content-length: 99\r\n\r\nhalf"))],
            late.clone(),
        ),
        (
            "half of the chunks",
            vec![chunked("5\r\nhello\r\n")],
            late.clone(),
        ),
        (
            "a body that never comes",
            vec![send(ask(
                "/echo",
                "expect: 100-continue\r\ncontent-length: 99\r\n\r\n",
            ))],
            (vec!["100", "504"], vec!["failure"]),
        ),
        (
            "an expectation of the impossible",
            vec![send(ask("/", "expect: the impossible\r\n\r\n"))],
            ok.clone(),
        ),
        (
            "a body nobody asked for",
            vec![send(ask("/", "content-length: 5\r\n\r\nhello"))],
            ok.clone(),
        ),
        (
            "two in a row and half of a third",
            vec![send(ask("/", end).repeat(2)), send(ask("/", "x"))],
            (vec!["200", "200"], vec!["success", "success"]),
        ),
        (
            "an upgrade nobody knows",
            vec![send(ask("/", "connection: upgrade\r\nupgrade: x\r\n\r\n"))],
            ok.clone(),
        ),
        (
            "an upgrade, and noise",
            vec![
                send(ask(
                    "/upgrade",
                    "connection: upgrade\r\nupgrade: echo\r\n\r\n",
                )),
                send([0xff; 64]),
            ],
            (vec!["101"], vec!["success"]),
        ),
        (
            "an upgrade that was not asked for",
            vec![send(ask("/upgrade", end))],
            (vec!["101"], vec!["success"]),
        ),
        (
            "a call that takes too long",
            vec![send(ask("/never", end))],
            late.clone(),
        ),
    ] {
        let statuses = within(case, statuses(address, acts, expected.len())).await;
        watch.is_idle(case).await;
        assert_eq!(statuses, expected, "{case}");
        assert_eq!(watch.outcomes(), outcomes, "{case}");
        goes_through(address, &watch, case).await;
    }
    no_panics();
}

async fn goes_through(address: SocketAddr, watch: &Watch, case: &str) {
    let ok = reqwest::get(format!("http://{address}/")).await.unwrap();
    assert_eq!(ok.text().await.unwrap(), "ok", "after {case}");
    watch.is_idle(case).await;
    assert_eq!(watch.outcomes(), ["success"], "after {case}");
}

#[tokio::test]
async fn headers_that_mean_something_to_the_layers() {
    let (address, watch) = axum_server().await;
    let long = "x".repeat(50_000);
    let values: [&[u8]; 8] = [
        b"",
        b"\xff\xfe",
        b"\t",
        b"-1",
        b"99999999999999999999S",
        b"\"}{",
        b"0n",
        long.as_bytes(),
    ];
    let names = [
        "x-correlation-id",
        "grpc-timeout",
        "x-request-timeout-ms",
        "retry-after",
        "traceparent",
        "content-type",
    ];
    for name in names {
        for value in values {
            for times in [1, 20] {
                let mut request = ask("/", "").into_bytes();
                for _ in 0..times {
                    request.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
                }
                request.extend(b"connection: close\r\n\r\n");
                // Too much for a head, or an answer.
                let status = statuses(address, vec![Act::Send(request)], 1).await;
                assert!(status == ["200"] || status == ["431"], "{name}: {status:?}");
            }
        }
    }
    watch.is_idle("headers").await;
    let outcomes = watch.outcomes();
    assert!(
        outcomes.iter().all(|outcome| outcome == "success"),
        "{outcomes:?}"
    );
    goes_through(address, &watch, "headers").await;
    no_panics();
}

#[tokio::test]
async fn clients_that_go_away_in_the_middle() {
    let (address, watch) = axum_server().await;
    let half = send(ask("/echo", "content-length: 99\r\n\r\nhalf"));
    let pause = Act::Pause(Duration::from_millis(30));
    for (case, acts, outcome) in [
        (
            "a body, and gone",
            vec![half.clone(), pause.clone()],
            "success",
        ),
        (
            "a body, and reset",
            vec![half, pause.clone(), Act::Reset],
            "success",
        ),
        (
            "the wait, and gone",
            vec![send(ask("/never", "\r\n")), pause.clone()],
            "cancelled",
        ),
        (
            "the wait, and reset",
            vec![send(ask("/never", "\r\n")), pause.clone(), Act::Reset],
            "cancelled",
        ),
        (
            "the answer, and gone",
            vec![send(ask("/endless", "\r\n")), pause.clone()],
            "success",
        ),
        (
            "the answer, and reset",
            vec![send(ask("/endless", "\r\n")), pause, Act::Reset],
            "success",
        ),
    ] {
        let stream = TcpStream::connect(address).await.unwrap();
        within(case, act(stream, acts)).await;
        watch.is_idle(case).await;
        assert_eq!(watch.outcomes(), [outcome], "{case}");
        goes_through(address, &watch, case).await;
    }
    no_panics();
}

#[tokio::test]
async fn a_client_that_stops_reading_holds_its_place_until_it_goes() {
    let (address, watch) = axum_server().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = ask("/endless", "\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    until("the call", || (watch.held)() == [1, 1]).await;
    sleep(LIMIT * 2).await;
    assert_eq!((watch.held)(), [1, 1]);
    drop(stream);
    watch.is_idle("gone").await;
    assert_eq!(watch.outcomes(), ["success"]);
    goes_through(address, &watch, "a client that stops reading").await;
    no_panics();
}

// --- Streams of HTTP/2

type Sender = h2::client::SendRequest<Bytes>;

async fn connect(address: SocketAddr) -> Sender {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn head(address: SocketAddr, path: &str, fields: &Fields) -> http::Request<()> {
    let mut request = http::Request::post(format!("http://{address}{path}"));
    for (name, value) in fields {
        request = request.header(name, &value[..]);
    }
    request.body(()).unwrap()
}

/// How a client drops a stream that it has just opened.
#[derive(Debug, Clone, Copy)]
enum Drops {
    AtOnce,
    AfterTheRequest,
    AfterTheHead,
}

/// Opens two hundred streams and drops each of them, on as many connections as the server wants for that.
async fn rapid_reset(address: SocketAddr, path: &str, fields: &Fields, drops: Drops) {
    let mut sender = connect(address).await;
    for number in 0..200 {
        if std::future::poll_fn(|cx| sender.poll_ready(cx))
            .await
            .is_err()
        {
            sender = connect(address).await;
        }
        let Ok((response, mut body)) = sender.send_request(head(address, path, fields), false)
        else {
            continue;
        };
        match drops {
            Drops::AtOnce => {}
            Drops::AfterTheRequest => {
                let _ = body.send_data(Bytes::from_static(&[0; 5]), true);
                if number % 3 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            Drops::AfterTheHead => {
                let _ = body.send_data(Bytes::from_static(&[0; 5]), true);
                let _ = timeout(QUIET, response).await;
            }
        }
        body.send_reset(Reason::CANCEL);
    }
}

#[tokio::test]
async fn two_hundred_streams_that_are_opened_and_dropped() {
    let (address, watch) = axum_server().await;
    for drops in [Drops::AtOnce, Drops::AfterTheRequest, Drops::AfterTheHead] {
        for path in ["/echo", "/"] {
            let case = format!("{path}, {drops:?}");
            within(&case, rapid_reset(address, path, &Fields::new(), drops)).await;
            let outcomes = watch.calm(&case).await;
            assert!(
                !outcomes.contains(&"failure".to_owned()),
                "{case}: {outcomes:?}"
            );
            goes_through(address, &watch, &case).await;
        }
    }
    let (address, watch) = tonic_server().await;
    for drops in [Drops::AtOnce, Drops::AfterTheRequest, Drops::AfterTheHead] {
        let case = format!("tonic, {drops:?}");
        within(&case, rapid_reset(address, LIST, &grpc(), drops)).await;
        let outcomes = watch.calm(&case).await;
        assert!(
            !outcomes.contains(&"failure".to_owned()),
            "{case}: {outcomes:?}"
        );
        answers(address, &watch, &case).await;
    }
    no_panics();
}

// --- gRPC

/// Lists users for ever.
struct Directory;

#[tonic::async_trait]
impl Users for Directory {
    async fn get(&self, _: Request<GetRequest>) -> Result<Response<User>, Status> {
        Ok(Response::new(User::default()))
    }

    type ListStream = Pin<Box<dyn Stream<Item = Result<User, Status>> + Send>>;

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        let user = User {
            name: "x".repeat(1_000),
            ..User::default()
        };
        Ok(Response::new(stream::repeat(Ok(user)).boxed()))
    }
}

const GET: &str = "/users.Users/Get";
const LIST: &str = "/users.Users/List";

fn grpc() -> Fields {
    fields(&[("content-type", b"application/grpc"), ("te", b"trailers")])
}

async fn tonic_server() -> (SocketAddr, Watch) {
    count_panics();
    let (layers, watch) = layers!(grpc);
    let (listener, address) = listener().await;
    let server = Server::builder()
        .layer((CorrelationLayer::server(), RespondLayer::new(), layers))
        .add_service(UsersServer::new(Directory))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    (address, watch)
}

async fn answers(address: SocketAddr, watch: &Watch, case: &str) {
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let mut client = UsersClient::new(channel.connect_lazy());
    let name = String::new();
    client.get(GetRequest { name }).await.unwrap();
    watch.is_idle(case).await;
    assert_eq!(watch.outcomes(), ["success"], "after {case}");
}

/// Sends this as a call and tells the code of the answer, if one comes.
async fn code(
    address: SocketAddr,
    fields: &Fields,
    message: &'static [u8],
    all: bool,
) -> Option<String> {
    let mut sender = connect(address).await.ready().await.ok()?;
    let (response, mut body) = sender
        .send_request(head(address, GET, fields), false)
        .ok()?;
    body.send_data(Bytes::from_static(message), all).ok()?;
    let response = timeout(QUIET, response).await.ok()?.ok()?;
    let of =
        |fields: &http::HeaderMap| Some(fields.get("grpc-status")?.to_str().unwrap().to_owned());
    let in_head = of(response.headers());
    let mut body = response.into_body();
    while let Some(Ok(data)) = body.data().await {
        let _ = body.flow_control().release_capacity(data.len());
    }
    match body.trailers().await {
        Ok(Some(trailers)) => of(&trailers).or(in_head),
        _ => in_head,
    }
}

#[tokio::test]
async fn messages_that_are_none() {
    let (address, watch) = tonic_server().await;
    for (case, message, all, expected, outcomes) in [
        ("a message", &[0; 5][..], true, Some("0"), vec!["success"]),
        ("no message", b"", true, Some("13"), vec!["failure"]),
        (
            "half a message",
            b"\0\0\0\0\x09ha",
            false,
            Some("4"),
            vec!["failure"],
        ),
        (
            "half a message, and its end",
            b"\0\0\0\0\x09ha",
            true,
            Some("13"),
            vec!["failure"],
        ),
        (
            "a message of 4 GB",
            b"\0\xff\xff\xff\xff",
            true,
            Some("11"),
            vec!["success"],
        ),
        (
            "an unknown compression",
            b"\x07\0\0\0\0",
            true,
            Some("13"),
            vec!["failure"],
        ),
        (
            "no such field",
            b"\0\0\0\0\x03\xff\xff\xff",
            true,
            Some("13"),
            vec!["failure"],
        ),
    ] {
        let got = within(case, code(address, &grpc(), message, all)).await;
        watch.is_idle(case).await;
        assert_eq!(got.as_deref(), expected, "{case}");
        assert_eq!(watch.outcomes(), outcomes, "{case}");
        answers(address, &watch, case).await;
    }
    no_panics();
}

#[tokio::test]
async fn metadata_that_mean_something_to_the_layers() {
    let (address, watch) = tonic_server().await;
    let values: [&[u8]; 9] = [
        b"",
        b"\xff",
        b"-1S",
        b"1",
        b"S",
        b"99999999H",
        b"999999999999S",
        b"0n",
        &[b'9'; 9_000],
    ];
    for name in [
        "grpc-timeout",
        "x-correlation-id",
        "grpc-status",
        "grpc-retry-pushback-ms",
        "x-request-timeout-ms",
    ] {
        for value in values {
            for times in [1, 3] {
                let mut all = grpc();
                all.extend(vec![(name.to_owned(), value.to_vec()); times]);
                let case = format!("{times} of {name}: {value:?}");
                within(&case, code(address, &all, &[0; 5], true)).await;
                watch.is_idle(&case).await;
                let outcomes = watch.outcomes();
                assert!(
                    !outcomes.contains(&"failure".to_owned()),
                    "{case}: {outcomes:?}"
                );
            }
        }
        answers(address, &watch, name).await;
    }
    no_panics();
}

#[tokio::test]
async fn a_reader_of_a_stream_that_stops_reading_holds_its_place_until_it_goes() {
    let (address, watch) = tonic_server().await;
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut sender = sender.ready().await.unwrap();
    let (response, mut body) = sender
        .send_request(head(address, LIST, &grpc()), false)
        .unwrap();
    body.send_data(Bytes::from_static(&[0; 5]), true).unwrap();
    let response = within("a head", response).await.unwrap();
    sleep(LIMIT * 2).await;
    assert_eq!((watch.held)(), [1, 1]);
    connection.abort();
    watch.is_idle("gone").await;
    assert_eq!(watch.outcomes(), ["cancelled"]);
    drop(response);
    answers(address, &watch, "a reader that stops").await;
    no_panics();
}

#[tokio::test]
async fn frames_that_are_none() {
    let (address, watch) = tonic_server().await;
    let preface = send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    let settings = Act::Send(frame(4, 0, 0, &[]));
    let header: Vec<u8> = [&[0, 1, b'x', 100], &[b'y'; 100][..]].concat();
    let hello = |then: Vec<Act>| [vec![preface.clone(), settings.clone()], then].concat();
    for (case, acts) in [
        ("HTTP/1.1", vec![send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")]),
        ("nothing after the preface", vec![preface.clone()]),
        ("noise", hello(vec![send([0xff; 64])])),
        (
            "settings for ever",
            vec![preface.clone(), repeat(frame(4, 0, 0, &[]))],
        ),
        (
            "headers without an end",
            hello(vec![
                Act::Send(frame(1, 0, 1, &[0x83])),
                repeat(frame(9, 0, 1, &header)),
            ]),
        ),
        (
            "data of no stream",
            hello(vec![Act::Send(frame(0, 0, 1, b"x"))]),
        ),
        (
            "a head without a method",
            hello(vec![Act::Send(frame(1, 5, 1, &[0x86, 0x84]))]),
        ),
        (
            "a stream of an even number",
            hello(vec![Act::Send(frame(1, 5, 2, &[0x83, 0x86, 0x84]))]),
        ),
    ] {
        within(case, statuses(address, acts, 0)).await;
        watch.is_idle(case).await;
        assert_eq!(watch.outcomes(), Vec::<String>::new(), "{case}");
        answers(address, &watch, case).await;
    }
    no_panics();
}
