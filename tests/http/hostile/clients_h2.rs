//! Servers that abuse HTTP/2, met by hyper-util's client and by tonic's.

use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tower::Layer as _;

use super::peers::{
    Act, Fields, Peer, Read, Step, Wait, fields, frame, grpc_head, h2, h2_bytes, repeat, send,
};
use super::stacks::{
    PATIENCE as IMPATIENT, Seen, by_hyper, by_tonic, count_panics, in_task, layers, no_panics,
};
use crate::common::PATIENCE as PATIENT;
use Seen::{Broken, Left, Nothing, Whole};
use Step::{Break, Cut, End, Endless, GoAway, Head, Message, Pause};

fn hyper_client() -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http()
}

fn channel(peer: &Peer) -> Channel {
    Endpoint::from_shared(format!("http://{}", peer.address))
        .unwrap()
        .connect_lazy()
}

/// What a caller through tonic is to see: the code of the end, or that it had enough. `Panic` is tonic's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Is(Code),
    NotOk,
    Enough,
    Panic,
}
use Status::{Enough, Is, NotOk};

/// What both clients see, what the layers make of it, and that nothing is left of it.
async fn meet(case: &str, peer: &Peer, http: (Seen, &str), grpc: (Status, &str)) {
    count_panics();
    let (layers, watch) = layers!(http);
    let stack = layers.layer(hyper_client());
    let got = in_task(
        case,
        by_hyper(
            stack,
            peer.address,
            b"",
            patience(matches!(http.0, Left(_))),
        ),
    )
    .await;
    assert_eq!(got, Some(http.0), "hyper, {case}");
    watch.is_idle(case).await;
    assert_eq!(watch.outcomes(), [http.1], "hyper, {case}");

    let (layers_of_grpc, watch_of_grpc) = layers!(grpc);
    let stack = layers_of_grpc.layer(channel(peer));
    let end = in_task(case, by_tonic(stack, patience(grpc.0 == Enough))).await;
    let fits = match (&end, grpc.0) {
        (None, Status::Panic) | (Some((_, None)), Enough) => true,
        (Some((_, Some(Ok(())))), Is(code)) => code == Code::Ok,
        (Some((_, Some(Err(status)))), Is(code)) => status.code() == code,
        (Some((_, Some(Err(_)))), NotOk) => true,
        _ => false,
    };
    assert!(fits, "tonic, {case}: {end:?}");
    watch_of_grpc.is_idle(case).await;
    assert_eq!(watch_of_grpc.outcomes(), [grpc.1], "tonic, {case}");

    peer.tame();
    // On connections of their own: those above may be as they were left.
    let got = by_hyper(layers.layer(hyper_client()), peer.address, b"", PATIENT).await;
    assert_eq!(got, Whole(200), "hyper, after {case}");
    watch.is_idle(case).await;
    assert_eq!(watch.outcomes(), ["success"], "hyper, after {case}");
    let (messages, end) = by_tonic(layers_of_grpc.layer(channel(peer)), PATIENT).await;
    assert_eq!(messages, 1, "tonic, after {case}");
    assert!(matches!(end, Some(Ok(()))), "tonic, after {case}: {end:?}");
    watch_of_grpc.is_idle(case).await;
    assert_eq!(watch_of_grpc.outcomes(), ["success"], "tonic, after {case}");
    no_panics();
}

/// Nobody waits long for what is not to come.
fn patience(in_vain: bool) -> Duration {
    if in_vain { IMPATIENT } else { PATIENT }
}

/// As plain HTTP, whatever it says it is.
fn html() -> Step {
    Head(200, Fields::new(), false)
}

fn trailers(of: &[(&str, &[u8])]) -> Step {
    End(fields(of))
}

const REASONS: [Reason; 14] = [
    Reason::NO_ERROR,
    Reason::PROTOCOL_ERROR,
    Reason::INTERNAL_ERROR,
    Reason::FLOW_CONTROL_ERROR,
    Reason::SETTINGS_TIMEOUT,
    Reason::STREAM_CLOSED,
    Reason::FRAME_SIZE_ERROR,
    Reason::REFUSED_STREAM,
    Reason::CANCEL,
    Reason::COMPRESSION_ERROR,
    Reason::CONNECT_ERROR,
    Reason::ENHANCE_YOUR_CALM,
    Reason::INADEQUATE_SECURITY,
    Reason::HTTP_1_1_REQUIRED,
];

