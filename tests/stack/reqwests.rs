//! A response that comes through a stack around reqwest's client is the same as one that does not, and its body is ended when it stalls.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse as _, Redirect, Response as Answer};
use axum::routing::any;
use futures::StreamExt as _;
use mainstay::http::ClientStack;
use mainstay::reqwest::SendThrough as _;
use mainstay::{Context, Reason, Rejection, State, http, reqwest as resilient};
use reqwest::{Client, Method, Response, Version};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::common::{listener, serve, until, within};

const LARGE: usize = 5 << 20;

async fn answer(method: Method, path: axum::extract::Path<String>) -> Answer {
    let pieces = |pieces: usize, pause: u64| {
        let pieces = futures::stream::iter(0..pieces).then(move |n| async move {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            Ok::<_, std::io::Error>(format!("{n} "))
        });
        Body::from_stream(pieces).into_response()
    };
    match path.as_str() {
        "hello" => (
            [("x-said", "hello"), ("x-said-by", method.as_str())],
            "hello",
        )
            .into_response(),
        "empty" => ().into_response(),
        "none" => ::http::StatusCode::NO_CONTENT.into_response(),
        "large" => vec![b'x'; LARGE].into_response(),
        "stream" => pieces(30, 5),
        "at-once" => pieces(2, 0),
        "slow" => pieces(8, 60),
        "redirect" => Redirect::temporary("/hello").into_response(),
        "broken" => ::http::StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        "stall" => {
            let first = futures::stream::iter([Ok::<_, std::io::Error>("first")]);
            Body::from_stream(first.chain(futures::stream::pending())).into_response()
        }
        path => panic!("{path}"),
    }
}

async fn server() -> SocketAddr {
    serve(Router::new().route("/{*path}", any(answer))).await
}

fn stack() -> ClientStack {
    resilient::client("a").build().unwrap()
}

/// Ends bodies that stand still for so long, well before the test loses its patience.
fn idle(millis: u64) -> ClientStack {
    let timeout = http::timeout()
        .timeout(Duration::from_secs(5))
        .body_idle(Duration::from_millis(millis));
    resilient::client("a").timeout(timeout).build().unwrap()
}

/// All that a user can see of a response before its body.
type Head = (
    u16,
    Version,
    String,
    Vec<(String, Vec<u8>)>,
    Option<u64>,
    Option<SocketAddr>,
);

fn head(response: &Response) -> Head {
    let headers = response.headers().iter();
    let headers = headers.filter(|(name, _)| *name != "date");
    (
        response.status().as_u16(),
        response.version(),
        response.url().to_string(),
        headers
            .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
            .collect(),
        response.content_length(),
        response.remote_addr(),
    )
}

async fn settled(stack: &ClientStack) {
    until("the place to be given back", || {
        stack.bulkhead().in_flight() == 0
    })
    .await;
    assert_eq!(stack.circuit_breaker().state(), State::Closed);
}

#[tokio::test]
async fn a_response_looks_as_it_does_without_the_stack() {
    let address = server().await;
    let client = Client::new();
    let stack = stack();
    let through = stack.wrap(client.clone());
    for method in [Method::GET, Method::HEAD, Method::POST] {
        for path in [
            "hello?a=1",
            "empty",
            "none",
            "large",
            "stream",
            "at-once",
            "redirect",
            "broken",
        ] {
            let request = || client.request(method.clone(), format!("http://{address}/{path}"));
            let bare = within("an answer", request().send()).await.unwrap();
            let response = within("an answer", request().send_through(&through))
                .await
                .unwrap();
            assert_eq!(head(&response), head(&bare), "{method} {path}");
            let (bare, body) = (
                bare.bytes().await.unwrap(),
                within("a body", response.bytes()).await.unwrap(),
            );
            assert_eq!(
                (body.len(), body == bare),
                (bare.len(), true),
                "{method} {path}"
            );
            settled(&stack).await;
        }
    }
}

#[tokio::test]
async fn every_way_to_read_a_body() {
    let address = server().await;
    let (client, stack) = (Client::new(), stack());
    let through = stack.wrap(client.clone());
    let get = async |path: &str| {
        let request = client.get(format!("http://{address}/{path}"));
        within("an answer", request.send_through(&through))
            .await
            .unwrap()
    };
    assert_eq!(get("hello").await.text().await.unwrap(), "hello");
    let (mut response, mut all) = (get("large").await, 0);
    assert_eq!(stack.bulkhead().in_flight(), 1);
    while let Some(chunk) = response.chunk().await.unwrap() {
        all += chunk.len();
    }
    assert_eq!(all, LARGE);
    settled(&stack).await;
    let pieces = get("stream")
        .await
        .bytes_stream()
        .map(|piece| piece.unwrap().len());
    assert_eq!(pieces.fold(0, async |all, piece| all + piece).await, 80);
    settled(&stack).await;
    // One that nobody reads, and one that is only begun.
    drop(get("stream").await);
    settled(&stack).await;
    let mut response = get("large").await;
    response.chunk().await.unwrap().unwrap();
    drop(response);
    settled(&stack).await;
    // As an answer of one's own, as a proxy gives it.
    let answer: ::http::Response<reqwest::Body> = get("large").await.into();
    assert_eq!(
        http_body_util::BodyExt::collect(answer.into_body())
            .await
            .unwrap()
            .to_bytes()
            .len(),
        LARGE
    );
    settled(&stack).await;
    assert!(
        get("broken")
            .await
            .error_for_status()
            .unwrap_err()
            .url()
            .is_some()
    );
    settled(&stack).await;
}

