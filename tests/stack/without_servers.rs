//! What is left out of a server, and the correlation ID of either stack: it does nothing.

use std::convert::Infallible;

use ::http::Response;
use axum::body::Body;
use futures::FutureExt as _;
use http_body_util::BodyExt as _;
use mainstay::{Context, CorrelationId, Limit, TimeoutLayer, http};
use tower::Layer as _;

use crate::upstream::{Act, Req, Upstream, call, get, infallible, ms, rpc, secs, settle};

#[tokio::test(start_paused = true)]
async fn without_correlation_no_id_is_made_read_or_written() {
    let given = || {
        let mut request = get();
        request
            .headers_mut()
            .insert("x-correlation-id", "callers".parse().unwrap());
        request
    };
    let outer: CorrelationId = "outer".parse().unwrap();
    let outer = Context::current().with_correlation_id(outer);

    let upstream = Upstream::always(Act::Status(200));
    let service = http::client("a")
        .without_correlation()
        .build()
        .unwrap()
        .wrap(upstream.clone());
    call(&service, get()).await.unwrap();
    call(&service, given()).await.unwrap();
    outer
        .clone()
        .scope(async { call(&service, given()).await.unwrap() })
        .await;
    outer
        .clone()
        .scope(async { call(&service, get()).await.unwrap() })
        .await;
    let of = |upstream: &Upstream| -> Vec<_> {
        let seen = upstream.seen().into_iter();
        seen.map(|s| {
            (
                s.header("x-correlation-id").map(str::to_owned),
                s.context.correlation_id().map(ToString::to_string),
            )
        })
        .collect()
    };
    let some = |text: &str| Some(text.to_owned());
    let expected = [
        (None, None),
        (some("callers"), None),
        (some("callers"), some("outer")),
        (None, some("outer")),
    ];
    assert_eq!(of(&upstream), expected);

    // A server: the same, and neither is anything written to its responses.
    let upstream = Upstream::always(Act::Status(200));
    let service = http::server("a")
        .without_correlation()
        .build()
        .unwrap()
        .wrap(infallible(upstream.clone()));
    let responses = [
        call(&service, get()).await.unwrap(),
        call(&service, given()).await.unwrap(),
        outer
            .clone()
            .scope(async { call(&service, given()).await.unwrap() })
            .await,
        outer
            .clone()
            .scope(async { call(&service, get()).await.unwrap() })
            .await,
    ];
    assert_eq!(of(&upstream), expected);
    assert!(
        responses
            .iter()
            .all(|response| !response.headers().contains_key("x-correlation-id"))
    );
}

#[tokio::test(start_paused = true)]
async fn without_correlation_that_of_an_outer_layer_is_left_as_it_is() {
    let id = || {
        Context::current()
            .correlation_id()
            .map_or("none".to_owned(), ToString::to_string)
    };
    let inner = tower::service_fn(move |_: Req| async move {
        let at_head = id();
        let body = futures::stream::once(async move {
            // Later than the head, and so by whoever reads.
            tokio::time::sleep(ms(10)).await;
            Ok::<_, Infallible>(format!("{at_head} {}", id()))
        });
        Ok::<_, Infallible>(Response::new(Body::from_stream(body)))
    });
    let stack = http::server("a").without_correlation().build().unwrap();
    let service = mainstay::CorrelationLayer::server().layer(stack.wrap(inner));
    let mut request = get();
    request
        .headers_mut()
        .insert("x-correlation-id", "callers".parse().unwrap());
    let response = call(&service, request).await.unwrap();
    assert_eq!(response.headers()["x-correlation-id"], "callers");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "callers callers");
    // Of nobody's there is none.
    let response = call(&stack.wrap(inner), get()).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "none none");
}

#[tokio::test(start_paused = true)]
async fn without_a_load_shedder_nothing_is_shed_and_one_that_is_not_ready_is_waited_for() {
    let stack = http::server("a")
        .without_load_shed()
        .without_bulkhead()
        .build()
        .unwrap();
    let upstream = Upstream::always(Act::Hang);
    let service = stack.wrap(infallible(upstream.clone()));
    let all = futures::future::join_all((0..3_000).map(|_| call(&service, get())));
    assert!(all.now_or_never().is_none());
    assert_eq!(upstream.calls(), 3_000);

    let upstream = Upstream::always(Act::Status(200)).never_ready();
    let service = stack.wrap(infallible(upstream.clone()));
    let waits = tokio::spawn(async move { call(&service, get()).await.unwrap().status() });
    settle().await;
    assert!(!waits.is_finished());
    upstream.becomes_ready();
    assert_eq!(waits.await.unwrap(), 200);

    // With one, it is not.
    let stack = http::server("a")
        .load_shed(Limit::fixed(5))
        .build()
        .unwrap();
    let service = stack.wrap(infallible(Upstream::always(Act::Hang).never_ready()));
    assert_eq!(call(&service, get()).await.unwrap().status(), 503);
}

#[tokio::test(start_paused = true)]
async fn a_server_without_a_bulkhead_has_the_limit_of_its_shedder() {
    let upstream = Upstream::always(Act::Hang);
    let stack = http::server("a")
        .without_bulkhead()
        .load_shed(Limit::fixed(1_500))
        .build()
        .unwrap();
    let service = stack.wrap(infallible(upstream.clone()));
    let all = futures::future::join_all((0..3_000).map(|_| call(&service, get())));
    assert!(all.now_or_never().is_none());
    assert_eq!(upstream.calls(), 1_500);
}

#[tokio::test(start_paused = true)]
async fn a_server_without_a_timeout_ends_nothing_and_asks_nobody() {
    let stack = http::server("a").without_timeout().build().unwrap();
    let upstream = Upstream::always(Act::Later(secs(100_000), 200));
    let service = stack.wrap(infallible(upstream.clone()));
    let mut request = get();
    request
        .headers_mut()
        .insert("x-request-timeout-ms", "10".parse().unwrap());
    assert_eq!(call(&service, request).await.unwrap().status(), 200);
    let mut request = rpc();
    request
        .headers_mut()
        .insert("grpc-timeout", "10m".parse().unwrap());
    assert_eq!(call(&service, request).await.unwrap().status(), 200);
    assert!(
        upstream
            .seen()
            .iter()
            .all(|seen| seen.context.remaining().is_none())
    );
    // The deadline of an outer layer is that layer's to keep: it says so in its own name.
    let outer = TimeoutLayer::builder()
        .name("outer")
        .timeout(secs(1))
        .build()
        .unwrap();
    let service = outer.layer(stack.wrap(infallible(Upstream::always(Act::Hang))));
    let rejection = call(&service, get()).await.map(drop).unwrap_err();
    assert_eq!((rejection.name(), rejection.layer()), ("outer", "timeout"));

    let upstream = Upstream::always(Act::Stall);
    let service = stack.wrap(infallible(upstream.clone()));
    let response = call(&service, get()).await.unwrap();
    tokio::time::sleep(secs(3_600)).await;
    assert_eq!((upstream.in_flight(), stack.bulkhead().in_flight()), (1, 1));
    drop(response);
    assert_eq!((upstream.in_flight(), stack.bulkhead().in_flight()), (0, 0));
}