#[tokio::test]
async fn a_stream_is_reset_for_whatever_reason() {
    let all = REASONS.map(async |reason| {
        let case = format!("{reason:?} before the head");
        let peer = h2(vec![Break(reason)]).await;
        // It was refused unseen, as a healthy server does that has no room for it.
        let outcome = match reason {
            Reason::REFUSED_STREAM => "ignored",
            _ => "failure",
        };
        meet(&case, &peer, (Nothing, outcome), (NotOk, outcome)).await;

        // "Stop sending, all is said": for plain HTTP that is an end like any other.
        let http = match reason {
            Reason::NO_ERROR => (Whole(200), "success"),
            _ => (Broken(200), "failure"),
        };
        let case = format!("{reason:?} in the body");
        let peer = h2(vec![html(), Message(false), Break(reason)]).await;
        meet(&case, &peer, http, (NotOk, "failure")).await;
        let case = format!("{reason:?} in a stream of messages");
        let peer = h2(vec![grpc_head(), Message(false), Break(reason)]).await;
        let http = match reason {
            Reason::NO_ERROR => (Whole(200), "failure"),
            _ => (Broken(200), "failure"),
        };
        meet(&case, &peer, http, (NotOk, "failure")).await;
    });
    futures::future::join_all(all).await;
}

#[tokio::test]
async fn a_reset_after_the_end_changes_nothing() {
    for reason in [Reason::NO_ERROR, Reason::CANCEL, Reason::INTERNAL_ERROR] {
        let fine = trailers(&[("grpc-status", b"0")]);
        let steps = vec![grpc_head(), Message(false), fine, Break(reason)];
        let (http, grpc) = ((Whole(200), "success"), (Is(Code::Ok), "success"));
        meet(&format!("{reason:?}"), &h2(steps).await, http, grpc).await;
    }
}

#[tokio::test]
async fn a_connection_ends_before_in_and_after_the_answer() {
    let lost = |seen| ((seen, "failure"), (NotOk, "failure"));
    for (case, steps, (http, grpc)) in [
        ("at once", vec![Cut], lost(Nothing)),
        (
            "a reset in the body",
            vec![grpc_head(), Message(false), Cut],
            lost(Broken(200)),
        ),
        (
            "a reset after the head",
            vec![grpc_head(), Cut],
            lost(Broken(200)),
        ),
        (
            "goes away at once",
            vec![GoAway(Reason::NO_ERROR)],
            lost(Nothing),
        ),
        (
            "goes away in anger",
            vec![GoAway(Reason::ENHANCE_YOUR_CALM)],
            lost(Nothing),
        ),
        (
            "goes away in the body",
            vec![grpc_head(), Message(false), GoAway(Reason::INTERNAL_ERROR)],
            lost(Broken(200)),
        ),
        (
            "goes away in the body without an error",
            vec![grpc_head(), Message(false), GoAway(Reason::NO_ERROR)],
            lost(Broken(200)),
        ),
    ] {
        meet(case, &h2(steps).await, http, grpc).await;
    }
}

#[tokio::test]
async fn streams_that_never_begin_or_never_end() {
    let long = Duration::from_secs(1);
    for (case, steps, http, grpc) in [
        (
            "no head",
            vec![Pause(long)],
            (Nothing, "failure"),
            (Is(Code::DeadlineExceeded), "failure"),
        ),
        (
            "no message",
            vec![grpc_head(), Pause(long)],
            (Left(200), "cancelled"),
            (Enough, "cancelled"),
        ),
        (
            "no end",
            vec![grpc_head(), Message(false), Pause(long)],
            (Left(200), "cancelled"),
            (Enough, "cancelled"),
        ),
        (
            "messages for ever",
            vec![grpc_head(), Endless],
            (Left(200), "cancelled"),
            (Enough, "cancelled"),
        ),
        (
            "a body for ever",
            vec![html(), Endless],
            (Left(200), "success"),
            (Enough, "cancelled"),
        ),
        (
            "a failure for ever",
            vec![Head(500, Fields::new(), false), Endless],
            (Left(500), "failure"),
            (Enough, "failure"),
        ),
    ] {
        meet(case, &h2(steps).await, http, grpc).await;
    }
}