#[tokio::test]
async fn trailers_come_through() {
    use http_body_util::BodyExt as _;
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut some = [0; 4_096];
            let _ = stream.read(&mut some).await.unwrap();
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\nconnection: close\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            for piece in [
                "3\r\none\r\n",
                "3\r\ntwo\r\n",
                "5\r\nthree\r\n",
                "0\r\nx-sum: 11\r\n\r\n",
            ] {
                stream.write_all(piece.as_bytes()).await.unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    let (client, stack) = (Client::new(), stack());
    let request = || {
        client
            .get(format!("http://{address}/"))
            .header("te", "trailers")
    };
    let mut seen = Vec::new();
    for response in [
        request().send().await.unwrap(),
        request()
            .send_through(&stack.wrap(client.clone()))
            .await
            .unwrap(),
    ] {
        let answer: ::http::Response<reqwest::Body> = response.into();
        let all = within("a body", answer.into_body().collect())
            .await
            .unwrap();
        seen.push((all.trailers().cloned(), all.to_bytes()));
    }
    assert_eq!(seen[1], seen[0]);
    assert_eq!(seen[1].0.as_ref().unwrap()["x-sum"], "11");
    settled(&stack).await;
}

#[tokio::test]
async fn a_body_that_stalls_is_ended_and_gives_its_place_back() {
    let address = server().await;
    let (client, stack) = (Client::new(), idle(100));
    let through = stack.wrap(client.clone());
    let stall = || {
        client
            .get(format!("http://{address}/stall"))
            .send_through(&through)
    };
    // Read to the end that never comes.
    let began = Instant::now();
    let response = within("an answer", stall()).await.unwrap();
    assert_eq!(stack.bulkhead().in_flight(), 1);
    let error = within("an error", response.text()).await.unwrap_err();
    let rejection = Rejection::find(&error).unwrap();
    assert_eq!(
        (rejection.layer(), rejection.name(), rejection.reason()),
        ("timeout", "a", Reason::TimedOut)
    );
    assert!(began.elapsed() < Duration::from_secs(4));
    assert_eq!(stack.bulkhead().in_flight(), 0);
    // A reader that is busy with something else loses nothing: what has come is there, and the source is silent only while it waits.
    let mut response = within("an answer", stall()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(stack.bulkhead().in_flight(), 1);
    assert!(within("a chunk", response.chunk()).await.unwrap().is_some());
    let error = within("an error", response.chunk()).await.unwrap_err();
    assert!(Rejection::find(&error).is_some(), "{error:?}");
    assert_eq!(stack.bulkhead().in_flight(), 0);
}

#[tokio::test]
async fn a_body_that_goes_on_slowly_is_not_ended() {
    let address = server().await;
    let (client, stack) = (Client::new(), idle(400));
    let through = stack.wrap(client.clone());
    let response = client
        .get(format!("http://{address}/slow"))
        .send_through(&through)
        .await
        .unwrap();
    // 480 ms in all, which is more than the limit for one pause.
    assert_eq!(response.text().await.unwrap(), "0 1 2 3 4 5 6 7 ");
    settled(&stack).await;
}

#[tokio::test]
async fn the_whole_body_can_be_limited() {
    let address = server().await;
    let whole = http::timeout()
        .timeout(Duration::from_millis(200))
        .whole_body();
    let stack = resilient::client("a").timeout(whole).build().unwrap();
    let client = Client::new();
    let through = stack.wrap(client.clone());
    let response = client
        .get(format!("http://{address}/slow"))
        .send_through(&through)
        .await
        .unwrap();
    let error = within("an error", response.text()).await.unwrap_err();
    assert_eq!(Rejection::find(&error).unwrap().reason(), Reason::TimedOut);
    let response = client
        .get(format!("http://{address}/hello"))
        .send_through(&through)
        .await
        .unwrap();
    assert_eq!(response.text().await.unwrap(), "hello");
}

#[tokio::test]
async fn an_error_of_the_body_looks_as_it_does_without_the_stack() {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut some = [0; 4_096];
            let _ = stream.read(&mut some).await.unwrap();
            let half = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";
            stream.write_all(half.as_bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let (client, stack) = (Client::new(), stack());
    let through = stack.wrap(client.clone());
    let request = || client.get(format!("http://{address}/"));
    let bare = request().send().await.unwrap().bytes().await.unwrap_err();
    let response = within("an answer", request().send_through(&through))
        .await
        .unwrap();
    let error = within("an error", response.bytes()).await.unwrap_err();
    let kind = |e: &reqwest::Error| {
        [
            e.is_body(),
            e.is_decode(),
            e.is_timeout(),
            e.is_request(),
            e.is_connect(),
            e.is_builder(),
        ]
    };
    assert_eq!(kind(&error), kind(&bare), "{error:?} {bare:?}");
    assert_eq!(stack.circuit_breaker().snapshot().failures, 1);
    assert_eq!(stack.bulkhead().in_flight(), 0);
}

#[tokio::test]
async fn without_a_timeout_a_body_is_left_alone_and_within_a_context_it_knows_its_deadline() {
    let address = server().await;
    let client = Client::new();
    let bare = resilient::client("a").without_timeout().build().unwrap();
    let through = bare.wrap(client.clone());
    for path in ["hello", "stream", "large", "empty"] {
        let response = client
            .get(format!("http://{address}/{path}"))
            .send_through(&through)
            .await
            .unwrap();
        assert_eq!(response.url().path(), format!("/{path}"));
        response.bytes().await.unwrap();
        settled(&bare).await;
    }
    let context = Context::current().with_timeout(Duration::from_secs(9));
    let response = context
        .scope(
            client
                .get(format!("http://{address}/stream"))
                .send_through(&through),
        )
        .await
        .unwrap();
    assert_eq!(response.url().path(), "/stream");
    assert_eq!(response.text().await.unwrap().len(), 80);
    settled(&bare).await;
}
