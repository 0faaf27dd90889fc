//! Servers that abuse HTTP/1.1, met by reqwest and by hyper-util's client.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tower::Layer as _;

use super::peers::{Act, Peer, Read, Reset, Wait, h1, repeat, send};
use super::stacks::{
    PATIENCE as IMPATIENT, Seen, by_hyper, by_reqwest, count_panics, in_task, layers, no_panics,
};
use crate::common::PATIENCE as PATIENT;
use Seen::{Broken, Left, Nothing, Whole};

fn reqwest_client() -> reqwest::Client {
    reqwest::Client::builder()
        .pool_max_idle_per_host(0)
        .no_proxy()
        .build()
        .unwrap()
}

fn hyper_client() -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build_http()
}

/// What both clients see of it, what the layers make of it, and that nothing is left of it.
async fn meet(case: &str, peer: &Peer, request: &'static [u8], seen: &[Seen], outcome: &str) {
    let address = peer.address;
    let patience = patience(seen[0]);
    let (layers, watch) = layers!(http);
    let with_reqwest = layers.layer(reqwest_client());
    let call = by_reqwest(with_reqwest.clone(), address, request, patience);
    let got = in_task(case, call).await.unwrap();
    assert!(seen.contains(&got), "reqwest, {case}: {got:?}");
    watch.is_idle(case).await;
    assert_eq!(watch.outcomes(), [outcome], "reqwest, {case}");

    let with_hyper = layers.layer(hyper_client());
    let call = by_hyper(with_hyper.clone(), address, request, patience);
    let got = in_task(case, call).await.unwrap();
    assert!(seen.contains(&got), "hyper, {case}: {got:?}");
    watch.is_idle(case).await;
    assert_eq!(watch.outcomes(), [outcome], "hyper, {case}");

    peer.tame();
    let got = by_reqwest(with_reqwest, address, b"", PATIENT).await;
    assert_eq!(got, Whole(200), "reqwest, after {case}");
    let got = by_hyper(with_hyper, address, b"", PATIENT).await;
    assert_eq!(got, Whole(200), "hyper, after {case}");
    watch.is_idle(case).await;
    assert_eq!(watch.outcomes(), ["success", "success"], "after {case}");
    no_panics();
}

/// Nobody waits long for what is not to come.
fn patience(seen: Seen) -> Duration {
    match seen {
        Left(_) => IMPATIENT,
        _ => PATIENT,
    }
}

type Case = (&'static str, Vec<Act>, Seen, &'static str);

async fn meet_all(cases: Vec<Case>) {
    count_panics();
    for (case, acts, seen, outcome) in cases {
        meet(case, &h1(acts).await, b"", &[seen], outcome).await;
    }
}

/// After the request's head, these bytes, and then nothing more until the client goes.
fn says(bytes: impl AsRef<[u8]>) -> Vec<Act> {
    vec![Read, send(bytes), Wait]
}

/// The same, but hangs up.
fn says_and_goes(bytes: impl AsRef<[u8]>) -> Vec<Act> {
    vec![Read, send(bytes)]
}

fn ok(rest: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{rest}")
}

fn chunked(rest: &str) -> String {
    ok(&format!("transfer-encoding: chunked\r\n\r\n{rest}"))
}