#[tokio::test]
async fn trailers_that_are_none() {
    let large = vec![b'x'; 100_000];
    let long = vec![b'9'; 4_000];
    let many: Fields = (0..300)
        .map(|n| (format!("x-{n}"), b"x".to_vec()))
        .chain(fields(&[("grpc-status", b"0")]))
        .collect();
    let duplicates: Fields = (0..200)
        .map(|_| ("x-same".to_owned(), b"x".to_vec()))
        .chain(fields(&[("grpc-status", b"0")]))
        .collect();
    let (whole, broken) = (Whole(200), Broken(200));
    let fine = (Is(Code::Ok), "success");
    for (case, end, http, grpc) in [
        (
            "100 kB",
            trailers(&[("grpc-status", b"0"), ("x", &large)]),
            (broken, "failure"),
            (NotOk, "failure"),
        ),
        ("three hundred", End(many), (whole, "success"), fine),
        (
            "two hundred of one name",
            End(duplicates),
            (whole, "success"),
            fine,
        ),
        (
            "no text",
            trailers(&[("grpc-status", b"0"), ("x", b"\xff\xfe")]),
            (whole, "success"),
            fine,
        ),
        (
            "nothing in them",
            trailers(&[]),
            (whole, "failure"),
            (NotOk, "failure"),
        ),
        (
            "a code that is none",
            trailers(&[("grpc-status", b"fine")]),
            (whole, "failure"),
            (Is(Code::Unknown), "failure"),
        ),
        (
            "a code of one byte more",
            trailers(&[("grpc-status", b"0 ")]),
            (whole, "failure"),
            (Is(Code::Unknown), "failure"),
        ),
        (
            "a code that is no text",
            trailers(&[("grpc-status", b"\xff")]),
            (whole, "failure"),
            (Is(Code::Unknown), "failure"),
        ),
        (
            "a code of 4000 digits",
            trailers(&[("grpc-status", &long)]),
            (whole, "failure"),
            (Is(Code::Unknown), "failure"),
        ),
        (
            "two codes, a good one first",
            trailers(&[("grpc-status", b"0"), ("grpc-status", b"14")]),
            (whole, "success"),
            fine,
        ),
        (
            "two codes, a bad one first",
            trailers(&[("grpc-status", b"14"), ("grpc-status", b"0")]),
            (whole, "failure"),
            (Is(Code::Unavailable), "failure"),
        ),
        (
            "a message that is no text",
            trailers(&[("grpc-status", b"13"), ("grpc-message", b"%FF%FE%")]),
            (whole, "failure"),
            (NotOk, "failure"),
        ),
        (
            "details that are none",
            trailers(&[("grpc-status", b"14"), ("grpc-status-details-bin", b"%%%")]),
            (whole, "failure"),
            (Status::Panic, "failure"),
        ),
        (
            "a hint of 4000 digits",
            trailers(&[("grpc-status", b"14"), ("grpc-retry-pushback-ms", &long)]),
            (whole, "failure"),
            (Is(Code::Unavailable), "failure"),
        ),
        (
            "a hint that is no text",
            trailers(&[("grpc-status", b"8"), ("grpc-retry-pushback-ms", b"\xff")]),
            (whole, "ignored"),
            (Is(Code::ResourceExhausted), "ignored"),
        ),
        (
            "cancelled",
            trailers(&[("grpc-status", b"1")]),
            (whole, "cancelled"),
            (Is(Code::Cancelled), "cancelled"),
        ),
    ] {
        let peer = h2(vec![grpc_head(), Message(false), end]).await;
        meet(case, &peer, http, grpc).await;
    }
}

