//! A server that refuses everything. There is no socket, so that no time passes.

use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::Full;
use mainstay::{BoxError, RetryCause, RetryRefused, State, http as stacks};
use tokio::time::Instant;
use tower::{ServiceExt as _, service_fn};

use super::server::{Refuses, Seen, connection};

type Req = Request<Full<Bytes>>;

/// Each request on a connection of its own.
fn send(request: Req, seen: Seen) -> BoxFuture<'static, Result<Response<Full<Bytes>>, BoxError>> {
    Box::pin(async move {
        let (near, far) = tokio::io::duplex(65_536);
        tokio::spawn(connection(far, Refuses::All, Duration::ZERO, seen));
        let (mut sender, connection) = h2::client::handshake(near).await?;
        tokio::spawn(connection);
        let (answer, _) = sender.send_request(request.map(drop), true)?;
        Ok(answer.await?.map(|_| Full::default()))
    })
}

#[tokio::test(start_paused = true)]
async fn it_ends_and_counts_in_the_end() {
    let seen = Seen::default();
    let stack = stacks::client("shop")
        .without_timeout()
        .retry(3)
        .build()
        .unwrap();
    let all = seen.clone();
    let client = stack.wrap(service_fn(move |request| send(request, all.clone())));
    let post = || Request::post("http://shop/").body(Full::default()).unwrap();

    let begun = Instant::now();
    let error = client.clone().oneshot(post()).await.unwrap_err();
    let took = begun.elapsed();
    assert!((9..25).contains(&took.as_secs()), "{took:?}");
    assert!(error.downcast_ref::<h2::Error>().is_some());
    // 30 for nothing, and then as many attempts as there are anyway.
    assert_eq!(seen.refused(), 33);
    let retry = stack.snapshot().retry.unwrap();
    assert_eq!(
        retry.retries,
        [(RetryCause::Error, 2), (RetryCause::Refused, 30)]
    );
    assert_eq!(retry.refused, [(RetryRefused::Attempts, 1)]);
    // A server that never takes anything is found all the same.
    assert_eq!(stack.circuit_breaker().snapshot().failures, 3);
    for _ in 0..20 {
        if stack.circuit_breaker().state() == State::Open {
            return;
        }
        let calls = (0..10).map(|_| client.clone().oneshot(post()));
        futures::future::join_all(calls).await;
    }
    panic!("the circuit never opens");
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_it() {
    let stack = stacks::client("shop")
        .timeout(Duration::from_secs(2))
        .retry(3);
    let client = stack
        .build()
        .unwrap()
        .wrap(service_fn(|request| send(request, Seen::default())));
    let begun = Instant::now();
    let post = Request::post("http://shop/").body(Full::default()).unwrap();
    client.oneshot(post).await.unwrap_err();
    assert!(begun.elapsed() <= Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn without_a_retry_it_is_the_answer_and_still_no_evidence() {
    let seen = Seen::default();
    let all = seen.clone();
    let stack = stacks::client("shop").without_retry().build().unwrap();
    let client = stack.wrap(service_fn(move |request| send(request, all.clone())));
    for _ in 0..100 {
        let post = Request::post("http://shop/").body(Full::default()).unwrap();
        client.clone().oneshot(post).await.unwrap_err();
    }
    assert_eq!(seen.refused(), 100);
    let circuit = stack.circuit_breaker().snapshot();
    assert_eq!((circuit.state, circuit.failures), (State::Closed, 0));
}
