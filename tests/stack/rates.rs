//! The rate limit of the standard stacks: off until the builder sets one.

use http::StatusCode;
use mainstay::{RateLimitLayer, Reason, State, grpc, http as resilient};
use tower::{Service, service_fn};

use crate::upstream::{Act, Upstream, call, get, infallible, ms, rejected, rpc, secs};

#[tokio::test(start_paused = true)]
async fn a_server_answers_what_is_over_its_rate_with_429() {
    let stack = resilient::server("search").rate_limit(2).build().unwrap();
    let service = stack.wrap(infallible(Upstream::always(Act::Status(200))));
    for _ in 0..2 {
        assert_eq!(call(&service, get()).await.unwrap().status(), 200);
    }
    let response = call(&service, get()).await.unwrap();
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()["retry-after"], "1");
    let snapshot = stack.snapshot();
    let rate_limit = snapshot.rate_limit.unwrap();
    assert_eq!(rate_limit.name, "search");
    assert_eq!(rate_limit.rejections.of(Reason::RateLimited), 1);
    // What was rejected is no load.
    assert_eq!(snapshot.load_shed.unwrap().outcomes.success, 2);
    tokio::time::advance(ms(500)).await;
    assert_eq!(call(&service, get()).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_client_rejects_what_is_over_its_rate_and_its_circuit_breaker_does_not_count_it() {
    let stack = resilient::client("search").without_retry().rate_limit(1);
    let stack = stack.build().unwrap();
    let client = stack.wrap(Upstream::always(Act::Status(200)));
    assert!(call(&client, get()).await.is_ok());
    for _ in 0..100 {
        let rejection = rejected(call(&client, get()).await);
        assert_eq!(rejection.layer(), "rate_limit");
        assert!(rejection.retry_after().unwrap() <= secs(1));
    }
    let breaker = stack.circuit_breaker().snapshot();
    assert_eq!((breaker.state, breaker.calls), (State::Closed, 1));
}

#[tokio::test(start_paused = true)]
async fn attempts_wait_for_their_turn_if_the_builder_lets_them() {
    let rate = RateLimitLayer::builder().per(1, secs(1)).max_wait(secs(5));
    let stack = resilient::client("search").rate_limit(rate).build();
    let stack = stack.unwrap();
    let client = stack.wrap(Upstream::always(Act::Status(200)));
    let began = tokio::time::Instant::now();
    for _ in 0..3 {
        assert!(call(&client, get()).await.is_ok());
    }
    assert_eq!(began.elapsed(), secs(2));
    let described = stack.describe().to_string();
    assert!(described.contains("1 per 1s"), "{described}");
    assert!(described.contains("5s"), "{described}");
}

#[tokio::test(start_paused = true)]
async fn grpc_and_any_other_request_have_it_as_well() {
    let stack = grpc::server("users").rate_limit(grpc::rate_limit().per(1, secs(60)));
    let service = stack
        .build()
        .unwrap()
        .wrap(infallible(Upstream::always(Act::Grpc("0"))));
    let statuses = async || {
        let response = call(&service, rpc()).await.unwrap();
        let status = response.headers().get("grpc-status");
        status.map(|status| status.to_str().unwrap().to_owned())
    };
    assert_ne!(statuses().await.as_deref(), Some("8"));
    assert_eq!(statuses().await.as_deref(), Some("8"));

    let echo = || service_fn(async |number: u32| Ok::<_, std::io::Error>(number));
    let server = mainstay::server("jobs").rate_limit(1).build().unwrap();
    let client = mainstay::client("cache").rate_limit(1).build().unwrap();
    let (mut server, mut client) = (server.wrap(echo()), client.wrap(echo()));
    for expected in [None, Some(Reason::RateLimited)] {
        std::future::poll_fn(|cx| server.poll_ready(cx))
            .await
            .unwrap();
        let result = server.call(1).await;
        let reason = |error: mainstay::Error<_>| error.as_rejection().unwrap().reason();
        assert_eq!(result.err().map(reason), expected);
        std::future::poll_fn(|cx| client.poll_ready(cx))
            .await
            .unwrap();
        assert_eq!(client.call(1).await.err().map(reason), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_rate_nothing_is_limited_or_counted() {
    let stack = resilient::server("search").build().unwrap();
    let service = stack.wrap(infallible(Upstream::always(Act::Status(200))));
    for _ in 0..1_000 {
        assert_eq!(call(&service, get()).await.unwrap().status(), 200);
    }
    assert_eq!(stack.snapshot().rate_limit, None);
    let error = resilient::server("search").rate_limit(0).build();
    let error = error.unwrap_err().to_string();
    assert!(error.contains("search") && error.contains("per"), "{error}");
}