#[tokio::test]
async fn heads_that_lie() {
    let with = |more: &[(&str, &[u8])], all| {
        let mut of = fields(&[("content-type", b"application/grpc")]);
        of.extend(fields(more));
        Head(200, of, all)
    };
    let large = vec![b'x'; 400_000];
    let lost = (NotOk, "failure");
    for (case, steps, http, grpc) in [
        (
            "a value of 400 kB",
            vec![with(&[("x", &large)], false)],
            (Nothing, "failure"),
            lost,
        ),
        (
            "longer than it is",
            vec![with(&[("content-length", b"100")], false), Message(true)],
            (Broken(200), "failure"),
            lost,
        ),
        (
            "shorter than it is",
            vec![with(&[("content-length", b"2")], false), Message(true)],
            (Broken(200), "failure"),
            lost,
        ),
        (
            "no status anywhere",
            vec![grpc_head(), Message(true)],
            (Whole(200), "failure"),
            lost,
        ),
        (
            "nothing but a head",
            vec![with(&[], true)],
            (Whole(200), "failure"),
            lost,
        ),
        (
            "a code in the head",
            vec![with(&[("grpc-status", b"14")], true)],
            (Whole(200), "failure"),
            (Is(Code::Unavailable), "failure"),
        ),
        (
            "a code in the head, and no end",
            vec![with(&[("grpc-status", b"14")], false), Endless],
            (Left(200), "failure"),
            (Is(Code::Unavailable), "failure"),
        ),
        (
            "a bad code in the head, a good one in the trailers",
            vec![
                with(&[("grpc-status", b"14")], false),
                Message(false),
                trailers(&[("grpc-status", b"0")]),
            ],
            (Whole(200), "failure"),
            (Is(Code::Unavailable), "failure"),
        ),
        (
            "details in the head that are none",
            vec![with(
                &[("grpc-status", b"14"), ("grpc-status-details-bin", b"%%%")],
                true,
            )],
            (Whole(200), "failure"),
            (Status::Panic, "failure"),
        ),
        (
            "a proxy's page",
            vec![
                Head(200, fields(&[("content-type", b"text/html")]), false),
                Message(true),
            ],
            (Whole(200), "success"),
            lost,
        ),
        (
            "a status that is none",
            vec![Head(999, Fields::new(), false), Message(true)],
            (Whole(999), "failure"),
            lost,
        ),
        (
            "events for ever",
            vec![
                Head(
                    200,
                    fields(&[("content-type", b"text/event-stream")]),
                    false,
                ),
                Endless,
            ],
            (Left(200), "success"),
            (Enough, "failure"),
        ),
    ] {
        meet(case, &h2(steps).await, http, grpc).await;
    }
}