#[tokio::test]
async fn heads_that_never_come_or_make_no_sense() {
    let many: String = (0..101).map(|n| format!("x-{n}: x\r\n")).collect();
    let long = "x".repeat(400_000);
    meet_all(vec![
        ("no answer", vec![Read, Wait], Nothing, "failure"),
        ("hangs up", vec![], Nothing, "failure"),
        ("hangs up after the request", vec![Read], Nothing, "failure"),
        ("resets", vec![Reset], Nothing, "failure"),
        (
            "resets after the request",
            vec![Read, Reset],
            Nothing,
            "failure",
        ),
        (
            "noise",
            says(b"\0\xff\xfe noise \r\n\r\n"),
            Nothing,
            "failure",
        ),
        (
            "another protocol",
            says("SSH-2.0-OpenSSH_9.6\r\n"),
            Nothing,
            "failure",
        ),
        ("half a head", says(ok("content-le")), Nothing, "failure"),
        (
            "half a head, and gone",
            says_and_goes(ok("content-le")),
            Nothing,
            "failure",
        ),
        (
            "half a head, and reset",
            vec![Read, send(ok("x: ")), Reset],
            Nothing,
            "failure",
        ),
        (
            "a head without an end",
            vec![Read, send(ok("")), repeat("x-a: b\r\n")],
            Nothing,
            "failure",
        ),
        (
            "a value without an end",
            vec![Read, send(ok("x-a: ")), repeat("xxxxxxxx")],
            Nothing,
            "failure",
        ),
        (
            "a reason without an end",
            vec![Read, send("HTTP/1.1 200 "), repeat("OK")],
            Nothing,
            "failure",
        ),
        (
            "101 headers",
            says(ok(&format!("{many}content-length: 0\r\n\r\n"))),
            Nothing,
            "failure",
        ),
        (
            "a value of 400 kB",
            says(ok(&format!("x: {long}\r\ncontent-length: 0\r\n\r\n"))),
            Whole(200),
            "success",
        ),
        (
            "a value that is no text",
            says(b"HTTP/1.1 200 OK\r\nx: \xff\xfe\t\r\ncontent-length: 0\r\n\r\n"),
            Whole(200),
            "success",
        ),
        (
            "a NUL in a value",
            says(ok("x: a\0b\r\ncontent-length: 0\r\n\r\n")),
            Nothing,
            "failure",
        ),
        (
            "a version to come",
            says("HTTP/7.3 200 OK\r\n\r\n"),
            Nothing,
            "failure",
        ),
        (
            "a status of two digits",
            says("HTTP/1.1 20 OK\r\ncontent-length: 0\r\n\r\n"),
            Nothing,
            "failure",
        ),
        (
            "a status of 099",
            says("HTTP/1.1 099 No\r\ncontent-length: 0\r\n\r\n"),
            Nothing,
            "failure",
        ),
        (
            "a status of 999",
            says("HTTP/1.1 999 No\r\ncontent-length: 0\r\n\r\n"),
            Whole(999),
            "failure",
        ),
    ])
    .await;
}

#[tokio::test]
async fn heads_before_the_head() {
    let continues = "HTTP/1.1 100 Continue\r\n\r\n";
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";
    let fine = ok("content-length: 2\r\n\r\nok");
    meet_all(vec![
        ("a thousand 100s", says(continues.repeat(1_000) + &fine), Whole(200), "success"),
        ("a thousand 103s", says(hints.repeat(1_000) + &fine), Whole(200), "success"),
        ("100s for ever", vec![Read, repeat(continues)], Nothing, "failure"),
        ("100 and nothing more", says(continues), Nothing, "failure"),
        ("100 and gone", says_and_goes(continues), Nothing, "failure"),
        ("101 without being asked", says("HTTP/1.1 101 Switching Protocols\r\n\r\nanything"), Whole(101), "success"),
        ("101 to something", says("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n\0\0"), Whole(101), "success"),
        ("an upgrade that is required", says("HTTP/1.1 426 Upgrade Required\r\nconnection: upgrade\r\nupgrade: h2c\r\ncontent-length: 0\r\n\r\n"), Whole(426), "success"),
        ("an upgrade in a plain answer", says(ok("connection: upgrade\r\nupgrade: h2c\r\ncontent-length: 2\r\n\r\nok")), Whole(200), "success"),
        ("two answers to one request", says(fine.repeat(2)), Whole(200), "success"),
    ])
    .await;
}

