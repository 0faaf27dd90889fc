//! Responses that stream for a long time leave room for all other calls.

use std::convert::Infallible;

use axum::body::Body;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{HeaderMap, Response};
use http_body_util::{BodyExt as _, StreamBody};
use mainstay::stack::ServerBuilder;
use mainstay::{Limit, grpc, http as resilient};
use tokio::time::interval;
use tower::service_fn;

use crate::upstream::{Req, call, ms, rpc, secs};

/// Answers at once; under `/watch` with a message a second for ever.
async fn watch_or_answer(request: Req) -> Result<Response<Body>, Infallible> {
    let is_grpc = request.headers().contains_key("content-type");
    let mut response = if request.uri().path() == "/watch" {
        let ticks = stream::unfold(interval(secs(1)), |mut ticks| async {
            ticks.tick().await;
            let message = http_body::Frame::data(Bytes::from_static(b"\0\0\0\0\0"));
            Some((Ok::<_, Infallible>(message), ticks))
        });
        Response::new(Body::new(StreamBody::new(ticks)))
    } else {
        tokio::time::sleep(ms(10)).await;
        let message = http_body::Frame::data(Bytes::from_static(b"\0\0\0\0\0"));
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let frames = [Ok::<_, Infallible>(message)].into_iter();
        let frames = frames.chain(is_grpc.then(|| Ok(http_body::Frame::trailers(trailers))));
        Response::new(Body::new(StreamBody::new(stream::iter(frames))))
    };
    if is_grpc {
        let value = "application/grpc".parse().unwrap();
        response.headers_mut().insert("content-type", value);
    }
    Ok(response)
}

fn to(path: &str, is_grpc: bool) -> Req {
    let mut request = if is_grpc {
        rpc()
    } else {
        crate::upstream::get()
    };
    *request.uri_mut() = path.parse().unwrap();
    request
}

/// With so many watches open, a call every second succeeds.
async fn calls_beside_watches(server: ServerBuilder, seconds: u64, watches: usize, is_grpc: bool) {
    let stack = server.build().unwrap();
    let service = stack.wrap(service_fn(watch_or_answer));
    let mut readers = Vec::new();
    for number in 0..watches {
        let response = call(&service, to("/watch", is_grpc)).await.unwrap();
        assert_eq!(response.status(), 200, "watch {number}");
        assert!(!response.headers().contains_key("grpc-status"));
        readers.push(tokio::spawn(async move {
            let mut body = response.into_body().into_data_stream();
            let mut messages = 0;
            while let Some(Ok(_)) = body.next().await {
                messages += 1;
            }
            messages
        }));
    }
    for second in 0..seconds {
        let response = call(&service, to("/", is_grpc)).await.unwrap();
        assert_eq!(response.status(), 200, "{second}: {stack}");
        let body = response.into_body().collect().await.unwrap();
        if is_grpc {
            assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
        }
        tokio::time::sleep(ms(990)).await;
    }
    assert!(readers.iter().all(|reader| !reader.is_finished()));
    let (shed, bulkhead) = (stack.load_shed().snapshot(), stack.bulkhead().snapshot());
    let watches = watches as u32;
    assert_eq!((shed.in_flight, shed.streaming), (0, watches));
    assert_eq!(
        bulkhead.in_flight, watches,
        "the permit lasts as long as the work"
    );
    assert_eq!(shed.outcomes.total(), seconds, "{shed}");
    assert_eq!(shed.rejections.total(), 0);
    // The outcome is that of the end: these were cancelled.
    for reader in readers {
        reader.abort();
        let _ = reader.await;
    }
    let (shed, bulkhead) = (stack.load_shed().snapshot(), stack.bulkhead().snapshot());
    assert_eq!(
        (shed.in_flight, shed.streaming, bulkhead.in_flight),
        (0, 0, 0)
    );
    let cancelled = if is_grpc { u64::from(watches) } else { 0 };
    assert_eq!(shed.outcomes.cancelled, cancelled, "{shed}");
    assert_eq!(shed.outcomes.total(), seconds + u64::from(watches));
}

#[tokio::test(start_paused = true)]
async fn twenty_watches_take_nothing_from_a_default_grpc_server() {
    calls_beside_watches(grpc::server("s"), 3_600, 20, true).await;
}

#[tokio::test(start_paused = true)]
async fn two_thousand_watches_take_nothing_either() {
    let server = grpc::server("s");
    let stack = server.build().unwrap();
    let service = stack.wrap(service_fn(watch_or_answer));
    let mut open = Vec::new();
    for _ in 0..2_000 {
        let response = call(&service, to("/watch", true)).await.unwrap();
        assert!(!response.headers().contains_key("grpc-status"));
        open.push(response);
    }
    assert_eq!(call(&service, to("/", true)).await.unwrap().status(), 200);
    assert_eq!(stack.bulkhead().in_flight(), 2_000);
}

#[tokio::test(start_paused = true)]
async fn streams_take_nothing_from_a_limit_that_adapts_to_latency() {
    let small = || {
        let limit = Limit::aimd().initial(4).min(4).max(4);
        limit.build().unwrap()
    };
    for limit in [Limit::adaptive(), small()] {
        let server = |is_grpc| {
            let server = if is_grpc {
                grpc::server("s")
            } else {
                resilient::server("s")
            };
            server.load_shed(limit)
        };
        calls_beside_watches(server(true), 200, 30, true).await;
        calls_beside_watches(server(false), 200, 30, false).await;
    }
}