#[tokio::test]
async fn frames_that_are_none() {
    let settings = frame(4, 0, 0, &[]);
    let status_200 = [0x88];
    let hello = |then: Vec<Act>| [vec![Act::Send(settings.clone())], then].concat();
    let header: Vec<u8> = [&[0, 1, b'x', 100], &[b'y'; 100][..]].concat();
    let nothing = ((Nothing, "failure"), (NotOk, "failure"));
    for (case, acts) in [
        (
            "HTTP/1.1",
            vec![
                Read,
                send("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"),
                Wait,
            ],
        ),
        ("noise", vec![send([0xff; 100]), Wait]),
        ("nothing at all", vec![Wait]),
        ("hangs up", vec![]),
        ("settings and nothing more", hello(vec![Wait])),
        ("settings for ever", vec![repeat(&settings)]),
        (
            "pings for ever",
            hello(vec![repeat(frame(6, 0, 0, &[0; 8]))]),
        ),
        (
            "a frame that is too large",
            hello(vec![send([0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]), Wait]),
        ),
        (
            "data of no stream",
            hello(vec![Act::Send(frame(0, 0, 0, b"x")), Wait]),
        ),
        (
            "headers of no stream",
            hello(vec![Act::Send(frame(1, 4, 0, &status_200)), Wait]),
        ),
        (
            "a stream that nobody opened",
            hello(vec![Act::Send(frame(1, 4, 99, &status_200)), Wait]),
        ),
        (
            "a promise",
            hello(vec![Act::Send(frame(5, 4, 1, &[0, 0, 0, 2, 0x88])), Wait]),
        ),
        (
            "headers without an end",
            hello(vec![
                Act::Send(frame(1, 0, 1, &status_200)),
                repeat(frame(9, 0, 1, &header)),
            ]),
        ),
        (
            "headers that cannot be unpacked",
            hello(vec![Act::Send(frame(1, 4, 1, &[0xff; 20])), Wait]),
        ),
        (
            "a window that runs over",
            hello(vec![
                Act::Send(frame(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
                Wait,
            ]),
        ),
        (
            "a window of nothing",
            vec![Act::Send(frame(4, 0, 0, &[0, 4, 0, 0, 0, 0])), Wait],
        ),
    ] {
        let (http, grpc) = nothing;
        meet(case, &h2_bytes(acts).await, http, grpc).await;
    }
}

#[tokio::test]
async fn frames_for_ever() {
    let settings = Act::Send(frame(4, 0, 0, &[]));
    let head = Act::Send(frame(1, 4, 1, &[0x88]));
    let hint = frame(1, 4, 1, b"\x08\x03103");
    let slowly = Act::Pause(Duration::from_millis(30));
    // Not before the request has opened the stream.
    let hello = |then: Vec<Act>| [vec![settings.clone(), slowly.clone()], then].concat();
    for (case, acts, http, grpc) in [
        (
            "hints",
            hello(vec![repeat(&hint)]),
            (Nothing, "failure"),
            (NotOk, "failure"),
        ),
        (
            "data without anything in them",
            hello(vec![head, repeat(frame(0, 0, 1, &[]))]),
            // h2 loses patience, and takes it for what it is.
            (Broken(200), "failure"),
            (NotOk, "failure"),
        ),
    ] {
        meet(case, &h2_bytes(acts).await, http, grpc).await;
    }
}

#[tokio::test]
async fn messages_that_are_none_are_the_readers_to_refuse() {
    let pause = Pause(Duration::from_millis(500));
    for (case, message, code) in [
        ("4 GB", &b"\0\xff\xff\xff\xff"[..], Code::OutOfRange),
        (
            "a compression nobody knows",
            b"\x07\0\0\0\0",
            Code::Internal,
        ),
        ("no such field", b"\0\0\0\0\x03\xff\xff\xff", Code::Internal),
    ] {
        let peer = h2(vec![grpc_head(), Step::Data(message), pause.clone()]).await;
        // It then drops the response before its trailers.
        let grpc = (Is(code), "cancelled");
        meet(case, &peer, (Left(200), "cancelled"), grpc).await;
    }
}

#[tokio::test]
async fn an_answer_before_the_request_was_read() {
    count_panics();
    static LARGE: [u8; 8 << 20] = [b'x'; 8 << 20];
    for (case, steps, seen) in [
        (
            "an answer and a polite reset",
            vec![Head(413, Fields::new(), true), Break(Reason::NO_ERROR)],
            Whole(413),
        ),
        (
            "an answer and nothing more",
            vec![html(), Message(true)],
            Whole(200),
        ),
    ] {
        let (layers, watch) = layers!(http);
        let peer = h2(steps).await;
        let call = by_hyper(layers.layer(hyper_client()), peer.address, &LARGE, PATIENT);
        assert_eq!(in_task(case, call).await, Some(seen), "{case}");
        watch.is_idle(case).await;
        assert_eq!(watch.outcomes(), ["success"], "{case}");
    }
    no_panics();
}

#[tokio::test]
async fn calls_that_fail_together_are_all_failures() {
    count_panics();
    for steps in [
        vec![Cut],
        vec![GoAway(Reason::NO_ERROR)],
        vec![GoAway(Reason::ENHANCE_YOUR_CALM)],
    ] {
        let peer = h2(steps).await;
        let (layers, watch) = layers!(http);
        let stack = layers.layer(hyper_client());
        let calls = (0..20).map(|_| by_hyper(stack.clone(), peer.address, b"", PATIENT));
        let seen = futures::future::join_all(calls).await;
        assert!(seen.iter().all(|seen| *seen == Nothing), "{seen:?}");
        watch.is_idle("together").await;
        assert_eq!(watch.outcomes(), ["failure"; 20]);
    }
    let (layers, watch) = layers!(http);
    let stack = layers.layer(hyper_client());
    let peer = h2_bytes(vec![]).await;
    let calls = (0..20).map(|_| by_hyper(stack.clone(), peer.address, b"", PATIENT));
    futures::future::join_all(calls).await;
    assert_eq!(watch.outcomes(), ["failure"; 20]);
    no_panics();
}