#[tokio::test]
async fn bodies_that_lie_about_their_length() {
    meet_all(vec![
        (
            "too long, and gone",
            says_and_goes(ok("content-length: 100\r\n\r\nhalf")),
            Broken(200),
            "failure",
        ),
        (
            "too long, and reset",
            vec![
                Read,
                send(ok("content-length: 100\r\n\r\nhalf")),
                Act::Send(vec![]),
                Reset,
            ],
            Broken(200),
            "failure",
        ),
        (
            "too long, and nothing more",
            says(ok("content-length: 100\r\n\r\nhalf")),
            Left(200),
            "success",
        ),
        (
            "too short",
            says(ok("content-length: 2\r\n\r\nok and so much more")),
            Whole(200),
            "success",
        ),
        (
            "two lengths",
            says(ok("content-length: 2\r\ncontent-length: 3\r\n\r\nok!")),
            Nothing,
            "failure",
        ),
        (
            "two lengths in one",
            says(ok("content-length: 2, 3\r\n\r\nok!")),
            Nothing,
            "failure",
        ),
        (
            "less than nothing",
            says(ok("content-length: -1\r\n\r\n")),
            Nothing,
            "failure",
        ),
        (
            "more than there is",
            says(ok("content-length: 99999999999999999999\r\n\r\n")),
            Nothing,
            "failure",
        ),
        (
            "all there is",
            says(ok("content-length: 18446744073709551613\r\n\r\nx")),
            Left(200),
            "success",
        ),
        (
            "a length and chunks",
            says(ok(
                "content-length: 100\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            )),
            Whole(200),
            "success",
        ),
        (
            "a 204 with a body",
            says("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello"),
            Whole(204),
            "success",
        ),
        (
            "a 304 with a body",
            says("HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\nhello"),
            Whole(304),
            "success",
        ),
        (
            "no length, and gone",
            says_and_goes(ok("\r\nall of it")),
            Whole(200),
            "success",
        ),
        (
            "no length, and reset",
            vec![Read, send(ok("\r\nhalf")), Reset],
            Broken(200),
            "failure",
        ),
    ])
    .await;
}

#[tokio::test]
async fn bodies_that_never_begin_or_never_end() {
    let endless = |head: &str| vec![Read, send(head), repeat("2000\r\n"), Wait];
    let chunk = format!("800\r\n{}\r\n", "x".repeat(0x800));
    meet_all(vec![
        ("never begins", says(chunked("")), Left(200), "success"),
        (
            "never begins, and gone",
            says_and_goes(chunked("")),
            Broken(200),
            "failure",
        ),
        (
            "stops half-way",
            says(chunked("5\r\nhello\r\n")),
            Left(200),
            "success",
        ),
        (
            "breaks off",
            says_and_goes(chunked("5\r\nhello\r\n")),
            Broken(200),
            "failure",
        ),
        (
            "is reset",
            vec![Read, send(chunked("5\r\nhello\r\n")), Reset],
            Broken(200),
            "failure",
        ),
        (
            "never ends",
            vec![Read, send(chunked("")), repeat(&chunk)],
            Left(200),
            "success",
        ),
        (
            "never ends, without a length",
            endless(&ok("\r\n")),
            Left(200),
            "success",
        ),
        (
            "fails and never ends",
            vec![
                Read,
                send("HTTP/1.1 500 No\r\ntransfer-encoding: chunked\r\n\r\n"),
                repeat(&chunk),
            ],
            Left(500),
            "failure",
        ),
        (
            "events for ever",
            vec![
                Read,
                send(ok("content-type: text/event-stream\r\n\r\n")),
                repeat("data: x\n\n"),
            ],
            Left(200),
            "success",
        ),
    ])
    .await;
}

#[tokio::test]
async fn chunks_that_are_none() {
    let large = "x".repeat(20_000);
    let many: String = (0..2_000).map(|n| format!("x-{n}: x\r\n")).collect();
    meet_all(vec![
        (
            "no number",
            says(chunked("ZZZ\r\n")),
            Broken(200),
            "failure",
        ),
        (
            "a number that is too large",
            says(chunked("FFFFFFFFFFFFFFFFF\r\n")),
            Broken(200),
            "failure",
        ),
        (
            "a number without an end",
            vec![Read, send(chunked("")), repeat("0")],
            Left(200),
            "success",
        ),
        (
            "no line after a chunk",
            says(chunked("2\r\nokok")),
            Broken(200),
            "failure",
        ),
        (
            "extensions without an end",
            vec![Read, send(chunked("2;")), repeat("a=b;")],
            Broken(200),
            "failure",
        ),
        (
            "trailers",
            says(chunked("2\r\nok\r\n0\r\nchecksum: 1\r\n\r\n")),
            Whole(200),
            "success",
        ),
        (
            "trailers that are no text",
            vec![
                Read,
                send(chunked("0\r\n")),
                Act::Send(b"x: \xff\r\n\r\n".to_vec()),
                Wait,
            ],
            Whole(200),
            "success",
        ),
        (
            "trailers of 20 kB",
            says(chunked(&format!("0\r\nx: {large}\r\n\r\n"))),
            Broken(200),
            "failure",
        ),
        (
            "two thousand trailers",
            says(chunked(&format!("0\r\n{many}\r\n"))),
            Broken(200),
            "failure",
        ),
        (
            "trailers without an end",
            vec![Read, send(chunked("0\r\n")), repeat("x: x\r\n")],
            Broken(200),
            "failure",
        ),
        (
            "noise as trailers",
            vec![
                Read,
                send(chunked("0\r\n")),
                Act::Send(b"\0\0\0\r\n\r\n".to_vec()),
                Wait,
            ],
            Broken(200),
            "failure",
        ),
        (
            "half of the trailers, and gone",
            says_and_goes(chunked("0\r\nx: ")),
            Broken(200),
            "failure",
        ),
    ])
    .await;
}

#[tokio::test]
async fn headers_that_mean_something_to_the_layers() {
    let never = "9".repeat(10_000);
    let with = |status: &str, fields: &str| {
        says(format!(
            "HTTP/1.1 {status}\r\ncontent-length: 0\r\n{}\r\n\r\n",
            fields.trim_end()
        ))
    };
    meet_all(vec![
        (
            "retry-after of 10 000 digits",
            with("429 No", &format!("retry-after: {never}")),
            Whole(429),
            "ignored",
        ),
        (
            "retry-after that is no text",
            vec![
                Read,
                Act::Send(
                    b"HTTP/1.1 503 No\r\nretry-after: \xff\r\ncontent-length: 0\r\n\r\n".to_vec(),
                ),
                Wait,
            ],
            Whole(503),
            "failure",
        ),
        (
            "many of them",
            with("503 No", &"retry-after: 1\r\n".repeat(50)),
            Whole(503),
            "failure",
        ),
        (
            "a date long ago",
            with("503 No", "retry-after: Thu, 01 Jan 0001 00:00:00 GMT"),
            Whole(503),
            "failure",
        ),
        (
            "a date that never comes",
            with("503 No", "retry-after: Fri, 31 Dec 9999 23:59:60 GMT"),
            Whole(503),
            "failure",
        ),
        (
            "gRPC that was not asked for",
            with("200 OK", "content-type: application/grpc"),
            Whole(200),
            "failure",
        ),
        (
            "its code in the head",
            with(
                "200 OK",
                "content-type: application/grpc\r\ngrpc-status: 14",
            ),
            Whole(200),
            "failure",
        ),
        (
            "its code without its type",
            with("200 OK", "grpc-status: 14"),
            Whole(200),
            "success",
        ),
        (
            "correlation IDs",
            with("200 OK", &"x-correlation-id: \t x\r\n".repeat(50)),
            Whole(200),
            "success",
        ),
    ])
    .await;
}

#[tokio::test]
async fn an_answer_before_the_request_was_read() {
    count_panics();
    static LARGE: [u8; 8 << 20] = [b'x'; 8 << 20];
    let early = "HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno";
    let stays = h1(vec![
        send(early),
        Act::Read,
        Act::Send(vec![]),
        stand_still(),
    ])
    .await;
    meet("an early answer", &stays, &LARGE, &[Whole(413)], "success").await;
    let refuses = h1(vec![
        Read,
        send("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n"),
        stand_still(),
    ]);
    meet(
        "an early refusal",
        &refuses.await,
        &LARGE,
        &[Whole(503)],
        "failure",
    )
    .await;
    let resets = h1(vec![Read, Reset]).await;
    meet(
        "a reset in the request",
        &resets,
        &LARGE,
        &[Nothing],
        "failure",
    )
    .await;
    let goes = h1(vec![Read]).await;
    meet("gone in the request", &goes, &LARGE, &[Nothing], "failure").await;
    let never = h1(vec![stand_still()]).await;
    meet("never reads", &never, &LARGE, &[Nothing], "failure").await;
}

/// Reads nothing and sends nothing.
fn stand_still() -> Act {
    Act::Pause(Duration::from_secs(1))
}

#[tokio::test]
async fn a_redirect_to_itself() {
    count_panics();
    let peer = h1(says(
        "HTTP/1.1 307 Round\r\nlocation: /\r\ncontent-length: 0\r\n\r\n",
    ))
    .await;
    let (layers, watch) = layers!(http);
    let stack = layers.layer(reqwest_client());
    let call = by_reqwest(stack, peer.address, b"", PATIENT);
    assert_eq!(in_task("a loop", call).await, Some(Nothing));
    watch.is_idle("a loop").await;
    assert_eq!(watch.outcomes(), ["failure"]);
    no_panics();
}
