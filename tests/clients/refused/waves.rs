//! More calls at once than a server has room for, over real sockets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mainstay::{RetryCause, State, grpc, http as stacks};
use tonic::transport::Endpoint;
use tower::ServiceExt as _;

use super::server::{Refuses, serve};
use crate::users::GetRequest;
use crate::users::users_client::UsersClient;

const BUSY: Duration = Duration::from_millis(50);

fn hyper_client() -> Client<HttpConnector, Full<Bytes>> {
    let mut client = Client::builder(TokioExecutor::new());
    client.http2_only(true).build_http()
}

fn post(address: SocketAddr, number: usize) -> Request<Full<Bytes>> {
    let request = Request::post(format!("http://{address}/orders"));
    request
        .body(Full::new(Bytes::from(number.to_string())))
        .unwrap()
}

/// Returns how many streams were refused.
async fn all_succeed(refuses: Refuses, calls: usize) -> usize {
    let (address, seen) = serve(refuses, BUSY).await;
    let stack = stacks::client("shop").retry(3).build().unwrap();
    let balance = stack.snapshot().retry.unwrap().balance.unwrap();
    let client = stack.wrap(hyper_client());
    let calls = (0..calls).map(|number| {
        let call = client.clone().oneshot(post(address, number));
        tokio::spawn(async move { call.await?.into_body().collect().await })
    });
    let results: Vec<Result<_, mainstay::BoxError>> = join_all(calls)
        .await
        .into_iter()
        .map(|result| result.unwrap())
        .collect();
    let failed: Vec<_> = results
        .iter()
        .filter_map(|result| result.as_ref().err())
        .collect();
    assert!(
        failed.is_empty(),
        "{} of {}: {:?}",
        failed.len(),
        results.len(),
        failed[0]
    );
    seen.assert_handled_once(results.len());

    let circuit = stack.circuit_breaker();
    assert_eq!(
        (circuit.state(), circuit.snapshot().failures),
        (State::Closed, 0)
    );
    assert!(
        stack.snapshot().retry.unwrap().balance.unwrap() >= balance,
        "nothing is paid"
    );
    let retry = stack.snapshot().retry.unwrap();
    match retry.retries[..] {
        [] => assert_eq!(seen.refused(), 0),
        [(cause, _)] => assert_eq!(cause, RetryCause::Refused),
        _ => panic!("{retry}"),
    }
    assert_eq!(retry.refused, []);
    seen.refused()
}

#[tokio::test]
async fn five_hundred_posts_succeed_where_there_is_room_for_a_hundred() {
    assert!(all_succeed(Refuses::Above(100), 500).await > 0);
}

#[tokio::test]
async fn five_hundred_posts_succeed_where_there_is_room_for_twenty() {
    assert!(all_succeed(Refuses::Above(20), 200).await > 0);
}

#[tokio::test]
async fn posts_succeed_where_every_connection_goes_away_soon() {
    all_succeed(Refuses::After(10), 200).await;
}

#[tokio::test]
async fn five_hundred_calls_of_a_stub_succeed() {
    let (address, seen) = serve(Refuses::Above(100), BUSY).await;
    let stack = grpc::client("users").build().unwrap();
    let balance = stack.snapshot().retry.unwrap().balance.unwrap();
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect_lazy();
    let stub = UsersClient::new(stack.wrap(channel));
    let calls = (0..500).map(|number: u32| {
        let mut stub = stub.clone();
        tokio::spawn(async move {
            let name = number.to_string();
            stub.get(GetRequest { name }).await
        })
    });
    for result in join_all(calls).await {
        result.unwrap().unwrap();
    }
    seen.assert_handled_once(500);
    assert!(seen.refused() > 0);
    let previous = "grpc-previous-rpc-attempts";
    assert!(
        seen.headers()
            .iter()
            .all(|headers| !headers.contains_key(previous))
    );
    assert_eq!(stack.circuit_breaker().snapshot().failures, 0);
    assert!(stack.snapshot().retry.unwrap().balance.unwrap() >= balance);
}

/// hyper's own server refuses what comes before its settings do.
#[tokio::test]
async fn five_hundred_posts_to_hypers_server_succeed() {
    let (listener, address) = crate::common::listener().await;
    let seen = Arc::new(Mutex::new(BTreeMap::<Bytes, usize>::new()));
    let all = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let all = Arc::clone(&all);
            let handler = service_fn(move |request: Request<Incoming>| {
                let all = Arc::clone(&all);
                async move {
                    let body = request.into_body().collect().await?.to_bytes();
                    *all.lock().unwrap().entry(body).or_default() += 1;
                    tokio::time::sleep(BUSY).await;
                    Ok::<_, hyper::Error>(Response::new(Full::<Bytes>::default()))
                }
            });
            let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            server.max_concurrent_streams(100);
            tokio::spawn(server.serve_connection(TokioIo::new(stream), handler));
        }
    });
    let stack = stacks::client("shop").retry(3).build().unwrap();
    let balance = stack.snapshot().retry.unwrap().balance.unwrap();
    let client = stack.wrap(hyper_client());
    let calls = (0..500).map(|number| tokio::spawn(client.clone().oneshot(post(address, number))));
    for result in join_all(calls).await {
        result.unwrap().unwrap();
    }
    let seen = seen.lock().unwrap();
    assert!(seen.len() == 500 && seen.values().all(|&times| times == 1));
    assert_eq!(stack.circuit_breaker().snapshot().failures, 0);
    assert!(stack.snapshot().retry.unwrap().balance.unwrap() >= balance);
}
